"""The way into a published checkpoint: what kind of file it is shows in its content, not in its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ..bundles.file_kinds import START_BYTES, foreign_kind, kind_of_safetensors
from ..bundles.files import open_plain, unreadable
from ..errors import UserError, printable
from .nvidia_pickles import read_nvidia_pickle
from .pickle_opcodes import Allowance, PickleStream, opcodes
from .torch_files import LEGACY_MAGIC, read_archive, read_stream

_ZIP_START = b"PK\x03\x04"
_FIRST_STEPS = 4  # protocol, frame, torch's magic number, end


@contextmanager
def open_checkpoint(path: Path, label: str | None = None) -> Iterator[Any]:
    """Opens a checkpoint of PyTorch (`.pt`) or a pickle of NVIDIA's StyleGAN2 (`.pkl`): gives its object.

    That is made of dictionaries, lists, tuples, plain values, `Record`, `StoredTensor` and `StoredArray`, the
    latter two readable while the context lasts. Messages name the file by `label`, its path by default. Raises
    `UserError` when the file is missing, damaged, of another kind, or names anything but tensors, arrays,
    dictionaries and settings.
    """
    path = Path(path)
    label = label or printable(path, 300)
    try:
        with open_plain(path) as file:
            yield _read(file, label)
    except OSError as error:
        raise unreadable(error, label) from error


def _read(file: BinaryIO, label: str) -> Any:
    start, size = file.read(START_BYTES), os.fstat(file.fileno()).st_size
    if start[: len(_ZIP_START)] == _ZIP_START:
        return read_archive(file, label)
    if kind := foreign_kind(start, size) or kind_of_safetensors(start, file):
        raise UserError(f"{label} is {kind}.")
    file.seek(0)
    allowance = Allowance()
    if _is_torch_stream(file, size, label):
        return read_stream(file, size, label, allowance)
    return read_nvidia_pickle(file, size, label, allowance)


def _is_torch_stream(file: BinaryIO, size: int, label: str) -> bool:
    """Whether torch's own magic number is the first thing in the file, which is left where it stood."""
    first: list[Any] = []
    with suppress(ValueError):  # what is wrong is said later
        for _, argument in islice(opcodes(PickleStream(file, size, Allowance())), _FIRST_STEPS):
            first.append(argument)
    file.seek(0)
    if not first:
        raise UserError(f"{label} is neither a PyTorch checkpoint nor a pickle; choose another file.")
    return LEGACY_MAGIC in [argument for argument in first if type(argument) is int]
