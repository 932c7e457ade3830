"""What is known of a shard that is done: its pictures, its files with their hashes, and what curation dropped.

A shard counts once its record is there, which is written last and in one step. Whatever a killed run left of an
unfinished shard is overwritten.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from ..bundles.files import read_json, unreadable, write_atomically, writing
from ..errors import UserError
from .export_plan import STATE_FOLDER, ExportPlan

_LARGEST_RECORD = 1 << 28
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


@dataclass(frozen=True)
class FileNote:
    """A file of the set: path from its folder with /, size in bytes, SHA-256."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not _PATH.fullmatch(self.path) or ".." in parts or parts[0] == STATE_FOLDER:
            raise ValueError(f"{self.path} is no path within a set")


@dataclass(frozen=True)
class ShardRecord:
    """What became of the seeds that were tried for a shard."""

    shard: int
    tried: int  # seeds
    dropped: dict[str, int]  # pictures for each reason
    files: list[FileNote]
    pictures: list[dict]  # the labels of each
    unreadable: list[str] = field(default_factory=list)  # background pictures that could not be read so far


def write_file(folder: Path, path: str, content: bytes) -> FileNote:
    """Writes a file of a shard that is not done yet. Raises `UserError` where the system refuses, and for a link."""
    target = folder / path
    if target.is_symlink():
        raise UserError(f"{target} is a link and is left alone; move it away and give the same command again.")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return FileNote(path, len(content), hashlib.sha256(content).hexdigest())


def record_path(folder: Path, shard: int) -> Path:
    return folder / STATE_FOLDER / "shards" / f"{shard:06d}.json"


def write_record(folder: Path, record: ShardRecord) -> None:
    """Declares a shard done. Raises `UserError` where the system refuses."""
    text = json.dumps(asdict(record), separators=(",", ":"), allow_nan=False) + "\n"
    write_atomically(record_path(folder, record.shard), text)


def read_record(folder: Path, shard: int) -> ShardRecord | None:
    """What is known of a shard, None where it is not done. Raises `UserError` where the record is damaged."""
    path = record_path(folder, shard)
    try:
        data = read_json(path, _LARGEST_RECORD)
        files = [FileNote(str(one["path"]), int(one["bytes"]), str(one["sha256"])) for one in data["files"]]
        dropped = {str(reason): int(count) for reason, count in data["dropped"].items()}
        pictures, unread = [dict(one) for one in data["pictures"]], [str(one) for one in data.get("unreadable", [])]
        return ShardRecord(shard, int(data["tried"]), dropped, files, pictures, unread)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(error, path) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged; delete it and give the same command again.") from error


def is_done(folder: Path, shard: int) -> bool:
    """Whether a shard has its record and all its files, by their sizes."""
    record = read_record(folder, shard)
    try:
        return record is not None and all((folder / note.path).stat().st_size == note.bytes for note in record.files)
    except OSError:
        return False


def missing_shards(folder: Path, plan: ExportPlan) -> list[int]:
    return [shard for shard in range(plan.shards) if not record_path(folder, shard).is_file()]


def records(folder: Path, plan: ExportPlan) -> Iterator[ShardRecord]:
    """All shards in order, one in memory at a time. Raises `UserError` where one is missing."""
    for shard in range(plan.shards):
        record = read_record(folder, shard)
        if record is None:
            raise UserError(f"Shard {shard} of {folder} is missing; give the command that made the others again.")
        yield record
