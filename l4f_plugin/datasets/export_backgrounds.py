"""What stands behind an exported subject: its own background, another sample's, a colour, or a user's picture."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import compositing
from ..errors import UserError
from ..images import cover_fit, load_picture

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
MOST_PICTURES = 100_000
_SALT = 0x6261636B  # parts these random numbers from others that are drawn from the same seed
_KEPT = 256  # pictures remembered in the size of the set


@dataclass(frozen=True)
class PictureFolder:
    """A user's own pictures, by name in order; `fingerprint` tells them from others by names and sizes."""

    folder: Path | None = None
    names: tuple[str, ...] = ()
    fingerprint: str = field(default="", compare=False)

    @classmethod
    def of(cls, folder: Path) -> PictureFolder:
        """The pictures in `folder`, not below it. Raises `UserError` where there are none."""
        try:
            with os.scandir(folder) as entries:
                found = {entry.name: entry.stat().st_size for entry in entries
                         if entry.name.lower().endswith(PICTURE_ENDINGS) and entry.is_file()}
        except OSError as error:
            raise UserError(f"{folder} cannot be read ({error.strerror}); name a folder of pictures.") from error
        if not 0 < len(found) <= MOST_PICTURES:
            raise UserError(
                f"{folder} holds {len(found)} pictures; name a folder with 1 to {MOST_PICTURES} of them, as PNG, JPEG "
                "or WebP files."
            )
        names = tuple(sorted(found))
        listed = "\n".join(f"{found[name]} {name}" for name in names)
        return cls(folder, names, hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest())

    def picture(self, number: int, size: tuple[int, int]) -> np.ndarray:
        """That picture as uint8 `[H, W, 3]`, cropped to cover `size` (width, height)."""
        return _covering(self.folder / self.names[number], size)


@lru_cache(_KEPT)
def _covering(path: Path, size: tuple[int, int]) -> np.ndarray:
    return cover_fit(load_picture(path), *size)


def random_of(seed: int) -> np.random.Generator:
    """The random numbers that decide on the background of a seed, on every run the same."""
    return np.random.default_rng([_SALT, seed])


def choose(
    seed: int,
    kinds: tuple[str, ...],
    pictures: PictureFolder,
    neighbour: tuple[int, np.ndarray] | None,
    size: tuple[int, int],
) -> tuple[str, np.ndarray | None]:
    """What to put behind a seed: a label as `Background.parse` reads it, and uint8 `[H, W, 3]`; None for its own.

    `neighbour` is another seed and its background in the size of the set, None where none was drawn.
    """
    random = random_of(seed)
    kind = kinds[random.integers(len(kinds))]
    if kind == "seeds" and neighbour is not None:
        return f"seed:{neighbour[0]}", neighbour[1]
    if kind == "colours":
        colour = random.integers(0, 256, 3, dtype=np.uint8)
        return "#" + colour.tobytes().hex(), np.broadcast_to(colour, (size[1], size[0], 3))
    if kind == "pictures":
        number = int(random.integers(len(pictures.names)))
        return pictures.names[number], pictures.picture(number, size)
    return "own", None


def put_behind(picture: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The subject of `picture` before `background`, uint8 `[H, W, 3]` each, with `alpha` as its exact mask."""
    foreground = compositing.estimate_foreground(compositing.to_float(picture), alpha)
    return compositing.to_bytes(compositing.composite(foreground, compositing.to_float(background), alpha))
