"""PyTorch checkpoint files (`.pt`), read without `torch.load` and without running anything in them.

Two layouts: the zip archive that `torch.save` has written since 1.6 and the stream before that. Both
hold a pickle of the object and, beside it, the bytes of each storage. Tensors are read when asked
for, so that optimiser states cost nothing. See `checkpoint_files` for the way in.
"""

from __future__ import annotations

import errno
import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import torch

from ..bundles.file_kinds import kind_of_archive
from ..errors import UserError
from .numpy_arrays import NUMPY_VOCABULARY
from .pickle_opcodes import Allowance
from .pickle_reader import Builder, integers, read_pickle, record_builder
from .plain_objects import PLAIN_VOCABULARY

MAXIMUM_PICKLE_BYTES = 1 << 26
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_ZIP_DAMAGE = (
    zipfile.BadZipFile,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


class StorageReader(Protocol):
    """Gives the bytes of a storage by its key."""

    def read(self, key: str, count: int) -> bytearray: ...


@dataclass(frozen=True)
class Storage:
    """A storage by name: `elements` values of `dtype`, not read yet."""

    reader: StorageReader
    key: str
    dtype: torch.dtype
    elements: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the file. Offset, shape and strides are known to lie inside the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def stored_bytes(self) -> int:
        """What is read for it: its whole storage."""
        return self.storage.elements * self.storage.dtype.itemsize

    def read(self) -> torch.Tensor:
        """The tensor on the CPU in memory of its own. Raises `UserError` if its bytes are damaged."""
        if not self.stored_bytes:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        content = self.storage.reader.read(self.storage.key, self.stored_bytes)
        flat = torch.frombuffer(content, dtype=self.storage.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).contiguous()


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    (offset,), shape, stride = integers([offset]), integers(shape), integers(stride)
    if len(shape) != len(stride):
        raise ValueError("a tensor's shape and strides differ in length")
    elements = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if elements > storage.elements or (elements and last >= storage.elements):
        raise ValueError("a tensor reaches beyond its storage")
    return StoredTensor(storage, offset, shape, stride)


def _rebuild_parameter(data: Any, *rest: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise ValueError("a parameter has no tensor")
    return data


TORCH_VOCABULARY: dict[str, Any] = {
    **PLAIN_VOCABULARY,
    **NUMPY_VOCABULARY,
    "torch._utils._rebuild_tensor": Builder("tensor", _rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": Builder("tensor", _rebuild_tensor),
    "torch._utils._rebuild_parameter": Builder("parameter", _rebuild_parameter),
    "torch.Size": Builder("torch.Size", lambda sizes=(): integers(sizes)),
    "torch.device": record_builder("torch.device"),
    **{f"torch.{name}": dtype for name, dtype in STORAGE_DTYPES.items()},
    **{str(dtype): dtype for dtype in STORAGE_DTYPES.values()},
}
"""Every name that a PyTorch checkpoint may mention, and the inert value it stands for."""


def _storage(reader: StorageReader, identity: Any) -> Storage:
    """Resolves a persistent id: ("storage", dtype, key, location, elements[, view])."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("it refers to something else than a storage")
    _, dtype, key, _, elements = identity[:5]
    if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or identity[5:] not in ((), (None,)):
        raise ValueError("it refers to a storage in an unknown way")
    return Storage(reader, key, dtype, integers([elements])[0])


class _ZipStorages:
    """Storages as members `PREFIX/data/KEY` of a zip archive that compresses nothing."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, label: str):
        self.archive, self.prefix, self.label = archive, prefix, label

    def locate(self, identity: Any) -> Storage:
        storage = _storage(self, identity)
        try:
            size = self.archive.getinfo(f"{self.prefix}data/{storage.key}").file_size
        except KeyError:
            raise ValueError("a storage is missing") from None
        if size != storage.elements * storage.dtype.itemsize:
            raise ValueError("a storage is not of the size it claims")
        return storage

    def read(self, key: str, count: int) -> bytearray:
        content = bytearray(count)
        with _damage_in_words(self.label), self.archive.open(f"{self.prefix}data/{key}") as member:
            view, done = memoryview(content), 0
            while done < count and (step := member.readinto(view[done:])):
                done += step
            if done < count or member.read(1):  # the last read checks the sum
                raise EOFError
        return content


class _StreamStorages:
    """Storages one after the other behind the pickles: a count of elements (int64), then the bytes.

    The stream ends at the position `end` of the file.
    """

    def __init__(self, file: BinaryIO, end: int, label: str):
        self.file, self.end, self.label = file, end, label
        self.named: dict[str, Storage] = {}
        self.places: dict[str, int] = {}

    def locate(self, identity: Any) -> Storage:
        storage = _storage(self, identity)
        if storage.elements * storage.dtype.itemsize > self.end:
            raise ValueError("a storage is larger than the file")
        if self.named.setdefault(storage.key, storage) != storage:
            raise ValueError("a storage is described in two ways")
        return storage

    def find_places(self, keys: Any) -> None:
        """Walks over the storages in the order of `keys` and notes where each begins."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise UserError(f"{self.label} is damaged; fetch it again.")
        position = self.file.tell()
        for key in keys:
            storage = self.named.get(key)
            self.file.seek(position)
            count = int.from_bytes(self.file.read(8), "little")
            if storage is None or count != storage.elements:
                raise UserError(f"{self.label} is damaged; fetch it again.")
            self.places[key] = position + 8
            position += 8 + count * storage.dtype.itemsize
        if position > self.end or set(self.places) != set(self.named):
            raise UserError(f"{self.label} is cut short; fetch it again.")

    def read(self, key: str, count: int) -> bytearray:
        self.file.seek(self.places[key])
        content = bytearray(count)
        if self.file.readinto(content) != count:
            raise UserError(f"{self.label} is cut short; fetch it again.")
        return content


def read_archive(file: BinaryIO, label: str) -> Any:
    """The object in a zip archive. Tensors are readable while the file is open. Raises `UserError`."""
    return _read_archive(_open_archive(file, label), label)


def _open_archive(file: BinaryIO, label: str) -> zipfile.ZipFile:
    size = os.fstat(file.fileno()).st_size
    with _damage_in_words(label):
        archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if kind := kind_of_archive(members):
        raise UserError(f"{label} is {kind}.")
    # torch compresses nothing, so nothing may unfold into more than the file itself.
    if sum(member.file_size for member in members) > size:
        raise UserError(f"{label} claims to hold more than its own size; fetch it again.")
    return archive


@contextmanager
def _damage_in_words(label: str) -> Iterator[None]:
    try:
        yield
    except _ZIP_DAMAGE as error:
        cause = error if isinstance(error, OSError) else error.__context__  # zipfile hides some
        if isinstance(cause, OSError) and cause.errno not in (None, errno.EINVAL):
            raise cause from None  # the disk, not the file; EINVAL is a place before its beginning
        raise UserError(f"{label} is damaged or cut short; fetch it again.") from error


def _read_archive(archive: zipfile.ZipFile, label: str) -> Any:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1 or len(set(archive.namelist())) != len(archive.namelist()):
        raise UserError(f"{label} is a ZIP file but no PyTorch checkpoint; choose a .pt file.")
    prefix = pickles[0][: -len("data.pkl")]
    if archive.getinfo(pickles[0]).file_size > MAXIMUM_PICKLE_BYTES:
        raise UserError(f"{label} holds a larger description than weights need; get another copy.")
    byte_order = f"{prefix}byteorder"  # older files lack it and are little-endian
    with _damage_in_words(label):
        content = archive.read(pickles[0])
        little = byte_order not in archive.namelist() or archive.read(byte_order).strip() == b"little"
    if not little:
        raise UserError(f"{label} was saved on a big-endian machine, which is not supported.")
    storages = _ZipStorages(archive, prefix, label)
    return read_pickle(io.BytesIO(content), len(content), TORCH_VOCABULARY, label, storages.locate)


def read_stream(file: BinaryIO, end: int, label: str, allowance: Allowance) -> Any:
    """The object in the layout before zip archives, from the file's position up to `end`.

    The same layout holds the storages within a pickle that is not torch's own. Raises `UserError`.
    """
    storages = _StreamStorages(file, end, label)

    def next_pickle() -> Any:
        limit = min(MAXIMUM_PICKLE_BYTES, end - file.tell())
        return read_pickle(file, limit, TORCH_VOCABULARY, label, storages.locate, allowance)

    first = next_pickle()
    if type(first) is not int or first != LEGACY_MAGIC or next_pickle() != LEGACY_PROTOCOL:
        raise UserError(f"{label} is a pickle but no PyTorch checkpoint; choose a .pt file.")
    system = next_pickle()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UserError(f"{label} was saved on a big-endian machine, which is not supported.")
    root = next_pickle()
    storages.find_places(next_pickle())
    return root
