"""Sizes, durations, standings and failures in words, and sentences without paths of this computer."""

import os
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from l4f_plugin.bundles.folders import cache_folder, models_folder
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import Job, Standing
from l4f_plugin.runtime import OutOfMemory

from .texts import text

# A path from the root of a disk, which is neither a part of an address nor below ~.
_ABSOLUTE = re.compile(r"(?<![\w~/:.])(?:[A-Za-z]:)?(?:[\\/](?:[^\s\\/:;,()\"']+))+[\\/]?")


def size(count: int) -> str:
    if count >= 1e9:
        return text("size.gigabytes", count=count / 1e9)
    if count >= 1e6:
        return text("size.megabytes", count=count / 1e6)
    return text("size.kilobytes", count=count / 1e3)


def duration(seconds: float) -> str:
    """A time that is still to come: "about 3 minutes"."""
    minutes = round(seconds / 60)
    if seconds < 50:
        return text("time.seconds")
    if minutes < 2:
        return text("time.minute")
    return text("time.minutes", count=minutes) if minutes < 100 else text("time.hours", count=seconds / 3600)


def standing(progress: Standing, kind: str) -> str:
    """Where a task stands, with bytes where it moves bytes, and the time left."""
    if progress.stopping:
        return text("models.stopping", message=progress.message)
    parts = [progress.message]
    if progress.total and kind == "download":
        parts.append(text("models.bytes", done=size(progress.done), total=size(progress.total)))
    if progress.seconds_left is not None:
        parts.append(text("models.left", time=duration(progress.seconds_left)))
    return " · ".join(parts)


def failure(task: Job) -> str:
    if isinstance(task.error, UserError):
        return without_paths(str(task.error))
    return text("problem.unexpected", kind=type(task.error).__name__)


def in_words(error: BaseException) -> str:
    """One sentence without paths. What nobody foresaw is also printed in full where the page was started."""
    if isinstance(error, OutOfMemory):
        return text("problem.out_of_memory")
    if isinstance(error, UserError):
        return without_paths(str(error))
    traceback.print_exception(error)
    return text("problem.unexpected", kind=type(error).__name__)


def without_paths(sentence: str, names: Mapping[Path, str] | None = None) -> str:
    """The sentence with known folders by name, the home folder as ~, and other paths by their last part.

    `names` are further paths and what to call them.
    """
    known, home = dict(names or {}), Path.home()
    has_home = len(home.parts) > 1  # and not the whole disk
    folders = {models_folder(): "place.models", cache_folder(): "place.cache"}
    if hub := sys.modules.get("huggingface_hub.constants"):  # nothing was fetched where it is not imported
        folders[Path(hub.HF_HUB_CACHE).absolute()] = "place.hub"
    known |= {folder: text(key) for folder, key in folders.items() if not (has_home and home in folder.parents)}
    spelt = {spelling: name for path, name in known.items() for spelling in {str(path), os.path.realpath(path)}}
    for spelling in sorted(spelt, key=len, reverse=True):
        sentence = sentence.replace(spelling, spelt[spelling])
    if has_home:
        sentence = re.sub(re.escape(str(home)) + r"(?=[\\/\s]|$)", "~", sentence)
    return _ABSOLUTE.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], sentence)
