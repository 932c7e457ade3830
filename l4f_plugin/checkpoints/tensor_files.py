"""safetensors files: the only code that writes tensors to disk or reads them back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import UserError


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path,
                 metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors of any device as a safetensors file. Not atomic: see `write_atomically`.

    Tensors that share memory are written as separate copies, since the format knows no sharing.
    """
    ready: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        storage = plain.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != plain.numel() * plain.element_size():
            plain = plain.clone(memory_format=torch.contiguous_format)
        seen.add(plain.untyped_storage().data_ptr())
        ready[name] = plain
    save_file(ready, str(path), metadata=dict(metadata or {}))
    os.chmod(path, path.parent.stat().st_mode & 0o666)  # safetensors lets nobody else read it


def read_tensors(path: Path, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
    """Reads tensors (all, or the named ones) from a safetensors file onto the CPU.

    Opened with `safe_open` and a `Path`, since one host renames a file whose `load_file` fails.
    Raises `UserError` when the file is missing, cut short or no safetensors file.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; check the path or fetch the file again.") from error
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file; fetch or make it again.") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The free text entries in a safetensors file's header. Errors as in `read_tensors`."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; check the path or fetch the file again.") from error
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file; fetch or make it again.") from error
