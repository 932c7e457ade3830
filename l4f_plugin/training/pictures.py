"""A folder of pictures as one array, decoded once.

Decoding in the training process would compete with it for the processor, and a second thread that makes tensors
would halve its speed; so pictures are decoded beforehand, by worker processes, into a file that is mapped to memory.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..images import load_picture
from ..picture_files import PictureFile, find_pictures


class PictureFolder:
    """Pictures of a folder and its subfolders, square, at one resolution.

    Args:
        folder: of pictures, or an archive of them, see ``picture_files.find_pictures``.
        resolution: side in pixels; pictures are cropped to their centre square and resized.
        cache: where the decoded array is kept; later runs map it again as long as no file has changed.

    Raises UserError where the folder is missing or holds no picture; files that cannot be read are left out and
    counted in ``unreadable``. ``found`` tells what was passed over.
    """

    def __init__(self, folder: Path, resolution: int, cache: Path):
        self.found = find_pictures(folder)
        files = self.found.pictures
        array = cache / f"{_fingerprint(files, resolution)}.npy"
        if not array.exists():
            _decode_all(files, resolution, array)
        self.array = np.load(array, mmap_mode="r")
        self.unreadable = len(files) - len(self.array)
        if not len(self.array):
            raise UserError(f"None of the {len(files)} files in {folder} could be read as a picture.")

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, size: int, random: torch.Generator, flip: bool = True) -> Tensor:
        """``[size, 3, R, R]`` float32 in [-1, 1], drawn with replacement; half of them mirrored if ``flip``."""
        indices = torch.randint(len(self.array), (size,), generator=random)
        mirrored = torch.rand(size, generator=random) < 0.5
        pictures = np.stack([self.array[index] for index in indices.tolist()])
        batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(3), batch) if flip else batch


def _fingerprint(files: list[PictureFile], resolution: int) -> str:
    digest = hashlib.sha256(str(resolution).encode())
    for file in files:
        digest.update(file.mark().encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


def _decode_all(files: list[PictureFile], resolution: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Processes are spawned: a forked one would inherit the locks of torch's threads.
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(os.cpu_count() or 1, 8), mp_context=spawn) as workers:
            decoded = workers.map(_decode, files, [resolution] * len(files), chunksize=64)
            pictures = [picture for picture in decoded if picture is not None]
        partial = target.with_name(f"{target.stem}.{os.getpid()}.partial.npy")
        np.save(partial, np.stack(pictures) if pictures else np.zeros((0, resolution, resolution, 3), np.uint8))
        os.replace(partial, target)
    except OSError as error:
        raise UserError(f"The decoded pictures could not be written to {target.parent}: {error.strerror}.") from error


def _decode(file: PictureFile, resolution: int) -> np.ndarray | None:
    try:
        picture = Image.fromarray(load_picture(file.source()))
    except UserError:
        return None
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    if side != resolution:
        square = square.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(square.convert("RGB"))
