"""Plain folders: SPLIT/images, SPLIT/masks and SPLIT/hard_masks with the same names, and labels.csv for all."""

from __future__ import annotations

import csv
from pathlib import Path

from ...bundles.files import write_atomically
from ..export_plan import Plan
from . import pictures
from .files import SingleFiles

LABELS_NAME = "labels.csv"
FOLDERS = {"image": "images", "mask": "masks", "hard_mask": "hard_masks"}
BOX = ("left", "top", "width", "height")
USE = f"""Each split has `images`, `masks` (soft, 8-bit grey) and `hard_masks` (0 or 255), with the same file names;
`{LABELS_NAME}` has a row for each picture. `l4f_plugin.evaluation.labelled.load_split` reads a split into arrays."""


def open_shard(folder: Path, shard: int) -> SingleFiles:
    """A writer for one shard."""
    return SingleFiles(folder, lambda kind, split, name: f"{split}/{FOLDERS[kind]}/{name}.png")


def finish(folder: Path, plan: Plan) -> list[str]:
    """Writes the table of labels."""

    def write(path: Path) -> None:
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = None
            for picture in pictures(folder, plan):
                row = {**picture.pop("files"), **picture}
                row |= dict(zip(BOX, row.pop("box"), strict=True))
                if table is None:
                    table = csv.DictWriter(file, list(row), lineterminator="\n")
                    table.writeheader()
                table.writerow(row)

    write_atomically(folder / LABELS_NAME, write)
    return [LABELS_NAME]
