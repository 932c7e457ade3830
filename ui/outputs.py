"""Where results go: PNG files of our own writing in one folder a day, with what it takes to repeat them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from l4f_plugin.bundles.files import fitted, longest_name
from l4f_plugin.images import write_png
from l4f_plugin.own_files import free_stem

if TYPE_CHECKING:
    from PIL import Image

    from l4f_plugin.pipeline import Sample

FOLDERS_KEPT = 256
"""Previews and archives of all sessions that stay on disk while the page runs."""
VIEWS = ("picture", "mask", "cutout")
ENDINGS = {"picture": "", "mask": "_alpha", "cutout": "_cutout", "background": "_background"}
"""What follows the stem in the name of a file of that kind, as from the command line."""


@dataclass(frozen=True)
class SavedSample:
    """A generated picture on disk. `files` maps picture, mask, cutout and background to their PNG files.

    A class without masks has neither mask nor cutout.
    """

    class_name: str
    title: str
    seed: int
    truncation_psi: float
    files: dict[str, Path]

    def shown(self, view: str) -> Path:
        """The file of that view; the picture where there is no such file."""
        return self.files.get(view, self.files["picture"])


class Outputs:
    """Saves results below `folder` and names the folders that the page may serve.

    `served_folders` is the list handed to Gradio, which looks at it on each request. It grows by the
    folder of each new day, so that nothing else below `folder` can be fetched. A host gives a function as
    `folder`, which is asked at each result, as its options may change.
    """

    def __init__(self, folder: Path | Callable[[], Path] | None = None):
        chosen = folder or default_output_folder()
        self._chosen = chosen if callable(chosen) else lambda: chosen
        self.served_folders = [str(self._today())]
        self._temporary = Path(tempfile.mkdtemp(prefix="labels4free-"))
        self._recent: deque[Path] = deque()

    @property
    def folder(self) -> Path:
        """Below which everything is saved, absolute."""
        return self._chosen().expanduser().resolve()

    def save_sample(self, sample: Sample, class_name: str, title: str) -> SavedSample:
        """Writes picture, mask, cut-out and background, as far as there are, never in place of a file that is not ours.

        Raises `UserError` where it cannot.
        """
        stem = f"{slug(class_name)}_seed{sample.seed:04d}_psi{sample.truncation_psi:.2f}"
        images: dict = {"picture": sample.picture()}
        if sample.alpha is not None:
            images |= {"mask": sample.mask(), "cutout": sample.cutout()}
        if sample.background is not None:
            images["background"] = sample.background
        folder = self.today()
        stem = free_stem(folder, stem, [f"{ENDINGS[kind]}.png" for kind in images])
        files = {kind: folder / f"{stem}{ENDINGS[kind]}.png" for kind in images}
        for kind, image in images.items():
            write_png(files[kind], image, infotext=sample.infotext())
        return SavedSample(class_name, title, sample.seed, sample.truncation_psi, files)

    def preview(self, images: Mapping[str, Image.Image], infotext: str) -> list[Path]:
        """Writes pictures that are only shown so far, by their file names."""
        folder = self._temporary_folder()
        for name, image in images.items():
            write_png(folder / name, image, infotext=infotext)
        return [folder / name for name in images]

    def preview_folder(self) -> Path:
        """A new folder for files that are only shown so far."""
        return self._temporary_folder()

    def keep(self, preview: Path) -> Path:
        """Copies a preview to today's folder under a name that is still free."""
        folder = self.today()
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            target = folder / fitted(preview.stem, f"_{number:04d}{preview.suffix}", longest_name(folder))
            try:
                with open(target, "xb") as file:
                    file.write(preview.read_bytes())
                return target
            except FileExistsError:
                number += 1

    def pack(self, samples: Sequence[SavedSample]) -> Path:
        """A ZIP of all files of the samples, stored as they are because PNG is compressed already."""
        path = self._temporary_folder() / f"{slug(samples[0].class_name)}_{len(samples)}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, file in sorted({file.name: file for s in samples for file in s.files.values()}.items()):
                archive.write(file, name)
        return path

    def today(self) -> Path:
        """Today's folder, servable from now on. It is made by the first file."""
        folder = self._today()
        if str(folder) not in self.served_folders:
            self.served_folders.append(str(folder))
        return folder

    def forget_previews(self) -> None:
        """Removes what was only shown."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _temporary_folder(self) -> Path:
        """A new folder; the oldest ones make room."""
        folder = Path(tempfile.mkdtemp(dir=self._temporary))
        self._recent.append(folder)
        while len(self._recent) > FOLDERS_KEPT:
            shutil.rmtree(self._recent.popleft(), ignore_errors=True)
        return folder

    def _today(self) -> Path:
        return self.folder / date.today().isoformat()


def default_output_folder() -> Path:
    """`Labels4Free` in the user's picture folder; without one `labels4free-output` in the home folder."""
    pictures = _picture_folder()
    return pictures / "Labels4Free" if pictures.is_dir() else Path.home() / "labels4free-output"


def _picture_folder() -> Path:
    """The picture folder as the desktop names it (Linux desktops translate it), else `~/Pictures`."""
    named = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "user-dirs.dirs"
    try:
        found = re.search(r'^XDG_PICTURES_DIR="(.+)"$', named.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        found = None
    if found is None:
        return Path.home() / "Pictures"
    folder = Path(found[1].replace("$HOME", str(Path.home())))
    return Path.home() / "Pictures" if folder == Path.home() else folder  # "$HOME/" means that there is none


def slug(name: str) -> str:
    """`name` as part of a file name: a Hub id or path becomes its last piece, in plain characters."""
    piece = re.split(r"[\\/]", name.rstrip("\\/"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", piece).strip(".-") or "class"


def shown_path(path: Path) -> str:
    """A path as a person writes it, with ~ for the home folder."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except ValueError:
        return str(path)
