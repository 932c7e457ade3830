"""Directions found without labels: along which the subjects of a class vary most.

They are the principal components of the styles w of many samples, as in GANSpace (Haerkoenen, Hertzmann, Lehtinen,
Paris; NeurIPS 2020), section 2.1. What each of them changes is for people to see and to name.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .bundles.bundle import Bundle
from .bundles.files import write_atomically
from .bundles.folders import WEIGHTS_FOLDER, cache_folder
from .bundles.tensor_files import open_tensors, save_tensors
from .errors import UserError
from .networks import Generator

FILE = "directions.safetensors"  # beside the class's networks; without it the directions are found again
MOST, SAMPLES = 16, 10_000
LONGEST_NAME = 40
_MOST_NAMES = 256


@dataclass(frozen=True, eq=False)
class Directions:
    """Unit vectors, the most important first, and how far samples spread along each."""

    components: np.ndarray  # float32 [K, style_dim]
    deviations: np.ndarray  # float32 [K], standard deviations of w
    names: Mapping[str, str] = field(default_factory=dict)  # people's words for some, by keys of `exploring.key`

    def __len__(self) -> int:
        return len(self.components)


@torch.inference_mode()
def find_directions(generator: Generator, samples: int = SAMPLES) -> Directions:
    """The principal components of w over `samples` fixed z; their signs are such that the largest entry is positive."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(samples, generator.config.latent_dim, generator=random)
    w = generator.mapping(z.to(generator.latent_avg.device)).double().cpu()
    variances, vectors = torch.linalg.eigh(torch.cov(w.T).reshape(w.shape[1], -1))  # in ascending order
    components = vectors.T.flip(0)[:MOST].numpy()
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1, keepdims=True), axis=1)
    deviations = variances.flip(0)[:MOST].clamp(min=0).sqrt().numpy()
    return Directions((components * np.sign(largest)).astype(np.float32), deviations.astype(np.float32))


def directions_of(bundle: Bundle) -> Directions:
    """Those that are kept with the class, else found now, which takes seconds, and kept where that is allowed."""
    for path in (_place(bundle), bundle.folder and bundle.folder / FILE):
        with suppress(UserError):
            if path is not None and path.is_file():
                return _read(path, bundle)
    found = find_directions(bundle.generator)
    with suppress(UserError):  # a folder that cannot be written: they are found again next time
        keep(bundle, found)
    return found


def keep(bundle: Bundle, directions: Directions) -> None:
    """Keeps them with the class; does nothing for one that is not on disk. Raises `UserError` for names that are too
    long or too many, and where the system refuses."""
    names, path = dict(directions.names), _place(bundle)
    if len(names) > _MOST_NAMES or not all(map(_is_name, names.values())):
        raise UserError(f"A direction's name has 1 to {LONGEST_NAME} characters; write a shorter one.")
    tensors = {"components": directions.components, "deviations": directions.deviations}
    tensors = {name: torch.from_numpy(values) for name, values in tensors.items()}
    notes = {"generator": _digest(bundle), "names": json.dumps(names)}
    if path is not None:
        write_atomically(path, lambda target: save_tensors(tensors, target, notes))


def _place(bundle: Bundle) -> Path | None:
    """Beside the networks; in our cache where their folder is a part of this program or of huggingface_hub's cache."""
    folder, digest = bundle.folder, _digest(bundle)
    if folder is None or not digest:
        return None
    ours = folder.parent != WEIGHTS_FOLDER and folder.parent.name != "snapshots"
    return folder / FILE if ours else cache_folder() / "directions" / f"{digest}.safetensors"


def _digest(bundle: Bundle) -> str:
    """Tells generators apart: a class that goes on learning has other directions."""
    file = bundle.config.files.get("generator.safetensors")
    return file.sha256 if file else ""


def _read(path: Path, bundle: Bundle) -> Directions:
    """Raises `UserError` for what `keep` did not write, or wrote for another generator."""
    with open_tensors(path) as file:
        notes, dim = file.metadata() or {}, bundle.generator.config.style_dim
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        count = min(MOST, dim)
        if shapes != {"components": (count, dim), "deviations": (count,)} or notes.get("generator") != _digest(bundle):
            raise ValueError(shapes)
        components, deviations = (file.get_tensor(name).float().numpy() for name in ("components", "deviations"))
        names = json.loads(notes["names"][: _MOST_NAMES * 256])
        if not (np.isfinite(components).all() and np.isfinite(deviations).all()) or not isinstance(names, dict):
            raise ValueError(names)
    return Directions(components, deviations, {key: name for key, name in names.items() if _is_name(name)})


def _is_name(words: object) -> bool:
    return isinstance(words, str) and 0 < len(words) <= LONGEST_NAME and words.isprintable()
