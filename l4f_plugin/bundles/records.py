"""Where each class on this computer came from, and when its files were last found to be whole.

One small JSON object a class, in `records` of the cache folder. Losing one costs a line in a list, nothing else. All
of its entries but `folder` may be absent:

    folder                  where the bundle is
    repository, revision    where it came from, and the commit that was fetched
    file, sha256            the checkpoint it was converted from
    cache_dir               huggingface_hub's cache, where that is not the usual one
    checked                 size and time of change in ns of each file when its hash was last found right
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ..errors import UserError
from .config import WeightFile, read_config
from .file_kinds import START_BYTES, foreign_kind
from .files import CONFIG_NAME, open_plain, read_json, sha256_of, unreadable, write_atomically
from .folders import cache_folder

_MOST_BYTES = 1 << 20
_ENTRIES = {"folder", "repository", "revision", "file", "sha256", "cache_dir", "checked"}


def remember(name: str, folder: Path, came_from: dict[str, Any] | None = None) -> None:
    """Writes the record of a class that was found whole, if the disk takes it; None keeps where it `came_from`."""
    known = recall(name, folder) if came_from is None else came_from
    record = {**known, "folder": str(folder), "checked": present(folder)}
    with suppress(UserError):
        write_atomically(_path(name), json.dumps(record, indent=1, sort_keys=True) + "\n")


def recall(name: str, folder: Path | None = None) -> dict[str, Any]:
    """The record of a class; empty where there is none, or it is about another folder."""
    try:
        record = read_json(_path(name), _MOST_BYTES)
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or not record.keys() <= _ENTRIES or not isinstance(record.get("folder"), str):
        return {}
    return record if folder is None or record["folder"] == str(folder) else {}


def drop(name: str) -> None:
    with suppress(OSError):
        _path(name).unlink(missing_ok=True)


def names() -> list[str]:
    return sorted(unquote(path.stem) for path in _path("").parent.glob("*.json"))


def verify_file(path: Path, expected: WeightFile | None) -> None:
    """Checks presence, size and hash of a weight file. Raises `UserError`."""
    if expected is None:
        raise UserError(f"{path.parent / CONFIG_NAME} does not list {path.name}; fetch the bundle again.")
    try:
        with open_plain(path) as file:
            start, size = file.read(START_BYTES), os.fstat(file.fileno()).st_size
        if size != expected.bytes:
            if kind := foreign_kind(start, size):
                raise UserError(f"{path} is {kind}.")
            raise UserError(
                f"{path} is {size} bytes long instead of {expected.bytes}, perhaps a download was cut short; "
                "fetch the bundle again."
            )
        if sha256_of(path) != expected.sha256:
            raise UserError(f"{path} is not the file {CONFIG_NAME} lists (its sha256 differs); fetch the bundle again.")
    except FileNotFoundError:
        raise UserError(f"{path} is missing, perhaps it was renamed; put it back or fetch the bundle again.") from None
    except OSError as error:
        raise unreadable(error, path) from error


def present(folder: Path) -> dict[str, list[int]]:
    """The files of a bundle as `checked` notes them."""
    try:
        listed = [CONFIG_NAME, *read_config(folder).files]
        found = {file: (folder / file).stat() for file in listed if (folder / file).exists()}
    except (OSError, UserError):
        return {}
    return {file: [about.st_size, about.st_mtime_ns] for file, about in found.items()}


def _path(name: str) -> Path:
    return cache_folder() / "records" / f"{quote(name, safe='')}.json"
