"""How a labelled set is laid out on disk, one module for each format.

Each has `open_shard(folder, shard)`, which gives a `ShardWriter`, `finish(folder, plan)`, which writes the files that
tell about all shards together and returns their paths, and `USE`, the card's lines on how to read the set.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from PIL import Image

from ..export_plan import FORMATS, Plan
from ..shards import FileNote, records

_PNG_LEVEL = 2  # files a tenth larger than at level 6, written three times as fast


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture to write.

    `image` uint8 `[H, W, 3]`; `mask` uint8 `[H, W]`, the soft mask; `hard` boolean `[H, W]`. `labels` are what is known
    of it in numbers and words, with `split` and `seed` among them.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    hard: np.ndarray
    labels: dict

    def files(self) -> dict[str, bytes]:
        """The three PNG files."""
        hard = self.hard.astype(np.uint8) * 255
        return {"image": png(self.image), "mask": png(self.mask), "hard_mask": png(hard)}


class ShardWriter(Protocol):
    """Takes the pictures of one shard. Both methods raise `UserError` where the system refuses."""

    def add(self, picture: LabelledPicture) -> dict:
        """Writes a picture; returns its labels with where its files are."""

    def close(self) -> list[FileNote]:
        """Ends the shard; returns its files."""

    def discard(self) -> None:
        """Lets go of a shard that is not to be ended."""


def format_module(name: str) -> ModuleType:
    """The module of a format in `FORMATS`."""
    if name not in FORMATS:
        raise ValueError(name)
    return import_module(f".{name}", __name__)


def png(array: np.ndarray) -> bytes:
    """uint8 grey or RGB as a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, "PNG", compress_level=_PNG_LEVEL)
    return encoded.getvalue()


def pictures(folder: Path, plan: Plan, split: str | None = None) -> Iterator[dict]:
    """The labels of all pictures in order, or of one split, with one shard in memory at a time."""
    for record in records(folder, plan):
        yield from (one for one in record.pictures if split in (None, one["split"]))
