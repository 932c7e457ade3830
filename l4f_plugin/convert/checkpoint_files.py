"""The way into a published checkpoint: what kind of file it is shows in its content, not in its name.

PyTorch writes a zip archive since 1.6 and wrote a stream of pickles before that. Both hold a pickle of the object and,
beside it, the bytes of each storage. Pickles of NVIDIA's programs (TensorFlow and PyTorch) name classes of those
programs and carry their source text, which is left as text. Tensors of the PyTorch program are whole streams in a byte
string each: these are read with what is left of the file's allowance and without NVIDIA's names, so that nothing nests
further.
"""

import errno
import io
import os
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..bundles.file_kinds import START_BYTES, foreign_kind, kind_of_archive, kind_of_safetensors
from ..bundles.files import open_plain, unreadable
from ..errors import UserError, printable
from .pickles import Allowance, Builder, FileBytes, Record, read_pickle
from .stored_tensors import VOCABULARY, Storage, integers

MAXIMUM_PICKLE_BYTES = 1 << 26
TENSORFLOW_NETWORK = "dnnlib.tflib.network.Network"
PYTORCH_MODULE = "torch_utils.persistence._reconstruct_persistent_obj"
_STREAM_MAGIC, _STREAM_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STREAM_START = re.compile(
    rb"(\x80.(\x95.{8})?)?(\x8a\n%s|L%d)" % (re.escape(_STREAM_MAGIC.to_bytes(10, "little")), _STREAM_MAGIC), re.DOTALL
)
_ZIP_DAMAGE = (
    zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


@contextmanager
def open_checkpoint(path: Path, label: str | None = None) -> Iterator[Any]:
    """Opens a checkpoint of PyTorch (`.pt`) or a pickle of NVIDIA's StyleGAN2 (`.pkl`): gives its object.

    It is made of dictionaries, lists, tuples, plain values, `Record` and `StoredTensor`, the latter readable while the
    context lasts. TensorFlow's networks and PyTorch's modules are `Record`s of the names above, their attributes in
    `state`. Messages name the file by `label`, its path by default. Raises `UserError` where the file is missing,
    damaged, of another kind, or names anything but tensors, arrays, dictionaries and settings.
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
    if start.startswith(b"PK\x03\x04"):
        return _read_archive(file, size, label)
    if kind := foreign_kind(start, size) or kind_of_safetensors(start, file):
        raise UserError(f"{label} is {kind}.")
    file.seek(0)
    if _STREAM_START.match(start):
        return _read_stream(file, size, label, Allowance())
    return _read_nvidia(file, size, label)


def _read_archive(file: BinaryIO, size: int, label: str) -> Any:
    with _damage_in_words(label):
        archive = zipfile.ZipFile(file)
    members = archive.infolist()
    sizes = {member.filename: member.file_size for member in members}
    if kind := kind_of_archive(members):
        raise UserError(f"{label} is {kind}.")
    # torch compresses nothing, so nothing may unfold into more than the file itself.
    if sum(sizes.values()) > size:
        raise UserError(f"{label} claims to hold more than its own size; fetch it again.")
    pickles = [name for name in sizes if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1 or len(sizes) != len(members):
        raise UserError(f"{label} is a ZIP file but no PyTorch checkpoint; choose a .pt file.")
    if sizes[pickles[0]] > MAXIMUM_PICKLE_BYTES:
        raise UserError(f"{label} holds a larger description than weights need; get another copy.")
    folder = pickles[0].removesuffix("data.pkl")
    with _damage_in_words(label):
        content = archive.read(pickles[0])
        # older files lack it and are little-endian
        order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in sizes else b"little"
    _demand_little_endian(order.strip() == b"little", label)

    def read(storage: Storage) -> bytearray:
        with _damage_in_words(label):
            return bytearray(archive.read(f"{folder}data/{storage.key}"))  # compares a checksum

    def locate(identity: Any) -> Storage:
        storage = _storage(identity, read)
        if (size := sizes.get(f"{folder}data/{storage.key}")) != storage.stored_bytes:
            raise ValueError("a storage is missing" if size is None else "a storage is not of the size it claims")
        return storage

    return read_pickle(io.BytesIO(content), len(content), VOCABULARY, label, locate)


@contextmanager
def _damage_in_words(label: str) -> Iterator[None]:
    try:
        yield
    except _ZIP_DAMAGE as error:
        cause = error if isinstance(error, OSError) else error.__context__  # zipfile hides some
        if isinstance(cause, OSError) and cause.errno not in (None, errno.EINVAL):
            raise cause from None  # the disk, not the file; EINVAL is a place before its beginning
        raise UserError(f"{label} is damaged or cut short; fetch it again.") from error


def _demand_little_endian(is_little: bool, label: str) -> None:
    if not is_little:
        raise UserError(f"{label} was saved on a big-endian machine, which is not supported.")


def _read_stream(file: BinaryIO, end: int, label: str, allowance: Allowance) -> Any:
    """The object in the layout before zip archives, from where the file stands up to `end`.

    After four pickles (magic number, protocol, system, object) and one with the keys of the storages stand these, each
    a count of elements (int64) and the bytes.
    """
    named: dict[str, Storage] = {}
    places: dict[str, int] = {}

    def read(storage: Storage) -> bytearray:
        return FileBytes(file, places[storage.key], storage.stored_bytes).read()

    def locate(identity: Any) -> Storage:
        storage = _storage(identity, read)
        if storage.stored_bytes > end:
            raise ValueError("a storage is larger than the file")
        if named.setdefault(storage.key, storage) != storage:
            raise ValueError("a storage is described in two ways")
        return storage

    def next_pickle() -> Any:
        limit = min(file.tell() + MAXIMUM_PICKLE_BYTES, end)
        return read_pickle(file, limit, VOCABULARY, label, locate, allowance)

    first = next_pickle()
    if type(first) is not int or first != _STREAM_MAGIC or next_pickle() != _STREAM_PROTOCOL:
        raise UserError(f"{label} is a pickle but no PyTorch checkpoint; choose a .pt file.")
    system = next_pickle()
    _demand_little_endian(isinstance(system, dict) and system.get("little_endian") is True, label)
    root, keys = next_pickle(), next_pickle()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UserError(f"{label} is damaged; fetch it again.")
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        if key not in named or count != named[key].elements:
            raise UserError(f"{label} is damaged; fetch it again.")
        places[key] = file.tell()
        file.seek(named[key].stored_bytes, os.SEEK_CUR)
    if file.tell() > end or places.keys() != named.keys():
        raise UserError(f"{label} is cut short; fetch it again.")
    return root


def _storage(identity: Any, read: Callable[[Storage], bytearray]) -> Storage:
    """Resolves a persistent id: ("storage", dtype, key, location, elements[, view])."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("it refers to something else than a storage")
    _, dtype, key, _, elements = identity[:5]
    if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or identity[5:] not in ((), (None,)):
        raise ValueError("it refers to a storage in an unknown way")
    return Storage(key, dtype, integers([elements])[0], read)


def _read_nvidia(file: BinaryIO, end: int, label: str) -> Any:
    allowance = Allowance()

    def storage(content: Any) -> Storage:
        inner = FileBytes.of(content)
        inner.file.seek(inner.offset)
        root = _read_stream(inner.file, inner.offset + inner.length, label, allowance)
        if not isinstance(root, Storage):
            raise ValueError("a storage holds something else")
        return root

    def module(described: Any) -> Record:
        state = described.get("state") if isinstance(described, dict) else None
        if not isinstance(state, dict) or not isinstance(described.get("class_name"), str):
            raise ValueError("it rebuilds an object without a class or a state")
        return Record(PYTORCH_MODULE, state=state)

    vocabulary = {
        **VOCABULARY,
        TENSORFLOW_NETWORK: Builder("Network", lambda: Record(TENSORFLOW_NETWORK)),
        PYTORCH_MODULE: Builder("_reconstruct_persistent_obj", module),
        "dnnlib.util.EasyDict": Builder("EasyDict", lambda: (), makes_table=True),
        "torch.storage._load_from_bytes": Builder("_load_from_bytes", storage),
    }
    return read_pickle(file, end, vocabulary, label, allowance=allowance)
