"""Files on disk: atomic writes, hashes, safetensors, and the words for what the system refuses."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import UserError

STALE_AFTER_SECONDS = 3600
_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_OS_ERROR_NUMBER = re.compile(r"os error (\d+)")


def storage_error(error: BaseException, path: Path) -> UserError:
    """Puts an `OSError` or `SafetensorError` met while writing `path` into one sentence."""
    number = getattr(error, "errno", None)
    if number is None and (found := _OS_ERROR_NUMBER.search(str(error))):
        number = int(found.group(1))
    if number in _DISK_FULL:
        return UserError(f"The disk is full: {path} could not be written and what was there before is "
                         "untouched; free some space and try again.")
    if number in _FORBIDDEN:
        return UserError(f"{path} may not be written; choose another folder or change its permissions.")
    blocking = next((folder for folder in path.parents if folder.is_file()), None)
    if blocking is not None:
        return UserError(f"{path} cannot be written because {blocking} is a file; choose another folder.")
    reason = os.strerror(number) if number else str(error) or type(error).__name__
    return UserError(f"{path} could not be written ({reason}); choose another place and try again.")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read in pieces of 4 MiB."""
    digest = hashlib.sha256()
    buffer = bytearray(1 << 22)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def sync_to_disk(path: Path) -> None:
    """Asks the system to put a file or, where it can be asked, a folder onto the disk."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_name(path: Path) -> Path:
    """A name beside `path` that no other writer uses; leftovers of killed writers are removed."""
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        try:
            if time.time() - leftover.stat().st_mtime > STALE_AFTER_SECONDS:
                remove(leftover)
        except OSError:
            continue
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")


def remove(path: Path) -> None:
    """Removes a file or a folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_atomically(path: Path, writer: Callable[[Path], None]) -> None:
    """Lets `writer` fill a new file beside `path`, then puts it in place in one step.

    Whatever happens in between (a kill, a full disk), `path` holds either the old bytes or all of
    the new ones. Raises `UserError` when the system refuses.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = partial_name(path)
        try:
            writer(temporary)
            sync_to_disk(temporary)
            os.replace(temporary, path)
        except BaseException:
            remove(temporary)
            raise
        sync_to_disk(path.parent)
    except (OSError, SafetensorError) as error:
        raise storage_error(error, path) from error


def write_text_atomically(path: Path, text: str) -> None:
    """`write_atomically` for UTF-8 text."""
    write_atomically(path, lambda target: _write_text(target, text))


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


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
