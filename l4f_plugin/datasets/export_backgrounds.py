"""What stands behind an exported subject: its own background, another sample's, a colour, or a user's picture."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from .. import matting
from ..bundles.files import read_json, write_atomically
from ..errors import UserError
from ..images import cover_fit, load_picture
from ..picture_files import PictureFile, PictureSet, find_pictures
from .export_plan import STATE_FOLDER

LIST_NAME = "backgrounds.json"
_SALT = 0x6261636B  # parts these random numbers from others that are drawn from the same seed
_KEPT = 256  # pictures remembered in the size of the set
_LARGEST_LIST = 1 << 28


@dataclass(frozen=True, eq=False)
class BackgroundFolder:
    """A user's own pictures, by name in order; `fingerprint` tells them from others by names and sizes.

    What cannot be read is passed over when it is drawn, and noted in `unreadable`.
    """

    sizes: dict[str, int] = field(default_factory=dict)  # of files in bytes, by name
    found: PictureSet = field(default_factory=PictureSet)
    unreadable: dict[str, str] = field(default_factory=dict)  # name -> why

    @classmethod
    def of(cls, folder: Path, export: Path | None = None) -> BackgroundFolder:
        """The pictures in `folder`, see `picture_files.find_pictures`.

        An `export` that was begun keeps the list it began with, as long as only files have gone since. Raises
        `UserError` where there are no pictures.
        """
        found = find_pictures(folder)
        sizes = {picture.name: _size_of(picture) for picture in found}
        begun = _read_list(export) if export else None
        if begun and all(begun.get(name) == size for name, size in sizes.items()):
            sizes = begun
        return cls(sizes, found)

    @property
    def fingerprint(self) -> str:
        listed = "\n".join(f"{size} {name}" for name, size in self.sizes.items())
        return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()

    def begin(self, export: Path) -> None:
        """Notes the list in a set that begins. Raises `UserError` where the system refuses."""
        path = export / STATE_FOLDER / LIST_NAME
        if self.sizes and not path.exists():
            write_atomically(path, json.dumps(self.sizes) + "\n")

    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> tuple[str, np.ndarray]:
        """The name of a random picture and it as uint8 `[H, W, 3]` covering `size`. Raises `UserError` without any."""
        names = list(self.sizes)
        first = int(random.integers(len(names)))
        for name in (names[number] for number in itertools.chain([first], random.permutation(len(names)))):
            if name in self.unreadable:
                continue
            try:
                if name not in self._pictures:
                    raise UserError(f"{name} is gone.")
                return name, _covering(self._pictures[name], size)
            except UserError as error:
                self.unreadable[name] = str(error)
        raise UserError(f"None of the {len(names)} background pictures could be read; check their folder.")

    @cached_property
    def _pictures(self) -> dict[str, PictureFile]:
        return {picture.name: picture for picture in self.found}


def _size_of(picture: PictureFile) -> int:
    try:
        return picture.member.size if picture.member else picture.path.stat().st_size
    except OSError:
        return -1


def _read_list(export: Path) -> dict[str, int] | None:
    try:
        listed = read_json(export / STATE_FOLDER / LIST_NAME, _LARGEST_LIST)
        return {str(name): int(size) for name, size in listed.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # not begun, or by an older version: then the folder counts as it is


@lru_cache(_KEPT)
def _covering(picture: PictureFile, size: tuple[int, int]) -> np.ndarray:
    return cover_fit(load_picture(picture.source()), *size)


def choose(
    seed: int,
    kinds: tuple[str, ...],
    pictures: BackgroundFolder,
    neighbour: tuple[int, np.ndarray] | None,
    size: tuple[int, int],
) -> tuple[str, np.ndarray | None]:
    """What to put behind a seed: a label as `Background.parse` reads it, and uint8 `[H, W, 3]`; None for its own.

    `neighbour` is another seed and its background in the size of the set, None where none was drawn.
    """
    random = np.random.default_rng([_SALT, seed])  # on every run the same
    kind = kinds[random.integers(len(kinds))]
    if kind == "seeds" and neighbour is not None:
        return f"seed:{neighbour[0]}", neighbour[1]
    if kind == "colours":
        colour = random.integers(0, 256, 3, dtype=np.uint8)
        return "#" + colour.tobytes().hex(), np.broadcast_to(colour, (size[1], size[0], 3))
    if kind == "pictures":
        return pictures.draw(random, size)
    return "own", None


def put_behind(picture: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The subject of `picture` before `background`, uint8 `[H, W, 3]` each, with `alpha` as its exact mask."""
    return matting.blend(matting.clean_colours(picture, alpha), background, alpha)
