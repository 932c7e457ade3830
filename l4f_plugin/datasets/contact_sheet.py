"""The first pictures of a set with their masks as one small picture, to be looked at before the set is used."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..images import png_bytes
from ..own_files import sheet_text
from .formats import LabelledPicture

SHEET_NAME = "sheet.png"
SIDE = 128  # pixels of the longer side of each picture, at most
ROWS, COLUMNS = 6, 4


class ContactSheet:
    """Takes pictures until it is full; each stands beside its soft mask."""

    def __init__(self) -> None:
        self._tiles: list[np.ndarray] = []

    def add(self, picture: LabelledPicture) -> None:
        """Puts a picture on the sheet where there is room."""
        if len(self._tiles) < ROWS * COLUMNS:
            self._tiles.append(np.concatenate([_small(picture.image), _small(np.dstack([picture.mask] * 3))], axis=1))

    def file(self) -> bytes:
        """The sheet as a PNG file; what is not filled is white."""
        rows = -(-len(self._tiles) // COLUMNS)
        blank = np.full_like(self._tiles[0], 255)
        tiles = [*self._tiles, *[blank] * (rows * COLUMNS - len(self._tiles))]
        rows = [np.concatenate(tiles[start : start + COLUMNS], axis=1) for start in range(0, len(tiles), COLUMNS)]
        return png_bytes(np.concatenate(rows), sheet_text("pictures of a set"))


def _small(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image)
