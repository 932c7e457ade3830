"""Files of W+ codes: our own, and those that the projectors of others write. Nothing in them is run.

Ours are safetensors files with one tensor `w_plus`, and the seed of its noise maps among the notes. Read as well are
`projected_w.npz` and `.npy` of NVIDIA's projectors and their heirs, and `.pt` of rosinality's: a tensor, or a
dictionary of pictures with "img", "latent" and "noise" for each. These name no seed, and their noise maps, which were
fitted to one picture, are left behind.

All come from anywhere: no more than 4 MiB of a file is read as codes.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from ..bundles.file_kinds import START_BYTES, foreign_kind
from ..bundles.files import open_plain, unreadable, write_atomically
from ..bundles.tensor_files import open_tensors, save_tensors
from ..errors import UserError, printable
from .checkpoint_files import open_checkpoint
from .stored_tensors import StoredTensor

TENSOR = "w_plus"
MAXIMUM_BYTES = 4 << 20
_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
# What projectors call their codes, the likeliest first.
_NAMES = ("w", TENSOR, "projected_w", "ws", "latent", "latents", "latent_in", "codes")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGE = (
    SafetensorError, ValueError, TypeError, RuntimeError, LookupError, EOFError, zipfile.BadZipFile, MemoryError,
    NotImplementedError, SyntaxError,
)  # fmt: skip


def save_w_plus(path: Path, codes: np.ndarray, notes: Mapping[str, str]) -> None:
    """Writes codes float32 `[num_styles, style_dim]`, in one step. Raises `UserError` where the system refuses."""
    write_atomically(path, lambda target: save_tensors({TENSOR: torch.from_numpy(codes)}, target, notes))


def read_w_plus(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Codes `[num_styles, style_dim]` as float32, or `[1, style_dim]`, one style for all layers; and the notes.

    What kind of file it is shows in its content. A batch of one, `[1, num_styles, style_dim]`, is welcome. Raises
    `UserError` for a file that is missing, too large, damaged or something else.
    """
    path = Path(path)
    try:
        codes, notes = _read(path, printable(path.name))
    except OSError as error:
        raise unreadable(error, path) from error
    except _DAMAGE as error:
        raise UserError(f"{path.name} is damaged or not a file of W+ codes; save the codes again.") from error
    shape = codes.shape
    if len(shape) not in (1, 2, 3) or (len(shape) == 3 and shape[0] != 1):
        several = f"codes of {shape[0]} pictures" if len(shape) == 3 else f"numbers of shape {list(shape)}"
        raise UserError(
            f"{path.name} holds {several} instead of one set of W+ codes [num_styles, style_dim]; save one set alone."
        )
    if codes.dtype.kind != "f":
        raise UserError(f"{path.name} holds {codes.dtype} instead of floating-point W+ codes; save the codes again.")
    return codes.astype(np.float32).reshape((-1, shape[-1]) if len(shape) > 1 else (1, -1)), notes


def _read(path: Path, label: str) -> tuple[np.ndarray, dict[str, str]]:
    """The array that holds the codes, of any shape and type, and the notes beside it."""
    with open_plain(path) as file:
        start = file.read(START_BYTES)
        size = file.seek(0, 2)
        if start.startswith(_NPY):
            _demand_small(size, label)
            file.seek(0)
            return _of_npy(file.read(size)), {}
    if start[8:9] == b"{" and not start.startswith(b"{"):
        _demand_small(size, label)
        with open_tensors(path) as file:
            if list(file.keys()) != [TENSOR]:
                raise UserError(f"{label} does not hold W+ codes alone; save them with `l4f generate --save-w-plus`.")
            codes, notes = _as_array(file.get_tensor(TENSOR)), dict(file.metadata() or {})
        if codes.ndim < 2:
            raise ValueError("codes are a table")
        return codes, notes
    if start.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            if all(name.endswith(".npy") for name in archive.namelist()):
                name = _chosen([name.removesuffix(".npy") for name in archive.namelist()], label)
                member = archive.getinfo(f"{name}.npy")
                _demand_small(member.file_size, label)
                return _of_npy(archive.read(member)), {}
    if kind := foreign_kind(start, size, "a file of W+ codes"):
        raise UserError(f"{label} is {kind}.")
    with open_checkpoint(path, label) as root:
        return _of_checkpoint(root, label), {}


def _demand_small(size: int, label: str) -> None:
    if size > MAXIMUM_BYTES:
        raise UserError(f"{label} is too large to hold W+ codes of one picture; save them alone.")


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _of_npy(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    count = int(np.prod(shape, dtype=object))
    if dtype.hasobject or count * dtype.itemsize > len(content):
        raise ValueError("an array of objects, or larger than its file")
    return np.frombuffer(content, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")


def _of_checkpoint(root: Any, label: str) -> np.ndarray:
    found = root
    if isinstance(root, dict):
        pictures = [name for name, value in root.items() if isinstance(value, dict) and _codes_in(value)]
        if len(pictures) > 1:
            named = ", ".join(printable(name, 40) for name in pictures[:3]) + (", ..." if len(pictures) > 3 else "")
            raise UserError(f"{label} holds codes of {len(pictures)} pictures ({named}); save one of them alone.")
        codes = _codes_in(root[pictures[0]] if pictures else root)
        found = codes[_chosen(list(codes), label)] if codes else None
    if not isinstance(found, StoredTensor):
        raise UserError(
            f"{label} holds no W+ codes; choose what a projector saved, or save codes with "
            "`l4f generate --save-w-plus`."
        )
    _demand_small(found.stored_bytes, label)
    return _as_array(found.read())


def _codes_in(entries: Mapping[Any, Any]) -> dict[str, Any]:
    """What may be codes in the dictionary of one picture, where nothing is known but the names."""
    return {name: entries[name] for name in _NAMES if isinstance(entries.get(name), StoredTensor)}


def _chosen(names: list[str], label: str) -> str:
    for name in _NAMES:
        if name in names:
            return name
    if len(names) != 1:
        listed = ", ".join(printable(name, 40) for name in names[:5])
        raise UserError(
            f"{label} holds several arrays ({listed}), none of which is called {_NAMES[0]}; save the codes alone."
        )
    return names[0]
