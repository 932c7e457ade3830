"""One file of a Hub repository into the cache: resumed, checked, and seen by others only when it is whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from ..bundles.config import WeightFile
from ..bundles.files import sha256_of, storage_error, sync_to_disk
from ..bundles.folders import existing_parent
from ..bundles.locks import lock
from ..errors import UserError
from ..jobs import CancelToken, Progress
from .hub_cache import Source, arrived, enter, forget, partial_of
from .hub_errors import hub_errors, is_of_the_network, offline, put_by_hand, refusal, why_offline
from .hub_http import Cut, Refused, RemoteFile, look_up, open_from

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each new attempt; they start anew once a megabyte has arrived."""
_MEGABYTE = 1 << 20
_SPARE = 64 * _MEGABYTE  # what a disk should keep free


class MissingFile(UserError):
    """The repository is there and lacks the file."""


class LargeFile(UserError):
    """The file is larger than any of its kind."""


def fetch(
    source: Source,
    filename: str,
    expected: WeightFile | None = None,
    *,
    most: int,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """The file in the cache, `.../snapshots/COMMIT/FILENAME`, downloaded unless it is there and as it should be.

    A file of more than `most` bytes is refused (`LargeFile`), before it is fetched where the Hub or `expected` says so,
    else after that many, and nothing of it stays. `expected` is checked when it is given, else the Hub's own size and,
    for large files, hash. Ends with one sentence as `UserError`, or with `Cancelled`; what has arrived by then is kept,
    and the next call goes on. `MissingFile` says that the repository has no such file.
    """
    by_hand = source.by_hand or put_by_hand(source.repository)
    if reason := why_offline():
        what = _short(filename) if source.by_hand else source.repository
        raise UserError(offline(what, by_hand, reason))
    with hub_errors(source.repository, by_hand):
        try:
            remote = _with_patience(lambda: _look_up(source, filename), cancel)
            if max(remote.size or 0, expected.bytes if expected else 0) > most:
                raise _too_large(source, filename, most)
            _compare(remote, expected, source, filename)
            with lock(
                source.lock_file(remote.etag),
                cancel=cancel,
                on_wait=lambda: _say(progress, f"Waiting for another program that is fetching {_short(filename)}"),
            ):
                blob = source.cache() / "blobs" / remote.etag
                _fill(blob, remote, source, filename, expected or _own_check(remote), most, progress, cancel)
                return enter(source, blob, remote.commit, filename)
        except Refused as error:
            kind = MissingFile if error.code == "EntryNotFound" else UserError
            raise kind(refusal(source.repository, error.status, error.code, by_hand)) from error


def demand_space(needs: dict[Path, int], what: str) -> None:
    """Raises `UserError` where the disks of these folders cannot take that many bytes more."""
    by_disk: dict[int, tuple[Path, int]] = {}
    for folder, size in needs.items():
        place = existing_parent(folder)
        device = place.stat().st_dev
        by_disk[device] = (place, by_disk.get(device, (place, 0))[1] + max(size, 0))
    for place, size in by_disk.values():
        free = shutil.disk_usage(place).free
        if size and free < size + _SPARE:
            raise UserError(
                f"{what} needs {megabytes(size)} on the disk of {place}, where {megabytes(free)} are free; "
                "free some space, or set HF_HOME and LABELS4FREE_MODELS to folders on another disk."
            )


def megabytes(size: int) -> str:
    """A size as people say it."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _look_up(source: Source, filename: str) -> RemoteFile:
    return look_up(source.repository, filename, source.revision, source.token)


def _with_patience(ask: Callable[[], RemoteFile], cancel: CancelToken | None) -> RemoteFile:
    for seconds in WAITS:
        try:
            return ask()
        except Refused as error:
            if not error.may_pass:
                raise
            _wait(seconds if error.wait is None else error.wait, cancel)
    return ask()


def _wait(seconds: float, cancel: CancelToken | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        (cancel or CancelToken()).check()
        time.sleep(min(left, 0.2))


def _own_check(remote: RemoteFile) -> WeightFile | None:
    """What the Hub itself says of a large file."""
    return WeightFile(remote.size, remote.etag) if remote.size and len(remote.etag) == 64 else None


def _compare(remote: RemoteFile, expected: WeightFile | None, source: Source, filename: str) -> None:
    """Refuses a file that is another one by the Hub's own account, before a byte of it is fetched."""
    if expected is None:
        return
    if remote.size is not None and remote.size != expected.bytes:
        raise UserError(
            f"{filename} of {source.repository} has {remote.size} bytes on the Hub instead of "
            f"{expected.bytes}, so it is another file and was left alone; update Labels4Free, or choose "
            "another source."
        )
    if len(remote.etag) == 64 and remote.etag != expected.sha256:
        raise _other_content(source, filename)


def _too_large(source: Source, filename: str, most: int) -> LargeFile:
    return LargeFile(
        f"{filename} of {source.repository} has more than the {megabytes(most)} that such a file may have "
        "and was not kept; choose another source."
    )


def _other_content(source: Source, filename: str) -> UserError:
    return UserError(
        f"{filename} of {source.repository} is not the file that was expected (its sha256 differs) and "
        "was thrown away; try again, and if that repeats, update Labels4Free or choose another source."
    )


def _fill(
    blob: Path,
    remote: RemoteFile,
    source: Source,
    filename: str,
    expected: WeightFile | None,
    most: int,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> None:
    """Makes the blob, unless it is there and right."""
    if blob.is_file() and (expected is None or _is_right(blob, expected)):
        return
    partial, size = partial_of(blob), expected.bytes if expected else remote.size
    try:
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, blob) from error
    demand_space({blob: (size or 0) - arrived(source, remote.etag)}, filename)
    for first in (True, False):
        resumed = _transfer(partial, remote, source, filename, size, most, progress, cancel)
        _say(progress, f"Checking {_short(filename)}")
        if expected is None or _is_right(partial, expected):
            break
        partial.unlink(missing_ok=True)
        if not (first and resumed):  # what lay there from another day may have been the damaged part
            raise _other_content(source, filename)
    try:
        sync_to_disk(partial)
        os.replace(partial, blob)
    except OSError as error:
        raise storage_error(error, blob) from error


def _is_right(path: Path, expected: WeightFile) -> bool:
    return path.stat().st_size == expected.bytes and sha256_of(path) == expected.sha256


def _transfer(
    partial: Path,
    remote: RemoteFile,
    source: Source,
    filename: str,
    size: int | None,
    most: int,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> bool:
    """Appends to `partial` until all has arrived. Returns whether a part of it was there before."""
    resumed = partial.is_file() and partial.stat().st_size > 0
    waits, before = list(WAITS), partial.stat().st_size if resumed else 0
    while True:
        wait = None
        try:
            done = _append(partial, remote, filename, size, most, progress, cancel)
            if size is None and done > most:
                forget(source, partial)
                raise _too_large(source, filename, most)
            if size is None or done == size:
                return resumed
            if done > size:
                partial.unlink()
                raise UserError(
                    f"{filename} of {source.repository} is longer than the {size} bytes it should have and "
                    "was thrown away; try again later, or choose another source."
                )
        except Cut:
            done = partial.stat().st_size if partial.is_file() else 0
        except Refused as error:
            if error.status == 416:  # what is there is no part of this file
                partial.unlink(missing_ok=True)
            elif not error.may_pass and not (error.status == 403 and arrived(source, remote.etag)):
                raise  # (a signed address runs out after a while)
            done, wait = 0, error.wait
            if not waits:
                raise
        if not waits:
            of = f" of {megabytes(size)}" if size else ""
            raise UserError(
                f"The download of {filename} was cut off after {megabytes(done)}{of}; check the "
                "connection and try again: it goes on from there."
            )
        if done - before >= _MEGABYTE:
            waits, before = list(WAITS), done
        _wait(waits.pop(0) if wait is None else wait, cancel)
        remote = _asked_again(remote, source, filename)


def _asked_again(remote: RemoteFile, source: Source, filename: str) -> RemoteFile:
    """The file's present address; the old one where the Hub does not answer."""
    try:
        latest = _look_up(source, filename)
    except Exception as error:
        if isinstance(error, Refused) or is_of_the_network(error):
            return remote
        raise
    return latest if latest.etag == remote.etag else remote


def _append(
    partial: Path,
    remote: RemoteFile,
    filename: str,
    size: int | None,
    most: int,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> int:
    """One attempt; the length of `partial` afterwards, at most a piece more than `size`, or than `most` without one."""
    message, cancel = f"Downloading {_short(filename)}", cancel or CancelToken()
    end = most if size is None else size
    try:
        # Unbuffered, so that closing has nothing left to write on a full disk.
        file = open(partial, "ab", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise storage_error(error, partial) from error
    with file:
        have = file.tell()
        if size is not None and have >= size:
            return have
        with open_from(remote, have) as (done, pieces):
            file.truncate(done)
            _say(progress, message, done, size)
            for piece in pieces:
                cancel.check()
                _write(file, piece, partial)
                done += len(piece)
                _say(progress, message, done, size)
                if done > end:
                    break
    return done


def _write(file: FileIO, piece: bytes, path: Path) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise storage_error(error, path) from error


def _short(filename: str) -> str:
    return filename.rpartition("/")[2]


def _say(progress: Progress | None, message: str, done: int = 0, total: int | None = 0) -> None:
    if progress is not None:
        progress(done, total or 0, message)
