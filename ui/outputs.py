"""Where results go: PNG files of our own writing in one folder a day, with what it takes to repeat them."""

import itertools
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from l4f_plugin.arguments import Style
from l4f_plugin.bundles.config import ObjectClass
from l4f_plugin.bundles.files import fitted, longest_name
from l4f_plugin.compositing import to_float
from l4f_plugin.images import load_picture, parse_infotext, read_infotext
from l4f_plugin.picture_files import PictureFile
from l4f_plugin.provenance import WPlus, free_stem
from l4f_plugin.subject import ENDINGS, Part, Subject, write_parts

FOLDERS_KEPT = 256  # previews and archives of all sessions that stay on disk while the page runs
VIEWS = ("picture", "mask", "cutout")
_PREFIX = "labels4free-shown-"
_LONG_GONE = 7 * 86_400.0  # seconds after its last preview, in which a program has ended


@dataclass
class Result:
    """One result on disk: its files by kind, such as `picture`, `mask`, `cutout`, `background` and `w_plus`.

    `name` is what it is called. What was drawn has a `seed`, or else the file of its codes. `caption` stands below it
    in a grid, `told` are sentences about it, `better` is the class that fits it better, `photo` what it was made of.
    """

    files: dict[str, Path]
    name: str = ""
    class_name: str = ""
    seed: int | None = None
    truncation_psi: float = 1.0
    caption: str = ""
    told: str = ""
    better: ObjectClass | None = None
    photo: PictureFile | None = None

    def shown(self, view: str) -> Path:
        """The file of that view; the picture where there is no such file."""
        return self.files[view if view in self.files else "picture"]

    def codes(self) -> WPlus | None:
        """The codes that it was drawn from, where it has no seed."""
        return WPlus.load(self.files["w_plus"]) if self.seed is None else None

    def subject(self) -> Subject:
        """What was saved, read back."""
        told = parse_infotext(read_infotext(self.files["picture"]) or "")
        image, alpha = load_picture(self.files["picture"]), None
        if "mask" in self.files:
            alpha = to_float(load_picture(self.files["mask"])[..., 0])
        style = Style(self.truncation_psi, None, told.get("Noise", "random"))
        more = {"times": int(told.get("Enlarged", 1)), "brushed": "Brushed" in told}
        return Subject(image, alpha, self.class_name, self.seed, style, self.codes(), **more)


class Outputs:
    """Saves results below `folder` and names the folders that the page may serve.

    Gradio looks at the list `served_folders` on each request. It grows by the folder of each new day, so that nothing
    else below `folder` can be fetched. A host gives a function as `folder`, as its options may change.
    """

    def __init__(self, folder: Path | Callable[[], Path] | None = None):
        chosen = folder or default_output_folder()
        self._chosen = chosen if callable(chosen) else lambda: chosen
        self.served_folders: list[str] = []
        _clear(Path(tempfile.gettempdir()))
        self._temporary = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._recent: deque[Path] = deque()
        self.today()

    @property
    def folder(self) -> Path:
        """Below which everything is saved, absolute."""
        return self._chosen().expanduser().resolve()

    def save_sample(self, sample: Subject, class_name: str, title: str) -> Result:
        """Writes the parts of a sample, never in place of a file that is not ours. Raises `UserError` if it cannot."""
        psi, parts, folder = sample.style.truncation_psi, sample.parts(), self.today()
        wanted = f"{slug(class_name)}_{sample.stem}_psi{psi:.2f}"
        if sample.seed is None:
            parts["w_plus"], wanted = sample.w_plus, f"{slug(class_name)}_{sample.w_plus.digest}"
        wanted += (f"_{sample.times}x" if sample.times != 1 else "") + ("_brushed" if sample.brushed else "")
        stem = free_stem(folder, wanted, [ENDINGS[kind] for kind in parts])
        files = write_parts(folder, stem, parts, sample.infotext())
        return Result(files, title, class_name, sample.seed, psi)

    def preview(self, stem: str, parts: Mapping[str, Part], infotext: str, jpeg: bool = False) -> dict[str, Path]:
        """Writes the parts of a result that is only shown so far, see `subject.write_parts`."""
        return write_parts(self.preview_folder(), stem, parts, infotext, jpeg=jpeg)

    def served(self, files: Sequence[Path]) -> list[Path]:
        """Copies of files that lie where the page serves none, for as long as it runs."""
        folder = self._temporary / "served"
        copies = [folder / file.parent.parent.name / file.name for file in files]
        for file, copy in zip(files, copies, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        return copies

    def keep(self, preview: Path) -> Path:
        """Copies a preview to today's folder under a name that is still free."""
        folder = self.today()
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            target = folder / fitted(preview.stem, f"_{number:04d}{preview.suffix}", longest_name(folder))
            with suppress(FileExistsError), open(target, "xb") as file:
                file.write(preview.read_bytes())
                return target

    def pack(self, name: str, files: Mapping[str, Path]) -> Path:
        """A ZIP of that name, of files by their names in it, stored as they are because PNG is compressed already."""
        path = self.preview_folder() / f"{name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for inside, file in sorted(files.items()):
                archive.write(file, inside)
        return path

    def today(self) -> Path:
        """Today's folder, servable from now on. It is made by the first file."""
        folder = self.folder / date.today().isoformat()
        if str(folder) not in self.served_folders:
            self.served_folders.append(str(folder))
        return folder

    def forget_previews(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    def preview_folder(self) -> Path:
        """A new folder for files that are only shown so far; the oldest ones make room."""
        folder = Path(tempfile.mkdtemp(dir=self._temporary))
        self._recent.append(folder)
        while len(self._recent) > FOLDERS_KEPT:
            shutil.rmtree(self._recent.popleft(), ignore_errors=True)
        return folder


def _clear(temporary: Path) -> None:
    """Removes the previews of programs that were killed and are long gone."""
    for left in temporary.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > _LONG_GONE:
                shutil.rmtree(left, ignore_errors=True)


def default_output_folder() -> Path:
    """`Labels4Free` in the user's picture folder; without one `labels4free-output` in the home folder.

    The picture folder is the one that the desktop names (Linux desktops translate it), else `~/Pictures`.
    """
    home = Path.home()
    pictures = home / "Pictures"
    named = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "user-dirs.dirs"
    with suppress(OSError, UnicodeDecodeError):
        found = re.search(r'^XDG_PICTURES_DIR="(.+)"$', named.read_text(encoding="utf-8"), re.MULTILINE)
        folder = Path(found[1].replace("$HOME", str(home))) if found else home
        pictures = pictures if folder == home else folder  # "$HOME/" means that there is none
    return pictures / "Labels4Free" if pictures.is_dir() else home / "labels4free-output"


def slug(name: str) -> str:
    """`name` as part of a file name: a Hub id or path becomes its last piece, in plain characters."""
    piece = re.split(r"[\\/]", name.rstrip("\\/"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", piece).strip(".-") or "class"


def shown_path(path: Path) -> str:
    """A path as a person writes it, with ~ for the home folder."""
    home = Path.home()
    return str(Path("~") / path.relative_to(home) if path.is_relative_to(home) else path)
