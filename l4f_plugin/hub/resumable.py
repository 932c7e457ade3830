"""A large published checkpoint, in pieces: what has arrived is kept, and the next attempt goes on from there.

NVIDIA's pickles have over 300 MB each, and huggingface_hub 2.x throws away what had arrived when a download is cut
(its issue 4196). Their size and hash are pinned, so nothing depends on which way the bytes take. They gather beside the
blobs of huggingface_hub's cache in `*.l4f.incomplete`. The finished file becomes a blob there, and the library itself
then gives it its name. No Xet, one connection.
"""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from ..bundles.config import WeightFile
from ..bundles.files import bytes_in, megabytes, sync_to_disk, writing
from ..bundles.locks import lock
from ..errors import UserError
from ..jobs import CancelToken, Progress, unseen
from .hub_errors import is_of_the_network, status_of
from .repository import Source, asking, demand_space, download, is_right, longer, look_up, other_content, short

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each new attempt; they start anew once a megabyte has arrived
_MEGABYTE = 1 << 20
_PIECE_BYTES = 1 << 16


def fetch_resumable(
    source: Source, filename: str, expected: WeightFile, *, most: int, progress: Progress, cancel: CancelToken
) -> Path:
    """The file in huggingface_hub's cache. Raises `UserError`, or `Cancelled`; what has arrived by then is kept."""
    with asking(source, short(filename)):
        remote = _asked_patiently(source, filename, expected, most, cancel)
        blob = source.cache() / "blobs" / remote.etag
        with lock(
            source.cache().parent / ".locks" / source.cache().name / f"{remote.etag}.lock",  # the library's own
            cancel=cancel,
            on_wait=lambda: progress(0, 0, f"Waiting for another program that is fetching {short(filename)}"),
        ):
            if not (blob.is_file() and is_right(blob, expected)):
                demand_space({blob: expected.bytes - arrived(source, remote.etag)}, filename)
                _Transfer(partial_of(source, remote.etag), source, filename, expected, progress, cancel).fill(blob)
        return download(source, filename, expected.bytes, unseen, cancel)


def arrived(source: Source, etag: str | None) -> int:
    """How many bytes of an unfinished download are there already."""
    return bytes_in(partial_of(source, etag)) if etag else 0


def partial_of(source: Source, etag: str) -> Path:
    """Where the bytes of a file gather as long as some are missing."""
    return source.cache() / "blobs" / f"{etag}.l4f.incomplete"


def _asked_patiently(source: Source, filename: str, expected: WeightFile, most: int, cancel: CancelToken) -> Any:
    for seconds in (*WAITS, None):
        try:
            return look_up(source, filename, expected, most)
        except Exception as error:
            if seconds is None or not _may_pass(error):
                raise
            _wait(_asked_wait(error, seconds), cancel)


@dataclass(frozen=True)
class _Transfer:
    """One file on its way into `partial`."""

    partial: Path
    source: Source
    filename: str
    expected: WeightFile
    progress: Progress
    cancel: CancelToken

    def fill(self, blob: Path) -> None:
        with writing(blob):
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.unlink(missing_ok=True)
        resumed = bytes_in(self.partial) > 0
        while True:
            self._gather()
            self.progress(0, 0, f"Checking {short(self.filename)}")
            if is_right(self.partial, self.expected):
                break
            self.partial.unlink(missing_ok=True)
            if not resumed:
                raise other_content(self.source, self.filename)
            resumed = False  # what lay there from another day may have been the damaged part
        with writing(blob):
            sync_to_disk(self.partial)
            os.replace(self.partial, blob)

    def _gather(self) -> None:
        """Appends until all has arrived, over as many connections as that takes."""
        partial, whole = self.partial, self.expected.bytes
        waits, before, refusal = list(WAITS), bytes_in(partial), None
        while bytes_in(partial) < whole:
            try:
                self._append()
                refusal = None
            except Exception as error:
                if status_of(error) == 416:  # what is there is no part of this file
                    partial.unlink(missing_ok=True)
                elif not (_may_pass(error) or (status_of(error) is None and is_of_the_network(error))):
                    raise
                refusal = error if status_of(error) else None
            if bytes_in(partial) >= whole:
                continue
            if bytes_in(partial) - before >= _MEGABYTE:
                waits, before = list(WAITS), bytes_in(partial)
            if not waits:
                here = megabytes(bytes_in(partial))
                raise refusal or UserError(
                    f"The download of {self.filename} was cut off after {here} of {megabytes(whole)}; check the "
                    "connection and try again: it goes on from there."
                )
            seconds = waits.pop(0)
            _wait(_asked_wait(refusal, seconds) if refusal else seconds, self.cancel)
        if bytes_in(partial) > whole:
            partial.unlink()
            raise longer(self.source, self.filename, whole)

    def _append(self) -> None:
        """One connection, from where `partial` ends; stops at most a piece after the file's end."""
        with writing(self.partial):
            # Unbuffered: closing on a full disk has nothing to write.
            file = open(self.partial, "ab", buffering=0)  # noqa: SIM115
        with file, _bytes_from(self.source, self.filename, file.tell()) as response:
            begins = response.headers.get("content-range", "").startswith(f"bytes {file.tell()}-")
            if response.status_code != 206 or not begins:
                file.truncate(0)
            if response.status_code == 206 and not begins:
                return
            done = os.fstat(file.fileno()).st_size
            pieces = response.iter_bytes() if hasattr(response, "iter_bytes") else response.iter_content(_PIECE_BYTES)
            for piece in pieces:
                self.cancel.check()
                rest = memoryview(piece)
                with writing(self.partial):
                    while rest:
                        rest = rest[file.write(rest) :]
                done += len(piece)
                self.progress(done, self.expected.bytes, f"Downloading {short(self.filename)}")
                if done > self.expected.bytes:
                    return


@contextmanager
def _bytes_from(source: Source, filename: str, position: int) -> Iterator[Any]:
    """The answer of `requests` (huggingface_hub below 1.0) or `httpx`; both keep the login from other hosts."""
    url = hf_hub_url(source.repository, filename, revision=source.revision, endpoint=constants.ENDPOINT)
    headers = {**build_hf_headers(token=source.token, library_name="labels4free"), "Accept-Encoding": "identity"}
    if position:
        headers["Range"] = f"bytes={position}-"
    session, options = get_session(), {"headers": headers, "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT}
    if callable(getattr(session, "stream", None)):
        answer = session.stream("GET", url, follow_redirects=True, **options)
    else:
        answer = closing(session.get(url, stream=True, **options))
    with answer as response:
        hf_raise_for_status(response)
        yield response


def _may_pass(error: Exception) -> bool:
    status = status_of(error)
    return status is not None and (status == 429 or status >= 500)


def _asked_wait(error: Exception, seconds: float) -> float:
    """How long the Hub asks to wait, a minute at most; `seconds` where it does not say."""
    asked = error.response.headers.get("retry-after", "")
    return min(int(asked), 60) if asked.isdecimal() else seconds


def _wait(seconds: float, cancel: CancelToken) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        cancel.check()
        time.sleep(min(left, 0.2))
