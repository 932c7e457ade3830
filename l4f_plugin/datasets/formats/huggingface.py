"""The image folder of Hugging Face's `datasets`: SPLIT/metadata.jsonl names pictures in one folder for each shard.

A folder for each shard, because the Hub takes at most 10,000 files in one.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...bundles.files import write_atomically
from ..export_plan import Plan
from . import pictures
from .files import SingleFiles

ENDINGS = {"image": "", "mask": "_mask", "hard_mask": "_hard"}
METADATA_NAME = "metadata.jsonl"
# The library makes a column of pictures of every field that ends so: image, mask and hard_mask.
FIELDS = {"image": "file_name", "mask": "mask_file_name", "hard_mask": "hard_mask_file_name"}
USE = """```python
from datasets import load_dataset

dataset = load_dataset("FOLDER_OR_REPOSITORY")
picture, soft_mask = dataset["train"][0]["image"], dataset["train"][0]["mask"]
```"""


def open_shard(folder: Path, shard: int) -> SingleFiles:
    """A writer for one shard."""
    return SingleFiles(folder, lambda kind, split, name: f"{split}/{shard:06d}/{name}{ENDINGS[kind]}.png")


def finish(folder: Path, plan: Plan) -> list[str]:
    """Writes the metadata of each split that has pictures."""
    names = {split: f"{split}/{METADATA_NAME}" for split in plan.splits if any(pictures(folder, plan, split))}
    for split, name in names.items():
        write_atomically(folder / name, lambda path, split=split: _write(path, folder, plan, split))
    return list(names.values())


def _write(path: Path, folder: Path, plan: Plan, split: str) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for picture in pictures(folder, plan, split):
            files, labels = picture.pop("files"), {k: v for k, v in picture.items() if k != "split"}
            inside = {FIELDS[kind]: name.split("/", 1)[1] for kind, name in files.items()}
            file.write(json.dumps({**inside, **labels}) + "\n")
