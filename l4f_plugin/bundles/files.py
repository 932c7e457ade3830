"""Files on disk: atomic writes, bundles replaced in one step, hashes, what the system refuses in words. No torch."""

import ctypes
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

from ..errors import UserError

CONFIG_NAME, CARD_NAME = "config.json", "README.md"
NETWORKS = ("generator", "alpha", "background", "discriminator", "student")
DISCRIMINATOR_FILE = "discriminator.safetensors"
_OF_A_BUNDLE = (CONFIG_NAME, CARD_NAME, *(f"{name}.safetensors" for name in NETWORKS))
MAXIMUM_CONFIG_BYTES = 1 << 22
STALE_AFTER_SECONDS = 3600
LONGEST_NAME = 255  # bytes that a file's name may have on nearly every system
_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_OS_ERROR_NUMBER = re.compile(r"os error (\d+)")
_NO_FILE = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a pipe, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
)


def open_plain(path: str | Path) -> BinaryIO:
    """Opens a file that somebody named, to read it. Raises `OSError` as `open` does.

    So it does for a folder, a pipe, a device and a socket: opening or reading one of these may wait for ever, never
    end, or do something.
    """
    _demand_plain(os.stat(path).st_mode, path)
    # Somebody may have put a pipe there since: without O_NONBLOCK, opening it would wait.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    try:
        _demand_plain(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def _demand_plain(mode: int, path: str | Path) -> None:
    if not stat.S_ISREG(mode):
        words = next((words for is_kind, words in _NO_FILE if is_kind(mode)), "it is a device, not a file")
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, words, str(path))


def unreadable(error: OSError, path: str | Path) -> UserError:
    """Puts an `OSError` met while reading `path` into one sentence."""
    if isinstance(error, FileNotFoundError):
        if not os.path.islink(path):
            return UserError(f"{path} does not exist; check the path.")
        annexed = "annex/objects" in os.readlink(path)
        remedy = "fetch the file with `git annex get`" if annexed else "check where it leads"
        return UserError(f"{path} is a link to a file that is not there; {remedy}.")
    remedy = "check the disk" if error.errno == errno.EIO else "check the path"
    return UserError(f"{path} cannot be read ({error.strerror or type(error).__name__}); {remedy}.")


class DiskFull(UserError):
    """There is no room for what is to be written."""


def storage_error(error: BaseException, path: Path) -> UserError:
    """Puts an `OSError` or `SafetensorError` met while writing `path` into one sentence."""
    number = getattr(error, "errno", None)
    if number is None and (found := _OS_ERROR_NUMBER.search(str(error))):
        number = int(found.group(1))
    if number in _DISK_FULL:
        return DiskFull(
            f"The disk is full: {path} could not be written and what was there before is "
            "untouched; free some space and try again."
        )
    if number in _FORBIDDEN:
        return UserError(f"{path} may not be written; choose another folder or change its permissions.")
    blocking = next((folder for folder in path.parents if folder.is_file()), None)
    if blocking is not None:
        return UserError(f"{path} cannot be written because {blocking} is a file; choose another folder.")
    reason = os.strerror(number) if number else str(error) or type(error).__name__
    return UserError(f"{path} could not be written ({reason}); choose another place and try again.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Puts what the system refuses while `path` is written into one sentence, see `storage_error`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise storage_error(error, path) from error


def make_folder(folder: Path) -> Path:
    """Makes a folder, and those above it. Raises `UserError` where that is impossible."""
    if folder.is_file():
        raise UserError(f"{folder} is a file; name a folder.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_json(path: Path, most: int) -> Any:
    """The value in a JSON file. Raises `OSError`, and `ValueError` for what is no JSON or more than `most` bytes.

    NaN and infinity, which Python's own reader takes, are no JSON.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    with open_plain(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError("it is too large")
    try:
        return json.loads(content, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read in pieces of 4 MiB."""
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
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


def longest_name(folder: Path) -> int:
    """How many bytes a name in `folder` may have; encrypted home folders allow fewer than others."""
    try:
        return min(LONGEST_NAME, os.pathconf(folder, "PC_NAME_MAX"))
    except (AttributeError, OSError, ValueError):  # Windows, or no such folder yet
        return LONGEST_NAME


def fitted(stem: str, ending: str = "", longest: int = LONGEST_NAME) -> str:
    """The file name `stem` + `ending`, of at most `longest` bytes.

    A stem that is too long is cut between two characters, and a hash of the whole of it keeps it apart from others.
    """
    room = longest - len(os.fsencode(ending))
    if len(os.fsencode(stem)) <= room:
        return stem + ending
    mark = "~" + hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
    while len(os.fsencode(stem)) > room - len(mark):
        stem = stem[:-1]
    return stem + mark + ending


def partial_name(path: Path) -> Path:
    """A name beside `path` that no other writer uses; leftovers of killed writers are removed."""
    ending = f".{uuid.uuid4().hex[:12]}.partial"
    begun = fitted(f".{path.name}", longest=longest_name(path.parent) - len(ending))
    for leftover in path.parent.glob(f"{glob.escape(begun)}.*.partial"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_AFTER_SECONDS:
                remove(leftover)
    return path.with_name(begun + ending)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which is gone afterwards. Raises `UserError` when the system refuses."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = partial_name(path)
        try:
            temporary.mkdir()
            yield temporary
        finally:
            remove(temporary)
        sync_to_disk(path.parent)


def remove(path: Path) -> None:
    """Removes a file or a folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def bytes_in(path: Path) -> int:
    """The size of a file, or of all files in a folder; 0 for what cannot be read."""
    try:
        return sum(item.stat().st_size for item in (path.rglob("*") if path.is_dir() else [path]) if item.is_file())
    except OSError:
        return 0


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def write_atomically(path: Path, content: str | Callable[[Path], None]) -> None:
    """Writes a text, or lets a writer fill a new file beside `path`, then puts it in place in one step.

    Whatever happens in between (a kill, a full disk), `path` holds either the old bytes or all of
    the new ones. Raises `UserError` when the system refuses.
    """
    path = Path(path)
    with beside(path) as temporary:  # a folder of its own: safetensors makes temporary files beside what it writes
        new = temporary / path.name
        write_text(new, content) if isinstance(content, str) else content(new)
        sync_to_disk(new)
        os.replace(new, path)


def write_text(path: Path, text: str) -> None:
    """UTF-8 text with plain line ends. Not atomic: see `write_atomically`."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def is_bundle_of_ours(folder: Path) -> bool:
    """Whether `config.json` in `folder` is a bundle's, even a damaged one: other programs have files of that name."""
    with suppress(OSError), open(Path(folder) / CONFIG_NAME, "rb") as file:
        return b'"alpha_hidden_channels"' in file.read(MAXIMUM_CONFIG_BYTES)
    return False


def replace_bundle(folder: Path, writer: Callable[[Path], None]) -> None:
    """Lets `writer` fill a new folder beside `folder`, then puts it in place of the bundle there in one step.

    A folder that holds something else than a bundle is left alone, and so are other files beside the bundle's. Raises
    `UserError` for such a folder, and when the system refuses.
    """
    check_replaceable(folder)
    folder = Path(folder).resolve()
    with beside(folder) as temporary:
        writer(temporary)
        if folder.is_dir():
            _keep_other_files(folder, temporary)
        for path in (*(item for item in temporary.rglob("*") if not item.is_symlink()), temporary):
            sync_to_disk(path)
        _put_in_place(temporary, folder)


def check_replaceable(folder: Path) -> None:
    """Raises `UserError` where `replace_bundle` would leave `folder` alone; to be asked before any work is done."""
    folder = Path(folder)
    with writing(folder):
        if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
            kind = "a file" if folder.exists() else "a link to nothing"
            raise UserError(f"{folder} is {kind}; choose another folder.")
        if folder.is_dir() and any(folder.iterdir()) and not is_bundle_of_ours(folder):
            raise UserError(f"{folder} holds other files and was left alone; choose a new or empty folder.")


def _keep_other_files(old: Path, new: Path) -> None:
    for item in old.iterdir():
        if item.name in _OF_A_BUNDLE:
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.copytree(item, new / item.name, symlinks=True)
        else:
            shutil.copy2(item, new / item.name, follow_symlinks=False)


def _put_in_place(new: Path, folder: Path) -> None:
    """Moves `new` to `folder`; what was there is at `new` afterwards, or gone."""
    if not folder.exists():
        os.rename(new, folder)
    elif not _exchange(new, folder):
        # Two steps where the system knows no exchange: for a moment there is none, but never half of one.
        aside = new.with_suffix(".old")
        os.rename(folder, aside)
        try:
            os.rename(new, folder)
        except OSError:
            os.rename(aside, folder)
            raise
        remove(aside)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two paths in one step where the kernel can (Linux, macOS); False where it cannot."""
    paths = os.fsencode(first), os.fsencode(second)
    names = {"linux": ("renameat2", (-100, paths[0], -100, paths[1], 2)), "darwin": ("renamex_np", (*paths, 2))}
    name, arguments = names.get(sys.platform, ("", ()))
    try:
        return bool(name) and getattr(ctypes.CDLL(None), name)(*arguments) == 0
    except (AttributeError, OSError):
        return False
