"""Pictures with true masks, read from a folder into two arrays.

Layout: {train,validation,test}/images/NAME.png (RGB) and {train,validation,test}/masks/NAME.png (grey, the
exact alpha), and dataset.json beside them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..checkpoints.files import open_plain
from ..errors import UserError


@dataclass(frozen=True)
class LabelledPictures:
    """pictures: uint8 [N, H, W, 3]; masks: uint8 [N, H, W], 255 where the object covers the pixel."""

    pictures: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)


def join(*parts: LabelledPictures) -> LabelledPictures:
    """Several sets of one resolution as one."""
    return LabelledPictures(
        np.concatenate([part.pictures for part in parts]), np.concatenate([part.masks for part in parts])
    )


def load_split(dataset: Path, split: str, resolution: int, limit: int | None = None) -> LabelledPictures:
    """Reads a split ("train", "validation" or "test") of the data set at `resolution`, averaging down as
    needed.

    Where it holds more than `limit` pictures, as many are taken at even distances. UserError: the folder, a
    mask or every picture is missing, a file is no picture, is not square or is smaller than `resolution`.
    """
    images, masks = dataset / split / "images", dataset / split / "masks"
    names = _names(images)
    if limit is not None and len(names) > limit:
        names = [names[index * len(names) // limit] for index in range(limit)]
    pictures = np.empty((len(names), resolution, resolution, 3), dtype=np.uint8)
    truth = np.empty((len(names), resolution, resolution), dtype=np.uint8)
    for row, name in enumerate(names):
        pictures[row] = _read(images / name, "RGB", resolution)
        truth[row] = _read(masks / name, "L", resolution)
    return LabelledPictures(pictures, truth)


def fingerprint(dataset: Path) -> str:
    """Tells one data set from another: a hash of dataset.json and of the names in its training split."""
    digest = hashlib.sha256()
    description = dataset / "dataset.json"
    if description.is_file():
        digest.update(description.read_bytes())
    digest.update("\n".join(_names(dataset / "train" / "images")).encode())
    return digest.hexdigest()


def _names(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.glob("*.png")) if folder.is_dir() else []
    if not names:
        raise UserError(
            f"There are no labelled pictures in {folder}; make the data set first, or name its folder with --data."
        )
    return names


def _read(path: Path, mode: str, resolution: int) -> np.ndarray:
    try:
        with open_plain(path) as file, Image.open(file) as opened:
            picture = opened.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is missing or can't be read as a picture; make the data set anew.") from error
    if picture.width != picture.height or picture.width < resolution:
        raise UserError(
            f"{path} is {picture.width}x{picture.height}; labelled pictures must be square and at least "
            f"{resolution}x{resolution} here."
        )
    if picture.width != resolution:
        picture = picture.resize((resolution, resolution), Image.Resampling.BOX)
    return np.asarray(picture)
