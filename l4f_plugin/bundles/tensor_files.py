"""safetensors files: the only code that writes tensors to disk or reads them back."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import UserError
from .files import open_plain, unreadable


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
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


@contextmanager
def open_tensors(path: Path, remedy: str = "fetch or make it again") -> Iterator[safe_open]:
    """A safetensors file, its tensors on the CPU. Raises `UserError` where it is missing, cut short or another file.

    Opened with `safe_open` and a `Path`, since one host renames a file whose `load_file` fails.
    """
    try:
        open_plain(path).close()  # safe_open would wait at a pipe, and says little of what the system refuses
        with safe_open(Path(path), framework="pt", device="cpu") as file:
            yield file
    except OSError as error:
        raise unreadable(error, path) from error
    except (SafetensorError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file; {remedy}.") from error
