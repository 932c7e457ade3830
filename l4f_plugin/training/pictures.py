"""A folder of pictures as one array, decoded once.

Decoding between the steps would compete with them for the processor, so pictures are decoded beforehand into a file
that is mapped to memory.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..bundles.files import make_folder, unreadable, write_atomically
from ..errors import UserError
from ..images import load_picture
from ..picture_files import PictureFile, PictureSet, find_pictures
from . import together

Crop = tuple[int, int, int, int]
IN_ORDER = 100  # pictures that are handed out at once


class Frame(NamedTuple):
    """A square of ``resolution`` pixels a side, the part of it that pictures fill, and whether they are bent to it."""

    resolution: int
    crop: Crop
    squash: bool = False

    def filled(self, picture: Image.Image) -> Image.Image:
        top, bottom, left, right = self.crop
        size = (right - left, bottom - top)
        if self.squash:
            inner = picture.resize(size, Image.Resampling.LANCZOS)
        else:
            inner = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
        square = Image.new("RGB", (self.resolution, self.resolution))
        square.paste(inner, (left, top))
        return square


def letterbox(resolution: int, aspect: float) -> Crop | None:
    """The middle part of a square that has the aspect width / height: (top, bottom, left, right); None for all of it.

    The short side is rounded to a multiple of eight pixels, so that bars begin at whole pixels at half and at a quarter
    of the resolution too.
    """
    if aspect == 1:
        return None
    long, short = resolution, round(resolution * min(aspect, 1 / aspect) / 8) * 8
    bar = (long - short) // 2
    return (bar, bar + short, 0, long) if aspect > 1 else (0, long, bar, bar + short)


def cropped(images: Tensor, crop: Crop) -> Tensor:
    """What lies between the letter-box bars of pictures ``[N, C, R, R]``."""
    top, bottom, left, right = crop
    return images[:, :, top:bottom, left:right]


def letterboxed(inner: Tensor, images: Tensor, crop: Crop) -> Tensor:
    """``inner`` between the bars of ``images [N, C, R, R]``."""
    top, bottom, left, right = crop
    rows = torch.cat([images[:, :, top:bottom, :left], inner, images[:, :, top:bottom, right:]], dim=3)
    return torch.cat([images[:, :, :top], rows, images[:, :, bottom:]], dim=2)


class PictureFolder:
    """Pictures of a folder and its subfolders, square, at one resolution.

    Where the pictures have vanished, the array that was made of them last is taken, and ``found`` is None.

    Args:
        folder: of pictures, or an archive of them, see ``picture_files.find_pictures``.
        resolution: side of the square in pixels.
        crop: (top, bottom, left, right) of the square that pictures fill, black bars being the rest; all of it when
            None. Each picture is cropped around its middle to that shape and resized.
        squash: whether pictures are resized to that shape without a cut.
        cache: where the decoded array is kept; later runs map it again as long as no file has changed.

    Raises UserError where the folder is missing or holds no picture; files that cannot be read are left out and
    counted in ``unreadable``. ``found`` tells what was passed over.
    """

    def __init__(self, folder: Path, resolution: int, cache: Path, crop: Crop | None = None, squash: bool = False):
        frame = Frame(resolution, crop or (0, resolution, 0, resolution), squash)
        place = repr((os.path.abspath(folder), *frame)).encode("utf-8", "surrogateescape")
        latest = cache / f"{hashlib.sha256(place).hexdigest()[:24]}.latest"
        self.found: PictureSet | None = None
        try:
            self.found = find_pictures(folder)
            array = cache / f"{_fingerprint(self.found.pictures, frame)}.npy"
        except (UserError, OSError) as error:
            array = cache / (latest.read_text(encoding="ascii") if latest.exists() else "none")
            if not array.exists():
                raise error if isinstance(error, UserError) else unreadable(error, folder) from error
        if not array.exists():
            _decode_all(self.found.pictures, frame, array)
        self.array = np.load(array, mmap_mode="r")
        self._first = self.found.pictures[0].path if self.found else Path(folder)
        self.unreadable = len(self.found) - len(self.array) if self.found else 0
        if not len(self.array):
            raise UserError(f"None of the {len(self.found)} files in {folder} could be read as a picture.")
        write_atomically(latest, array.name)

    def __len__(self) -> int:
        return len(self.array)

    def gone(self) -> bool:
        """Whether the pictures have vanished from where they were; their copy stays."""
        return not self._first.exists()

    def batch(self, size: int, random: torch.Generator, flip: bool = True) -> Tensor:
        """``[size, 3, R, R]`` float32 in [-1, 1], drawn with replacement; half of them mirrored if ``flip``.

        Of several processes or parts of a batch, each has ``size`` of its own.
        """
        everyone = size * together.shares()
        indices = together.share(torch.randint(len(self.array), (everyone,), generator=random))
        mirrored = together.share(torch.rand(everyone, generator=random)) < 0.5
        batch = self._pictures(indices.tolist())
        return torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(3), batch) if flip else batch

    def in_order(self, most: int) -> Iterator[Tensor]:
        """At most ``most`` pictures, evenly chosen, in batches as above."""
        chosen = np.linspace(0, len(self.array) - 1, min(most, len(self.array))).round().astype(int).tolist()
        for start in range(0, len(chosen), IN_ORDER):
            yield self._pictures(chosen[start : start + IN_ORDER])

    def _pictures(self, indices: list[int]) -> Tensor:
        pictures = np.stack([self.array[index] for index in indices])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _fingerprint(files: list[PictureFile], frame: Frame) -> str:
    # What is not squashed goes by the name that it had before there was a choice.
    digest = hashlib.sha256(repr(tuple(frame) if frame.squash else tuple(frame)[:2]).encode())
    for file in files:
        digest.update(file.mark().encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


def _decode_all(files: list[PictureFile], frame: Frame, target: Path) -> None:
    make_folder(target.parent)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as workers:  # Pillow decodes and resizes without the GIL
        decoded = workers.map(decode, files, [frame] * len(files))
        pictures = [picture for picture in decoded if picture is not None]
    nothing = np.zeros((0, frame.resolution, frame.resolution, 3), np.uint8)
    array = np.stack(pictures) if pictures else nothing
    write_atomically(target, functools.partial(np.save, arr=array))


def decode(file: PictureFile, frame: Frame) -> np.ndarray | None:
    """The square uint8 ``[R, R, 3]`` with the picture in it; None for what cannot be read."""
    try:
        picture = Image.fromarray(load_picture(file.source())).convert("RGB")
    except UserError:
        return None
    return np.asarray(frame.filled(picture))
