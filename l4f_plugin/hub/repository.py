"""Files of a Hub repository, through huggingface_hub 0.25 to 2.4 and in its own cache.

`fetch` is for bundles and model cards: it looks up a file's size and hash, refuses what is too large or another file
before a byte is fetched, leaves the transfer (with Xet where that is installed) to `hf_hub_download`, and compares
the hash. `resumable.py` fetches large published checkpoints instead.

What is given up by that: where `hf_hub_download` takes no `tqdm_class`, a bundle's progress is told per file,
cancelling counts between files, and a server that sends more than it announced is found out only when the file ends.
With Xet a transfer that runs may not stop at once either. From 2.0 on, what had arrived of a bundle's file is lost when
its download is interrupted; such files have some megabytes.
"""

import inspect
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils import get_session
from tqdm import tqdm

from ..bundles.config import WeightFile
from ..bundles.fields import REPOSITORY_ID, REVISION
from ..bundles.files import megabytes, sha256_of, write_atomically
from ..bundles.folders import existing_parent
from ..errors import UserError
from ..jobs import NEVER, CancelToken, Progress, unseen
from .hub_errors import hub_errors, offline, put_by_hand, why_offline

MOST_REDIRECTS = 10
_SPARE = 64 << 20  # bytes that a disk should keep free
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class LargeFile(UserError):
    """The file is larger than any of its kind."""


@dataclass(frozen=True)
class Source:
    """Which repository, how to log in, which cache, and what to say to whoever cannot reach the Hub."""

    repository: str
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    by_hand: str | None = None

    def __post_init__(self) -> None:
        if not REPOSITORY_ID.fullmatch(self.repository):
            raise UserError(f"{self.repository!r} is no name of a Hub repository; give it as OWNER/NAME.")
        if self.revision is not None and not REVISION.fullmatch(self.revision):
            raise UserError(f"{self.revision!r} is no revision; give a branch, a tag or a commit.")

    def cache(self) -> Path:
        """The repository's folder in huggingface_hub's cache."""
        root = Path(self.cache_dir or constants.HF_HUB_CACHE).expanduser().absolute()
        return root / f"models--{self.repository.replace('/', '--')}"


# Asking the Hub


def look_up(source: Source, filename: str, expected: WeightFile | None, most: int) -> Any:
    """What the Hub says of a file: `commit_hash`, `etag` and `size`, checked.

    Raises `LargeFile` above `most` bytes, `UserError` where it is not the `expected` file, or what the Hub's library
    raises: for use in `asking`.
    """
    url = huggingface_hub.hf_hub_url(source.repository, filename, revision=source.revision, endpoint=constants.ENDPOINT)
    remote = huggingface_hub.get_hf_file_metadata(url, token=source.token, library_name="labels4free")
    # Both become names of files in the cache.
    known = _COMMIT.fullmatch(remote.commit_hash or "") and _ETAG.fullmatch(remote.etag or "")
    if not known:
        raise UserError(
            f"{constants.ENDPOINT} does not answer as the Hub does; check HF_ENDPOINT, the proxy and the firewall."
        )
    if remote.size is None or max(remote.size, expected.bytes if expected else 0) > most:
        said = (
            "a size that nobody tells" if remote.size is None else f"more than the {megabytes(most)} that it may have"
        )
        raise LargeFile(f"{filename} of {source.repository} has {said} and was not fetched; choose another source.")
    if expected is not None and remote.size != expected.bytes:
        raise UserError(
            f"{filename} of {source.repository} has {remote.size} bytes on the Hub instead of {expected.bytes}, so it "
            "is another file and was left alone; update Labels4Free, or choose another source."
        )
    if expected is not None and len(remote.etag) == 64 and remote.etag != expected.sha256:
        raise other_content(source, filename)
    return remote


@contextmanager
def asking(source: Source, what: str | None = None) -> Iterator[None]:
    """For whatever asks the Hub: each failure becomes a `UserError` of one sentence, each redirect is looked at.

    None of the library's releases refuses to be led from https to http, and 1.x follows a circle of addresses for
    ever. Both are watched from a hook in its session, which `requests` and `httpx` call at each answer.
    """
    by_hand = source.by_hand or put_by_hand(source.repository)
    if reason := why_offline():
        raise UserError(offline(what or source.repository, by_hand, reason))
    honour_certificates()
    redirects = 0

    def watch(response: Any, *_arguments: Any, **_options: Any) -> None:
        nonlocal redirects
        target = response.headers.get("location") if response.status_code // 100 == 3 else None
        redirects = redirects + 1 if target else 0
        if redirects > MOST_REDIRECTS:
            raise UserError(
                f"The Hub sends a file of {source.repository} round in a circle of addresses; check HF_ENDPOINT and "
                "the proxy, or try again later."
            )
        if target:
            _demand_encryption(str(response.url), target)

    with hub_errors(source.repository, by_hand):
        session = get_session()
        hooks = (session.event_hooks if hasattr(session, "event_hooks") else session.hooks)["response"]
        hooks.append(watch)
        try:
            yield
        finally:
            hooks.remove(watch)


def _demand_encryption(url: str, target: str) -> None:
    scheme = ""
    with suppress(ValueError):  # no address at all
        scheme = urlsplit(urljoin(url, target)).scheme
    if scheme not in ("http", "https") or (scheme == "http" and url.startswith("https:")):
        raise UserError(
            f"The download was led from https to {scheme or 'nowhere'}, where anyone on the way could "
            "change it, and was refused; check HF_ENDPOINT, the proxy and the network you are in."
        )


def honour_certificates() -> None:
    """Makes the certificates that one of three variables names count, whichever HTTP library there is.

    `requests` reads REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, `httpx` and its heirs SSL_CERT_FILE, and people set one of
    them. Raises `UserError` where the file is not there.
    """
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    given = {name: path for name in names if (path := os.environ.get(name))}
    for name, path in given.items():
        if not os.path.exists(path):
            raise UserError(
                f"{name} names {path}, which is not there; name the file of your network's certificates, or unset it."
            )
    for path in list(given.values())[:1]:
        os.environ.setdefault("SSL_CERT_DIR" if os.path.isdir(path) else "SSL_CERT_FILE", path)
        os.environ.setdefault("REQUESTS_CA_BUNDLE", path)


# Fetching


def fetch(
    source: Source,
    filename: str,
    expected: WeightFile | None = None,
    *,
    most: int,
    progress: Progress = unseen,
    cancel: CancelToken = NEVER,
) -> Path:
    """The file in the cache, `.../snapshots/COMMIT/FILENAME`, downloaded unless it is there and as it should be.

    `expected` is compared when it is given, else the Hub's own size and, for large files, hash. Raises `LargeFile`
    above `most` bytes, `UserError`, or `Cancelled`.
    """
    cancel.check()
    with asking(source):
        remote = look_up(source, filename, expected, most)
        if expected is None and len(remote.etag) == 64:
            expected = WeightFile(remote.size, remote.etag)
        pinned = replace(source, revision=remote.commit_hash)
        found = cached(pinned, filename)
        if found is None or (expected is not None and not is_right(found, expected)):
            demand_space({source.cache(): remote.size}, filename)
            found = download(pinned, filename, remote.size, progress, cancel, again=found is not None)
            cancel.check()
            progress(0, 0, f"Checking {short(filename)}")
            if expected is not None and not is_right(found, expected):
                forget(source, found)
                raise other_content(source, filename)
    return found


def download(
    source: Source, filename: str, size: int, progress: Progress, cancel: CancelToken, again: bool = False
) -> Path:
    """`hf_hub_download` into the cache, `again` where what is there is damaged."""
    message = f"Downloading {short(filename)}"

    class Bar(tqdm):
        """Shows nothing, but tells how far the transfer is. May stop it."""

        def __init__(self, *given: Any, **options: Any):
            options.update(disable=False, file=io.StringIO())
            super().__init__(*given, **options)

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            cancel.check()
            if self.n > size:
                raise longer(source, filename, size)
            progress(int(self.n), size, message)

    told = "tqdm_class" in inspect.signature(huggingface_hub.hf_hub_download).parameters
    progress(0, size, message)
    path = huggingface_hub.hf_hub_download(
        source.repository,
        filename,
        revision=source.revision,
        cache_dir=source.cache().parent,
        token=source.token,
        force_download=again,
        library_name="labels4free",
        **({"tqdm_class": Bar} if told else {}),
    )
    progress(size, size, message)
    return Path(path)


def other_content(source: Source, filename: str) -> UserError:
    return UserError(
        f"{filename} of {source.repository} is not the file that was expected (its sha256 differs) and was thrown "
        "away; try again, and if that repeats, update Labels4Free or choose another source."
    )


def longer(source: Source, filename: str, size: int) -> UserError:
    return UserError(
        f"{filename} of {source.repository} is longer than the {size} bytes it should have and was thrown away; try "
        "again later, or choose another source."
    )


def is_right(path: Path, expected: WeightFile) -> bool:
    return path.stat().st_size == expected.bytes and sha256_of(path) == expected.sha256


def short(filename: str) -> str:
    return filename.rpartition("/")[2]


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


# The cache


def cached(source: Source, filename: str) -> Path | None:
    """The file in the cache, without asking the Hub; whole, since nothing else gets a name there."""
    found = huggingface_hub.try_to_load_from_cache(
        source.repository, filename, cache_dir=str(source.cache().parent), revision=source.revision
    )
    return Path(found) if isinstance(found, str) else None


def forget(source: Source, path: Path) -> None:
    """Removes a file and its bytes from the cache, with the folders that are empty then."""
    try:
        # One step only: bytes may be shared with other caches from there on.
        blob = path.parent / os.readlink(path) if path.is_symlink() else path
        for item in (path, blob):
            item.unlink(missing_ok=True)
        for folder in sorted(source.cache().rglob("*"), reverse=True):
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                folder.rmdir()
        names = {item.name for item in source.cache().iterdir()}
        if names <= {"refs", ".no_exist"}:
            shutil.rmtree(source.cache())
    except OSError:
        return  # somebody else's program is at work there; nothing depends on it


def set_reference(source: Source, commit: str) -> None:
    """Notes that the branch or tag of `source` is this commit, once all that is wanted of it is there."""
    if source.revision != commit:
        write_atomically(source.cache() / "refs" / (source.revision or "main"), commit)
