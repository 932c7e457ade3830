"""YOLO segmentation: images/SPLIT, labels/SPLIT with one line of polygon for a picture, data.yaml; soft masks beside.

A line is the class's number, 0, and x and y of each corner as shares of width and height. A picture has one subject,
so it has one line: its pieces, and its holes, are joined by bridges of no width (see `outlines`). A picture whose hard
mask is empty has an empty file, which says that nothing of the class is there.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...bundles.files import write_atomically, write_text
from ..export_plan import Plan
from ..outlines import polygon
from . import LabelledPicture, pictures
from .files import SingleFiles

DESCRIPTION_NAME = "data.yaml"
FOLDERS = {"image": "images", "mask": "masks", "hard_mask": "hard_masks", "label": "labels"}
KEYS = {"train": "train", "validation": "val", "test": "test"}
USE = f"""`images/SPLIT`, and `labels/SPLIT` with the hard masks as polygons, one line for each subject: its pieces and
holes are joined by lines of no width. `masks/SPLIT` has the soft masks, `hard_masks/SPLIT` what the polygons outline.

```python
from ultralytics import YOLO

YOLO("yolo11n-seg.pt").train(data="{DESCRIPTION_NAME}")
```"""


def open_shard(folder: Path, shard: int) -> SingleFiles:
    """A writer for one shard."""
    return SingleFiles(folder, _place, files=lambda picture: {**picture.files(), "label": label_of(picture)})


def _place(kind: str, split: str, name: str) -> str:
    return f"{FOLDERS[kind]}/{split}/{name}.{'txt' if kind == 'label' else 'png'}"


def label_of(picture: LabelledPicture) -> bytes:
    """The file of labels."""
    height, width = picture.hard.shape
    corners = (polygon(picture.hard) / (width, height)).ravel()
    return f"0 {' '.join(f'{value:.6g}' for value in corners)}\n".encode() if len(corners) else b""


def finish(folder: Path, plan: Plan) -> list[str]:
    """Writes where each split is. Training wants the first two: where one has no pictures, another stands in."""
    there = [split for split in plan.splits if next(pictures(folder, plan, split), None)]
    found = {split: split for split in there} | {
        split: there[0] for split in ("train", "validation") if split not in there
    }
    lines = [f"{key}: images/{found[split]}" for split, key in KEYS.items() if split in found]
    lines += ["names:", f"  0: {json.dumps(plan.source.name)}"]
    write_atomically(folder / DESCRIPTION_NAME, lambda path: write_text(path, "\n".join(lines) + "\n"))
    return [DESCRIPTION_NAME]
