"""Files of W+ codes: our own, and those that the projectors of others write. Nothing in them is run.

Ours are safetensors files with one tensor `w_plus`, and the seed of its noise maps among the notes. Read as well are
`projected_w.npz` and `.npy` of NVIDIA's projectors and their heirs, and `.pt` of rosinality's: a tensor, or a
dictionary of pictures with "img", "latent" and "noise" for each. These name no seed, and their noise maps, which were
fitted to one picture, are left behind.

All come from anywhere: size, names, type and shape are looked at before a number is read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

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
    SafetensorError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    EOFError,
    zipfile.BadZipFile,
    MemoryError,
    NotImplementedError,
    SyntaxError,
)


@dataclass(frozen=True)
class _Stored:
    """Codes that are still in their file; `read` gives them as an array."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


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
        with open_plain(path) as file:
            start = file.read(START_BYTES)
            size = file.seek(0, 2)
        with _stored(path, start, size) as (stored, notes):
            return _read(stored, path.name), notes
    except OSError as error:
        raise unreadable(error, path) from error
    except _DAMAGE as error:
        raise UserError(f"{path.name} is damaged or not a file of W+ codes; save the codes again.") from error


@contextmanager
def _stored(path: Path, start: bytes, size: int) -> Iterator[tuple[_Stored, dict[str, str]]]:
    """The codes in the file, readable while the context lasts, and the notes beside them."""
    label = printable(path.name)
    if start[8:9] == b"{" and not start.startswith(b"{"):
        _demand_small(size, label)
        with open_tensors(path) as file:
            yield _of_safetensors(file, label), dict(file.metadata() or {})
    elif start.startswith(_NPY):
        with open_plain(path) as file:
            yield _of_npy(file, size, label), {}
    elif start.startswith(_ZIP) and _is_npz(path):
        with zipfile.ZipFile(path) as archive:
            yield _of_npz(archive, label), {}
    elif kind := foreign_kind(start, size, "a file of W+ codes"):
        raise UserError(f"{label} is {kind}.")
    else:
        with open_checkpoint(path, label) as root:
            yield _of_checkpoint(root, label), {}


def _read(stored: _Stored, label: str) -> np.ndarray:
    shape = stored.shape
    if len(shape) not in (1, 2, 3) or (len(shape) == 3 and shape[0] != 1):
        several = f"codes of {shape[0]} pictures" if len(shape) == 3 else f"numbers of shape {list(shape)}"
        raise UserError(
            f"{label} holds {several} instead of one set of W+ codes [num_styles, style_dim]; save one set alone."
        )
    codes = stored.read()
    if codes.dtype.kind != "f":
        raise UserError(f"{label} holds {codes.dtype} instead of floating-point W+ codes; save the codes again.")
    return codes.astype(np.float32).reshape((-1, codes.shape[-1]) if len(shape) > 1 else (1, -1))


def _demand_small(size: int, label: str) -> None:
    if size > MAXIMUM_BYTES:
        raise UserError(f"{label} is too large to hold W+ codes of one picture; save them alone.")


def _of_safetensors(file: safe_open, label: str) -> _Stored:
    if list(file.keys()) != [TENSOR]:
        raise UserError(f"{label} does not hold W+ codes alone; save them with `l4f generate --save-w-plus`.")
    found = file.get_slice(TENSOR)
    if len(found.get_shape()) < 2:
        raise ValueError("codes are a table")
    floats = found.get_dtype() in ("F16", "BF16", "F32", "F64")
    return _Stored(
        tuple(found.get_shape()),
        lambda: (file.get_tensor(TENSOR).float() if floats else file.get_tensor(TENSOR)).numpy(),
    )


def _of_npy(file: BinaryIO, size: int, label: str) -> _Stored:
    """`size` is that of all the file: the numbers lie behind a header that says how many there are."""
    _demand_small(size, label)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(version)
    shape, fortran, dtype = _HEADERS[version](file)
    count = int(np.prod(shape, dtype=object))
    if dtype.hasobject or count * dtype.itemsize > size:
        raise ValueError("an array of objects, or larger than its file")

    def read() -> np.ndarray:
        flat = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
        return flat.reshape(shape, order="F" if fortran else "C")

    return _Stored(shape, read)


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _of_npz(archive: zipfile.ZipFile, label: str) -> _Stored:
    name = _chosen([name.removesuffix(".npy") for name in archive.namelist()], label)
    member = archive.getinfo(f"{name}.npy")
    _demand_small(member.file_size, label)
    return _of_npy(archive.open(member), member.file_size, label)


def _of_checkpoint(root: Any, label: str) -> _Stored:
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

    def read() -> np.ndarray:
        tensor = found.read()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    return _Stored(found.shape, read)


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
