"""Pictures with true masks, read from a folder into two arrays.

Layout: {train,validation,test}/images/NAME.png (RGB) and {train,validation,test}/masks/NAME.png (grey, the
exact alpha), and dataset.json beside them. Other formats of pictures do as well.
"""

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..images import load_picture
from ..picture_files import find_pictures
from .mask_metrics import read_mask


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures of one size with their true masks."""

    pictures: np.ndarray  # uint8 [N, H, W, 3]
    masks: np.ndarray  # uint8 [N, H, W], 255 where the object covers the pixel
    left_out: tuple[str, ...] = ()  # why, a sentence for each picture of the folder that is not among them

    def __len__(self) -> int:
        return len(self.pictures)


def load_split(dataset: Path, split: str, resolution: int, limit: int | None = None) -> LabelledPictures:
    """Reads a split ("train", "validation" or "test") of the data set at `resolution`, averaging down as needed.

    Where it holds more than `limit` pictures, as many are taken at even distances. A picture is left out where it or
    its mask is missing or damaged, is not square or is smaller than `resolution`. UserError: the folder is missing, or
    every picture is left out.
    """
    images, masks = dataset / split / "images", dataset / split / "masks"
    names = _names(images)
    if limit is not None and len(names) > limit:
        names = [names[index * len(names) // limit] for index in range(limit)]
    pictures = np.empty((len(names), resolution, resolution, 3), dtype=np.uint8)
    truth = np.empty((len(names), resolution, resolution), dtype=np.uint8)
    row, left_out = 0, []
    for name in names:
        try:
            pictures[row] = _read(images / name, resolution)
            truth[row] = _read(_mask_of(masks, name), resolution, mask=True)
            row += 1
        except UserError as error:
            left_out.append(str(error))
    if not row:
        raise UserError(left_out[0])
    return LabelledPictures(pictures[:row], truth[:row], tuple(left_out))


def fingerprint(dataset: Path) -> str:
    """Tells one data set from another: a hash of dataset.json and of the names in its training split."""
    description = dataset / "dataset.json"
    about = description.read_bytes() if description.is_file() else b""
    return hashlib.sha256(about + "\n".join(_names(dataset / "train" / "images")).encode()).hexdigest()


def _names(folder: Path) -> list[str]:
    """The pictures of a split by their paths from `folder`, in order."""
    try:
        return [picture.name for picture in find_pictures(folder)]
    except UserError as error:
        raise UserError(
            f"There are no labelled pictures in {folder}; make the data set first, or name its folder with --data."
        ) from error


def _mask_of(masks: Path, name: str) -> Path:
    wanted = masks / name
    if wanted.is_file():
        return wanted
    beside = wanted.parent.glob(f"{glob.escape(wanted.stem)}.*")
    return min((path for path in beside if path.stem == wanted.stem), default=wanted)


def _read(path: Path, resolution: int, *, mask: bool = False) -> np.ndarray:
    try:
        picture = Image.fromarray(np.rint(read_mask(path) * 255).astype(np.uint8) if mask else load_picture(path))
    except UserError as error:
        raise UserError(f"{path} is missing or can't be read as a picture; make the data set anew.") from error
    if picture.width != picture.height or picture.width < resolution:
        raise UserError(
            f"{path} is {picture.width}x{picture.height}; labelled pictures must be square and at least "
            f"{resolution}x{resolution} here."
        )
    if picture.width != resolution:
        picture = picture.resize((resolution, resolution), Image.Resampling.BOX)
    return np.asarray(picture)
