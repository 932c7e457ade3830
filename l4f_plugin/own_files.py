"""Which files this program wrote, and so may replace. Whoever writes a result asks here first.

Every result says so itself: pictures by their infotext, W+ codes by a note in their header, archives by their comment.
A link is never ours, whatever it leads to: it is neither followed nor replaced. Bundles and exported sets are folders
with a manifest, see `bundles.files.replace_folder` and `datasets.export.begin`. Needs no torch.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import __version__
from .bundles.files import fitted, longest_name
from .errors import UserError
from .images import infotext, open_picture

SOFTWARE = "software"  # the note of safetensors files
ARCHIVE_COMMENT = f"Labels4Free {__version__}".encode()
DESCRIPTION = 0x010E  # the tag of EXIF data that holds the infotext of WebP files
_PNG, _EBML = b"\x89PNG\r\n\x1a\n", b"\x1a\x45\xdf\xa3"
_END_OF_ZIP = b"PK\x05\x06"
_LONGEST_HEAD = _LONGEST_TAIL = 1 << 16
_OURS = re.compile(r"Labels4Free [^\n]+\n[^\n]*\bVersion: Labels4Free \w[\w.+-]*")


def own_infotext(title: str, fields: Mapping[str, object]) -> str:
    """The infotext of a file that this program makes, by which it is known again."""
    return infotext(f"Labels4Free {title}", {**fields, "Version": f"Labels4Free {__version__}"})


def sheet_text(kind: str) -> str:
    """The infotext of a picture that shows several, such as samples of a training."""
    return own_infotext(kind, {"Sheet": kind})


def is_our_text(text: object) -> bool:
    """Whether an infotext is of this program, and of nobody after it: a web UI adds lines of its own."""
    return isinstance(text, str) and _OURS.fullmatch(text.strip()) is not None


def is_ours(path: Path) -> bool:
    """Whether this program wrote the file; False for links, folders and whatever cannot be read."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with open(path, "rb") as file:
            head = file.read(_LONGEST_HEAD)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST_TAIL))
            tail = file.read(_LONGEST_TAIL)
    except (OSError, ValueError):
        return False
    if head.startswith(_PNG) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return _is_our_picture(path)
    if head.startswith(_EBML):
        return re.search(rb"\bVersion: Labels4Free \w", head) is not None
    if head[:2] == b"PK":
        _, end, rest = tail.rpartition(_END_OF_ZIP)
        return bool(end) and rest[18:].startswith(b"Labels4Free ")
    return _is_our_safetensors(head)


def _is_our_picture(path: Path) -> bool:
    try:
        with open_picture(path) as picture:
            if picture.format == "PNG":
                return is_our_text(picture.info.get("parameters"))
            return is_our_text(picture.getexif().get(DESCRIPTION))
    except Exception:  # damaged, and so nobody can tell
        return False


def _is_our_safetensors(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    if not 2 <= length <= len(head) - 8:
        return False
    try:
        notes = json.loads(head[8 : 8 + length]).get("__metadata__") or {}
        return str(notes.get(SOFTWARE, "")).startswith("Labels4Free ")
    except (ValueError, AttributeError, RecursionError):
        return False


def may_write(path: Path) -> bool:
    """Whether there is nothing of that name, or a file of ours."""
    return not os.path.lexists(path) or is_ours(path)


def check_may_write(path: Path) -> None:
    """Raises `UserError` where `may_write` says no; to be asked before anything is computed, and before writing."""
    if not may_write(path):
        kind = "is a link" if path.is_symlink() else "is a folder" if path.is_dir() else "is not of this program"
        raise UserError(f"{path} {kind} and is left alone; choose another name, or move it away.")


def free_stem(folder: Path, stem: str, endings: Sequence[str], taken: set[str] | None = None) -> str:
    """The stem of files in `folder`, one for each of `endings`, none of which replaces a file that is not ours.

    That is `stem`, shortened where the names would be too long, or else with the first number that is free. `taken`
    are stems that were given away before, as `same_name` writes them; the answer is added.
    """
    taken = set() if taken is None else taken
    longest, number = max(endings, key=lambda ending: len(os.fsencode(ending))), 1
    while True:
        wanted = stem if number == 1 else f"{stem}-{number}"
        name = fitted(wanted, longest, longest_name(folder)).removesuffix(longest)
        if same_name(name) not in taken and all(may_write(folder / f"{name}{ending}") for ending in endings):
            taken.add(same_name(name))
            return name
        number += 1


def left_alone(folder: Path, stem: str, endings: Sequence[str], name: str) -> str | None:
    """The sentence that files keep their place and ours are called `name`, None where `stem` was free."""
    names = [fitted(stem, ending, longest_name(folder)) for ending in endings]
    others = [other for other in names if not may_write(folder / other)]
    if not others:
        return None
    return f"{' and '.join(others)} in {folder}: not written by this program and left alone; ours are called {name}."


def same_name(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()
