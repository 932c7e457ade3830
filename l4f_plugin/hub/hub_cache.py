"""huggingface_hub's cache, in its documented layout, where finished files are entered and found again.

`blobs` hold the bytes under their etag, `snapshots/COMMIT` names them, `refs` say which commit a branch was.
What has arrived of a file waits beside the blobs in `*.l4f.incomplete`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from ..bundles.fields import REPOSITORY_ID, REVISION
from ..bundles.files import storage_error
from ..errors import UserError


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
        return self._root() / f"models--{self.repository.replace('/', '--')}"

    def lock_file(self, etag: str) -> Path:
        """The lock that huggingface_hub itself takes for these bytes."""
        return self._root() / ".locks" / self.cache().name / f"{etag}.lock"

    def _root(self) -> Path:
        from huggingface_hub import constants

        return Path(self.cache_dir or constants.HF_HUB_CACHE).expanduser().absolute()


def cached(source: Source, filename: str) -> Path | None:
    """The file in the cache, without asking the Hub; whole, since nothing else gets a name there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
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


def arrived(source: Source, etag: str | None) -> int:
    """How many bytes of an unfinished download are there already."""
    try:
        return partial_of(source.cache() / "blobs" / etag).stat().st_size if etag else 0
    except OSError:
        return 0


def partial_of(blob: Path) -> Path:
    """Where the bytes of a blob gather as long as some are missing."""
    return blob.with_name(f"{blob.name}.l4f.incomplete")


def enter(source: Source, blob: Path, commit: str, filename: str) -> Path:
    """Gives the blob its name in the cache, in one step; the path under that name."""
    pointer = source.cache() / "snapshots" / commit / filename
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if not (pointer.is_symlink() and pointer.resolve() == blob.resolve()):
            new = pointer.with_name(f".{uuid.uuid4().hex[:12]}")
            try:
                new.symlink_to(os.path.relpath(blob, pointer.parent))
            except OSError:  # Windows without the right to link
                shutil.copyfile(blob, new)
            os.replace(new, pointer)
    except OSError as error:
        raise storage_error(error, pointer) from error
    return pointer


def set_reference(source: Source, commit: str) -> None:
    """Notes that the branch or tag of `source` is this commit, once all that is wanted of it is there."""
    revision = source.revision or "main"
    reference = source.cache() / "refs" / revision
    if revision == commit:
        return
    try:
        reference.parent.mkdir(parents=True, exist_ok=True)
        new = reference.with_name(f".{uuid.uuid4().hex[:12]}")
        new.write_text(commit)
        os.replace(new, reference)
    except OSError as error:
        raise storage_error(error, reference) from error
