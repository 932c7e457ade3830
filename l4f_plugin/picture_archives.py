"""ZIP and TAR archives as sets of pictures: members are read where they lie, nothing is unpacked.

Archives come from anywhere. Names are only names here, never paths of this computer; even so members with absolute
names, with `..` or that are links are passed over. Sizes are looked at before anything is read: of the list of
members, of each member, and of all of them together beside the archive's own, by which bombs are told.
"""

import atexit
import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from .errors import UserError

MOST_MEMBER_BYTES = 256 << 20
MOST_LIST_BYTES = 64 << 20
MOST_MEMBERS = 500_000
LARGEST_RATIO, ALWAYS_ALLOWED = 100, 64 << 20
UNSAFE, LINK, TOO_LARGE, ENCRYPTED = "with unsafe names", "links", "too large", "encrypted"
_SAYS_UTF_8 = 0x800  # in the flags of a member
_END_OF_LIST, _END_64 = b"PK\x05\x06", b"PK\x06\x06"
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_ENDINGS = (".zip", ".cbz", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError,
    ValueError, RuntimeError, NotImplementedError, OverflowError,
)  # fmt: skip
_reading = threading.Lock()


@dataclass(frozen=True)
class ArchiveMember:
    archive: Path
    name: str
    size: int
    offset: int | None = None  # where a TAR holds its bytes; None in a ZIP
    refused: str | None = None  # why it is passed over

    def read(self, most: int | None = None) -> bytes:
        """Its content, or the first `most` bytes. Raises `UserError` for a damaged archive."""
        wanted = self.size if most is None else min(most, self.size)
        try:
            if self.offset is not None:
                with open(self.archive, "rb") as file:
                    file.seek(self.offset)
                    content = file.read(wanted)
            else:
                with _reading, _opened_zip(self.archive, *_stamp(self.archive)).open(self.name) as file:
                    content = file.read(wanted)
        except (OSError, KeyError, *_DAMAGE) as error:
            raise UserError(
                f"{self.name} in {self.archive.name} is damaged and could not be read; fetch the archive again."
            ) from error
        if len(content) < wanted:
            raise UserError(f"{self.name} in {self.archive.name} is cut short; fetch the archive again.")
        return content


def is_archive(path: Path) -> bool:
    """Whether a file is called as ZIP and TAR archives are."""
    return path.name.lower().endswith(_ENDINGS)


def members(path: Path) -> Iterator[ArchiveMember]:
    """The files in an archive. Raises `UserError` for one that is damaged, too large, or a bomb."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            packed = next((opener for magic, opener in _PACKED.items() if start.startswith(magic)), None)
            is_zip = packed is None and zipfile.is_zipfile(file)
        if is_zip:
            yield from _of_zip(path)
        else:
            yield from _of_tar(_unpacked(path, packed, *_stamp(path)) if packed else path, path.name)
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged or no ZIP or TAR archive; fetch it again.") from error
    except OSError as error:  # what cannot be decompressed raises one without a reason of the system's
        raise UserError(f"{path} could not be read ({error.strerror or 'it is damaged'}); check the file.") from error


def _of_zip(path: Path) -> Iterator[ArchiveMember]:
    with open(path, "rb") as file:
        if _bytes_of_list(file) > MOST_LIST_BYTES:
            raise _too_many(path.name)
    infos = [info for info in _opened_zip(path, *_stamp(path)).infolist() if not info.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise _too_many(path.name)
    _check_sum(path.name, sum(info.file_size for info in infos), path.stat().st_size)
    for info in infos:
        refused = LINK if stat.S_ISLNK(info.external_attr >> 16) else ENCRYPTED if info.flag_bits & 1 else None
        yield _member(path, info.filename, info.file_size, None, refused)


def _of_tar(path: Path, name: str) -> Iterator[ArchiveMember]:
    count, size = 0, path.stat().st_size
    with open(path, "rb") as file, tarfile.open(fileobj=_Bounded(file), mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # which it keeps for lookups by name
            count += 1
            if count > MOST_MEMBERS:
                raise _too_many(name)
            if info.isdir():
                continue
            refused = None if info.isreg() and not info.issparse() else LINK
            if not refused and info.offset_data + info.size > size:
                raise tarfile.ReadError("cut short")
            yield _member(path, info.name, info.size, info.offset_data, refused)


class _Bounded:
    """A file that hands out no more than the list of members may take at once: headers of a TAR name any size."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_LIST_BYTES:
            raise tarfile.ReadError("a header of impossible size")
        return self._file.read(size)


def _member(archive: Path, name: str, size: int, offset: int | None, refused: str | None) -> ArchiveMember:
    parts = name.replace("\\", "/").split("/")
    nameless = not {*parts} - {"", "."}
    if nameless or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        refused = refused or UNSAFE
    elif size > MOST_MEMBER_BYTES:
        refused = refused or TOO_LARGE
    return ArchiveMember(archive, name, size, offset, refused)


def _check_sum(name: str, together: int, size: int) -> None:
    """Raises `UserError` for a bomb: `together` bytes in an archive of `size`."""
    if together > max(LARGEST_RATIO * size, ALWAYS_ALLOWED):
        raise UserError(
            f"{name} would unpack to more than {LARGEST_RATIO} times its size, as no archive of pictures "
            "does; unpack it yourself if you trust it, and name the folder."
        )


def _too_many(name: str) -> UserError:
    return UserError(f"{name} lists more files than are read of one archive; unpack it and name the folder.")


def _bytes_of_list(file: IO[bytes]) -> int:
    """The size that a ZIP claims for its list of members, which is read in one piece."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - (1 << 16) - 128))
    tail = file.read()
    end = tail.rfind(_END_OF_LIST)
    size = int.from_bytes(tail[end + 12 : end + 16], "little")
    end_64 = tail.rfind(_END_64)  # which counts where it is there
    return int.from_bytes(tail[end_64 + 40 : end_64 + 48], "little") if end_64 >= 0 else size


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=2)
def _opened_zip(path: Path, size: int, time: int) -> zipfile.ZipFile:
    """An open archive, which reads its list of members once; forgotten when the file has changed."""
    opened = zipfile.ZipFile(path)
    for info in opened.infolist():
        if not info.flag_bits & _SAYS_UTF_8:
            with suppress(UnicodeError):  # Info-ZIP writes UTF-8 without saying so
                info.filename = info.filename.encode("cp437").decode("utf-8")
    opened.NameToInfo = {info.filename: info for info in opened.infolist()}
    return opened


@lru_cache(maxsize=4)
def _unpacked(path: Path, opener: Callable[..., IO[bytes]], size: int, time: int) -> Path:
    """The TAR within a compressed file, as a temporary file that goes when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="labels4free-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target, done = folder / "archive.tar", 0
    with opener(path, "rb") as packed, open(target, "wb") as file:
        while piece := packed.read(1 << 20):
            done += len(piece)
            _check_sum(path.name, done, size)
            file.write(piece)
    return target
