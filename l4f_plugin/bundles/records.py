"""Where each class on this computer came from, and when its files were last found to be whole.

One small JSON file a class in `records` of the cache folder. Losing one costs a line in a list, nothing else.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote

from ..errors import UserError
from .config import CONFIG_NAME, read_summary
from .files import write_atomically, write_text
from .folders import cache_folder


@dataclass(frozen=True)
class Record:
    """`revision` is the commit that was fetched; `file` the checkpoint a bundle was converted from.

    `checked` holds [size, time of change in ns] of each file when its hash was last found right.
    """

    folder: str
    repository: str | None = None
    revision: str | None = None
    file: str | None = None
    sha256: str | None = None
    cache_dir: str | None = None
    checked: dict[str, list[int]] = field(default_factory=dict)


def remember(name: str, record: Record) -> None:
    """Writes the record of a class; a disk that refuses is no reason to fail what has succeeded."""
    text = json.dumps(asdict(record), indent=1, sort_keys=True) + "\n"
    with suppress(UserError):
        write_atomically(_path(name), lambda path: write_text(path, text))


def recall(name: str, folder: Path | None = None) -> Record | None:
    """The record of a class; None where there is none, or it is about another folder."""
    try:
        data = json.loads(_path(name).read_text(encoding="utf-8"))
        record = Record(**data)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return record if folder is None or record.folder == str(folder) else None


def drop(name: str) -> None:
    """Forgets a class."""
    with suppress(OSError):
        _path(name).unlink(missing_ok=True)


def names() -> list[str]:
    """Every class with a record."""
    try:
        return sorted(unquote(path.stem) for path in _folder().glob("*.json"))
    except OSError:
        return []


def mark_checked(name: str, folder: Path) -> None:
    """Notes that every file of the bundle has just been found right."""
    record = recall(name, folder) or Record(str(folder))
    remember(name, replace(record, checked=_present(folder)))


def is_checked(name: str, folder: Path) -> bool:
    """Whether the files are still those that were found right, by size and time of change."""
    record = recall(name, folder)
    return bool(record and record.checked) and record.checked == _present(folder)


def _present(folder: Path) -> dict[str, list[int]]:
    try:
        listed = [CONFIG_NAME, *read_summary(folder).files]
        found = {file: (folder / file).stat() for file in listed if (folder / file).exists()}
    except (OSError, UserError):
        return {}
    return {file: [about.st_size, about.st_mtime_ns] for file, about in found.items()}


def _folder() -> Path:
    return cache_folder() / "records"


def _path(name: str) -> Path:
    return _folder() / f"{quote(name, safe='')}.json"
