"""Folders of pictures, read the same way by everything that takes one: which files are used, and what is passed over.

Used is what PIL reads here, by the ending of its name or, where there is none, by its content; in subfolders too, and
in folders that are linked, each of them once. A ZIP or TAR archive that is named is read as a folder is, see
`picture_archives`. Passed over, counted and said is the rest: hidden files, what operating systems and storage devices
put beside pictures, what this program made, and files of other kinds. Needs no torch.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from PIL import Image

from .errors import UserError
from .images import FORMATS, bytes_of, has_more_frames, know_formats, open_picture, parse_infotext, read_infotext
from .picture_archives import ArchiveMember, is_archive, members
from .provenance import is_ours

MOST_PICTURES, MOST_PHOTOS = 1_000_000, 10_000
STATE_FOLDER = ".labels4free"  # marks a set that `l4f export` wrote
HIDDEN, SYSTEM, OURS = "hidden", "thumbnails or system files", "results of this program"
LINKED_TWICE, BESIDE = "linked twice or in a circle", "masks or cut-outs beside their pictures"
UNREADABLE_FOLDER, NO_FILE, ARCHIVE = "folders that cannot be read", "links to nothing or devices", "archives"
_SYSTEM = {
    "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found",
    "__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "thumbs", "thumbnails", "_thumbs",
}  # fmt: skip
_ENDING = re.compile(r"\.[a-z][a-z0-9]{0,9}")  # ".5" of "night 22.5" is none
_HEIC = (".heic", ".heif", ".hif")
PHOTO_ENDINGS = (*_HEIC, ".avif", ".jfif", ".zip", ".cbz", ".tar", ".tgz", ".gz", ".bz2", ".xz")
"""What may hold photographs and is not everywhere known as a picture: see `find_photos`."""
_LABELS = ("masks", "hard_masks")  # folders of an exported set, and endings of its files
_LABEL_FILES = ("_mask.png", "_hard.png", "sheet.png")
_RESULT = re.compile("(.+)_(alpha|mask|cutout|composite|projected)", re.IGNORECASE)
_HEAD = 1024  # bytes


@dataclass(frozen=True)
class PictureFile:
    """A picture of a set: a file in the folder `root` or below it, or a member of the archive `root`."""

    root: Path
    name: str  # its path from there
    member: ArchiveMember | None = None

    @classmethod
    def of(cls, path: Path) -> PictureFile:
        return cls(path.parent, path.name)

    @property
    def path(self) -> Path:
        """The file, or the archive that it is in."""
        return self.root if self.member else self.root / self.name

    @property
    def folder(self) -> str:
        """The folders within the one that was named."""
        return self.name.rpartition("/")[0]

    @property
    def stem(self) -> str:
        last = self.name.rpartition("/")[2]
        return last[: -len(ending)] if (ending := ending_of(last)) and len(ending) < len(last) else last

    def source(self) -> Path | bytes:
        """What `images.load_picture` reads. Raises `UserError` for a member that cannot be read."""
        return self.member.read() if self.member else self.path

    def head(self) -> bytes:
        """Its beginning, in which an infotext of ours would begin; nothing where it cannot be read."""
        with suppress(OSError, UserError):
            return self.member.read(_HEAD) if self.member else bytes_of(self.path, _HEAD)
        return b""

    def mark(self) -> str:
        """Tells this picture from another under its name: place, size and time. Raises `OSError`."""
        path = os.path.abspath(self.path)
        status = os.stat(path)
        inside = f"{self.member.name}|{self.member.size}|" if self.member else ""
        return f"{inside}{path}|{status.st_size}|{status.st_mtime_ns}"

    def __str__(self) -> str:
        return f"{self.path}: {self.name}" if self.member else str(self.path)


@dataclass
class PictureSet:
    """The pictures that were found, in order of their names, and how many files of which kind were passed over."""

    pictures: list[PictureFile] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[PictureFile]:
        return iter(self.pictures)

    def in_words(self, unreadable: int = 0) -> str:
        """How many are used, and what is not: "3 pictures; passed over: .txt (1), hidden (2)"."""
        used = len(self) - unreadable
        kinds = dict(self.passed_over) | ({"unreadable": unreadable} if unreadable else {})
        words = f"{used:,} picture{'' if used == 1 else 's'}"
        told = ", ".join(f"{kind} ({number:,})" for kind, number in sorted(kinds.items()))
        return f"{words}; passed over: {told}" if told else words

    def first_frames(self) -> int:
        """How many of them have further frames or pages, which most uses leave aside; reads a little of each file."""
        return sum(map(_has_more_frames, self.pictures))


def find_pictures(folder: Path) -> PictureSet:
    """The pictures in a folder and its subfolders, or in an archive.

    Raises `UserError` for what is neither, more than a million pictures, and where there are none: then the message
    says what was passed over.
    """
    folder = Path(folder).expanduser()
    found = PictureSet()
    if folder.is_dir():
        _search(folder, found)
    elif folder.is_file() and is_archive(folder):
        for member in members(folder):
            parts = [part for part in member.name.split("/") if part not in ("", ".")] or [""]
            picture = PictureFile(folder, "/".join(parts), member)
            _add(found, picture, member.refused or _kind_of_name(*parts) or _kind_of(picture))
    else:
        raise UserError(f"{folder} cannot be read as a folder or an archive; name a folder of pictures.")
    _drop_results(found)
    if not found.pictures:
        told = found.in_words().partition("; ")[2]
        needs = " and install the package pillow-heif for HEIC files" if "pillow-heif" in told else ""
        raise UserError(f"{folder} holds no pictures to use{f' ({told})' if told else ''}; name another one{needs}.")
    found.pictures.sort(key=lambda picture: picture.name)
    return found


def find_photos(paths: Iterable[Path], chosen: bool = True) -> PictureSet:
    """The files that are named, and those of the folders and archives that are named, in the order of the names.

    What this program made of pictures is passed over, by whatever name it is given; a picture that it drew is taken.
    Files that nobody has `chosen` one by one are passed over as those in a folder are. Raises `UserError` as
    `find_pictures` does, for a name that leads to nothing, and for more than 10,000 pictures.
    """
    found = PictureSet()
    for path in map(Path, paths):
        passed_over = None if chosen else _kind_of_name(path.name) or _kind_of(PictureFile.of(path))
        if passed_over:
            found.passed_over[passed_over] += 1
        elif path.is_dir() or (path.is_file() and is_archive(path)):
            inside = find_pictures(path)
            found.pictures += inside.pictures
            found.passed_over += inside.passed_over
        elif path.is_file():
            _add(found, PictureFile.of(path), OURS if is_ours(path) and not _is_drawn(path) else None)
        else:
            raise UserError(f"{path} is not a file; check the path of the picture.")
    _drop_results(found)
    if not found.pictures:
        raise UserError(f"There is no picture to use ({found.in_words().partition('; ')[2]}); name other ones.")
    if len(found) > MOST_PHOTOS:
        raise UserError(f"These are {len(found)} pictures; at most {MOST_PHOTOS} are taken at a time.")
    return found


def ending_of(name: str) -> str:
    """The ending of a file's name, small and with its dot; empty for a name without."""
    start, dot, ending = name.rpartition(".")
    ending = dot + ending.lower()
    return ending if start and not start.endswith("/") and _ENDING.fullmatch(ending) else ""


@lru_cache(maxsize=1)
def endings() -> frozenset[str]:
    """The endings of files that are read here."""
    know_formats()
    known = (ending for ending, name in Image.registered_extensions().items() if name in FORMATS and name in Image.OPEN)
    return frozenset({*known, ".jfif", ".pjpeg", ".mpo"} | (set(_HEIC) if "HEIF" in Image.OPEN else set()))


def _search(root: Path, found: PictureSet) -> None:
    """Looks through folder after folder.

    Each is entered once, by whatever names it is reached, so circles end; links come last, so that a folder is called
    by its own name.
    """

    def identity(folder: Path) -> tuple[int, int]:
        status = os.stat(folder)
        return status.st_dev, status.st_ino

    seen = {identity(parent) for parent in root.resolve().parents}
    waiting: list[tuple[Path, str, bool]] = [(root, "", (root / STATE_FOLDER).is_dir())]
    linked: list[tuple[Path, str, bool]] = []
    while waiting or linked:
        folder, before, exported = waiting.pop() if waiting else linked.pop()
        try:
            if identity(folder) in seen:
                found.passed_over[LINKED_TWICE] += 1
                continue
            seen.add(identity(folder))
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            if not before:
                raise UserError(f"{root} cannot be read; check its permissions.") from None
            found.passed_over[UNREADABLE_FOLDER] += 1
            continue
        for entry in inside:
            name, kind = before + entry.name, _kind_of_name(entry.name)
            linked_to = entry.is_symlink()  # os.path says of a link in a circle that it is nothing; the entry raises
            if os.path.isdir(entry.path) if linked_to else entry.is_dir():
                path = folder / entry.name
                if kind is None and ((path / STATE_FOLDER).is_dir() or (exported and entry.name in _LABELS)):
                    kind = OURS
                if kind is None:
                    (linked if linked_to else waiting).append((path, f"{name}/", exported))
                else:
                    found.passed_over[kind] += 1
            elif not (os.path.isfile(entry.path) if linked_to else entry.is_file()):
                found.passed_over[NO_FILE] += 1
            else:
                picture, ours = PictureFile(root, name), exported and entry.name.endswith(_LABEL_FILES)
                _add(found, picture, OURS if ours else kind or _kind_of(picture))


def _drop_results(found: PictureSet) -> None:
    """Passes over what is called as a mask or a cut-out of another picture beside it, whoever made it."""
    named = [(picture, match[1]) for picture in found if (match := _RESULT.fullmatch(picture.stem))]
    if not named:
        return
    stems = {(picture.root, picture.folder, picture.stem.casefold()) for picture in found}
    results = {picture for picture, stem in named if (picture.root, picture.folder, stem.casefold()) in stems}
    kept = [picture for picture in found if picture not in results]
    found.passed_over += Counter({BESIDE: len(found) - len(kept)})
    found.pictures = kept


def _add(found: PictureSet, picture: PictureFile, kind: str | None) -> None:
    """Takes the picture, or counts it among the `kind` that is passed over."""
    if kind is not None:
        found.passed_over[kind] += 1
        return
    found.pictures.append(picture)
    if len(found) > MOST_PICTURES:
        raise UserError(f"There are more than {MOST_PICTURES:,} pictures; name a folder with fewer.")


def _kind_of_name(*parts: str) -> str | None:
    """Why a file or folder of that path is passed over, None for one that is not."""
    if any(part.startswith(".") for part in parts):
        return HIDDEN
    return SYSTEM if any(part.lower() in _SYSTEM for part in parts) else None


def _kind_of(file: PictureFile) -> str | None:
    """Why a file is passed over, None for a picture."""
    ending = ending_of(file.name)
    if ending in _HEIC and ending not in endings():
        return f"{ending}, which need the package pillow-heif"
    if ending and ending not in endings():
        return ARCHIVE if ending in (".zip", ".tar", ".tgz", ".gz") else ending
    if ending in ("", ".png", ".webp", ".apng") or file.name.endswith("_composite.jpg"):
        head = file.head()
        if not ending and not _is_picture(head):
            return "without ending"
        if b"Labels4Free " in head and (file.member or is_ours(file.path)):
            return OURS
    return None


def _is_picture(head: bytes) -> bool:
    """Whether a file begins as one of the formats that are read here and begin with something of their own."""
    know_formats()
    for name in FORMATS:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        with suppress(Exception):  # made for longer beginnings
            if accept is not None and accept(head) and not isinstance(accept(head), str):
                return True
    return False


def _is_drawn(path: Path) -> bool:
    """Whether a file of ours shows what a class drew, whole: the only kind that is a picture like any other."""
    with suppress(UserError), open_picture(path) as picture:
        fields = parse_infotext(read_infotext(picture) or "")
        return picture.mode == "RGB" and not {"Photo", "Background", "Sheet"} & fields.keys()
    return False


def _has_more_frames(picture: PictureFile) -> bool:
    ending = ending_of(picture.name)
    if ending == ".png":  # read faster than by PIL, as there may be a million
        return b"acTL" in picture.head()
    with suppress(UserError):
        if ending in ("", ".gif", ".webp", ".apng", ".tif", ".tiff", ".avif", ".avifs"):
            return has_more_frames(picture.source())
    return False
