"""How a labelled set is laid out on disk.

A format writes the pictures of a shard (`add`, `close`, `discard`). Once for the whole set, `summaries` names the text
files that tell about all shards together, each with what writes it. Pictures are PNG files of their own in all formats
but one.
"""

import csv
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from ..bundles.files import sha256_of, writing
from .export_plan import SPLITS, ExportPlan
from .mask_codes import compressed_runs, polygon
from .shard_records import FileNote, records, write_file

Writer = Callable[[IO[str]], object]
_PNG_LEVEL = 2  # files a tenth larger than at level 6, written three times as fast


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    name: str
    image: np.ndarray  # uint8 [H, W, 3]
    mask: np.ndarray  # the soft mask, uint8 [H, W]
    hard: np.ndarray  # boolean [H, W]
    labels: dict  # what is known of it in numbers and words, with `split` and `seed` among them

    def files(self) -> dict[str, bytes]:
        hard = self.hard.astype(np.uint8) * 255
        return {"image": _png(self.image), "mask": _png(self.mask), "hard_mask": _png(hard)}


def _png(array: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, "PNG", compress_level=_PNG_LEVEL)
    return encoded.getvalue()


def _pictures(folder: Path, plan: ExportPlan, split: str | None = None) -> Iterator[dict]:
    """The labels of all pictures in order, or of one split, with one shard in memory at a time."""
    for record in records(folder, plan):
        yield from (one for one in record.pictures if split in (None, one["split"]))


class PlainFolder:
    """SPLIT/images, SPLIT/masks and SPLIT/hard_masks with the same names, and labels.csv for all."""

    PARTS = {"image": "images", "mask": "masks", "hard_mask": "hard_masks"}
    PLACE = "{split}/{part}/{name}.{ending}"
    USE = """Each split has `images`, `masks` (soft, 8-bit grey) and `hard_masks` (0 or 255), with the same file names;
`labels.csv` has a row for each picture. `l4f_plugin.evaluation.labelled.load_split` reads a split into arrays."""

    def __init__(self, folder: Path, shard: int):
        self._folder, self._shard, self._notes = folder, shard, []

    def add(self, picture: LabelledPicture) -> dict:
        """Writes a picture; returns its labels and where its files are. Raises `UserError` where the system refuses."""
        paths = {}
        for kind, content in self.files_of(picture).items():
            names = {"split": picture.labels["split"], "part": self.PARTS[kind], "name": picture.name}
            paths[kind] = self.PLACE.format(**names, shard=self._shard, ending="txt" if kind == "label" else "png")
            self._notes.append(write_file(self._folder, paths[kind], content))
        return {**picture.labels, "files": paths}

    def files_of(self, picture: LabelledPicture) -> dict[str, bytes]:
        return picture.files()

    def close(self) -> list[FileNote]:
        """Ends the shard; returns its files. Raises `UserError` where the system refuses."""
        return self._notes

    def discard(self) -> None:
        """Lets go of a shard that is not to be ended: the next run overwrites what is there."""

    @staticmethod
    def summaries(folder: Path, plan: ExportPlan) -> dict[str, Writer]:
        def write(file: IO[str]) -> None:
            table = None
            for picture in _pictures(folder, plan):
                row = {**picture.pop("files"), **picture}
                row |= dict(zip(("left", "top", "width", "height"), row.pop("box"), strict=True))
                if table is None:
                    table = csv.DictWriter(file, list(row), lineterminator="\n")
                    table.writeheader()
                table.writerow(row)

        return {"labels.csv": write}


class Coco(PlainFolder):
    """images/SPLIT and annotations/instances_SPLIT.json with boxes, areas and run-length masks; soft masks beside."""

    PLACE = "{part}/{split}/{name}.{ending}"
    USE = """`images/SPLIT` and `annotations/instances_SPLIT.json`; `masks/SPLIT` has the soft masks and
`hard_masks/SPLIT` the same masks as the annotations. Other labels are fields of each image in the JSON file.

```python
from pycocotools.coco import COCO

coco = COCO("annotations/instances_train.json")
mask = coco.annToMask(coco.loadAnns(coco.getAnnIds())[0])
```"""

    def add(self, picture: LabelledPicture) -> dict:
        """As a plain folder does, and with the hard mask in the labels."""
        return {**super().add(picture), "segmentation": compressed_runs(picture.hard)}

    @staticmethod
    def summaries(folder: Path, plan: ExportPlan) -> dict[str, Writer]:
        """The annotations of each split, written piece by piece: those of a large set fill the memory."""
        head = {
            "info": {"description": f"{plan.source.title}, generated by Labels4Free", "version": plan.version},
            "licenses": [{"id": 1, "name": plan.source.licence, "url": ""}],
            "categories": [{"id": 1, "name": plan.source.name, "supercategory": "object"}],
        }

        def write(split: str, file: IO[str]) -> None:
            file.write(json.dumps(head)[:-1])
            for name, entry in (("images", Coco._image), ("annotations", Coco._annotation)):
                file.write(f', "{name}": [')
                entries = filter(None, (entry(one, plan) for one in _pictures(folder, plan, split)))
                for number, item in enumerate(entries):
                    file.write((",\n" if number else "\n") + json.dumps(item, separators=(",", ":")))
                file.write("\n]")
            file.write("}\n")

        return {f"annotations/instances_{split}.json": partial(write, split) for split in plan.splits}

    @staticmethod
    def _image(picture: dict, plan: ExportPlan) -> dict:
        width, height = plan.picture_size
        files, elsewhere = picture["files"], ("files", "segmentation", "box", "area", "split")
        return {
            "id": picture["seed"],
            "file_name": files["image"].split("/")[-1],
            "width": width,
            "height": height,
            "license": 1,
            "mask_file": files["mask"],
            "hard_mask_file": files["hard_mask"],
            **{name: value for name, value in picture.items() if name not in elsewhere},
        }

    @staticmethod
    def _annotation(picture: dict, plan: ExportPlan) -> dict | None:
        return picture["area"] and {
            "id": picture["seed"] + 1,  # pycocotools takes an annotation 0 for none
            "image_id": picture["seed"],
            "category_id": 1,
            "segmentation": picture["segmentation"],
            "bbox": picture["box"],
            "area": picture["area"],
            "iscrowd": 0,
        }


class Yolo(PlainFolder):
    """images/SPLIT, labels/SPLIT with one line of polygon for a picture, data.yaml; soft masks beside.

    A line is the class's number, 0, and x and y of each corner as shares of width and height. All subjects of a picture
    are one line: pieces and holes are joined by bridges of no width (see `polygon`). A picture whose hard mask is empty
    has an empty file, which says that nothing of the class is there.
    """

    PARTS = {**PlainFolder.PARTS, "label": "labels"}
    PLACE = "{part}/{split}/{name}.{ending}"
    USE = """`images/SPLIT`, and `labels/SPLIT` with the hard masks as polygons, one line for each picture: pieces and
holes are joined by lines of no width. `masks/SPLIT` has the soft masks, `hard_masks/SPLIT` what the polygons outline.

```python
from ultralytics import YOLO

YOLO("yolo11n-seg.pt").train(data="data.yaml")
```"""

    def files_of(self, picture: LabelledPicture) -> dict[str, bytes]:
        height, width = picture.hard.shape
        corners = (polygon(picture.hard) / (width, height)).ravel()
        label = f"0 {' '.join(f'{value:.6g}' for value in corners)}\n" if len(corners) else ""
        return {**picture.files(), "label": label.encode()}

    @staticmethod
    def summaries(folder: Path, plan: ExportPlan) -> dict[str, Writer]:
        """Where each split is. Training wants the first two: where one has no pictures, another stands in."""
        there = _filled_splits(folder, plan)
        found = {split: there[0] for split in ("train", "validation")} | {split: split for split in there}
        keys = {"train": "train", "validation": "val", "test": "test"}
        lines = [f"{key}: images/{found[split]}" for split, key in keys.items() if split in found]
        lines += ["names:", f"  0: {json.dumps(plan.source.name)}"]
        return {"data.yaml": lambda file: file.write("\n".join(lines) + "\n")}


class HuggingFace(PlainFolder):
    """The image folder of Hugging Face's `datasets`: SPLIT/metadata.jsonl names pictures in a folder for each shard.

    A folder for each shard, because the Hub takes at most 10,000 files in one.
    """

    PARTS = {"image": "", "mask": "_mask", "hard_mask": "_hard"}  # endings of file names
    PLACE = "{split}/{shard:06d}/{name}{part}.{ending}"
    # The library makes a column of pictures of every field that ends so: image, mask and hard_mask.
    FIELDS = {"image": "file_name", "mask": "mask_file_name", "hard_mask": "hard_mask_file_name"}
    USE = """```python
from datasets import load_dataset

dataset = load_dataset("FOLDER_OR_REPOSITORY")
picture, soft_mask = dataset["train"][0]["image"], dataset["train"][0]["mask"]
```"""

    @staticmethod
    def summaries(folder: Path, plan: ExportPlan) -> dict[str, Writer]:
        def write(split: str, file: IO[str]) -> None:
            for picture in _pictures(folder, plan, split):
                files, labels = picture.pop("files"), {k: v for k, v in picture.items() if k != "split"}
                inside = {HuggingFace.FIELDS[kind]: name.split("/", 1)[1] for kind, name in files.items()}
                file.write(json.dumps({**inside, **labels}) + "\n")

        return {f"{split}/metadata.jsonl": partial(write, split) for split in _filled_splits(folder, plan)}


class WebDataset:
    """Tar files SPLIT-000000.tar, one for each shard and split, and index.json with their names.

    A picture is NAME.png, NAME.mask.png, NAME.hard_mask.png and NAME.json one after the other. A tar is filled under a
    name with a dot before it, which goes away when the shard is done.
    """

    ENDINGS = {"image": "png", "mask": "mask.png", "hard_mask": "hard_mask.png"}
    USE = """```python
import json
import webdataset

tars = json.load(open("index.json"))["train"]["files"]
for image, mask, labels in webdataset.WebDataset(tars, shardshuffle=False).decode("pil").to_tuple(
    "png", "mask.png", "json"
):
    ...
```"""

    def __init__(self, folder: Path, shard: int):
        self._folder, self._shard = folder, shard
        self._tars: dict[str, tarfile.TarFile] = {}

    def _name(self, split: str) -> str:
        return f"{split}-{self._shard:06d}.tar"

    def _unfinished(self, split: str) -> Path:
        return self._folder / f".{self._name(split)}.partial"

    def add(self, picture: LabelledPicture) -> dict:
        split = picture.labels["split"]
        members = {self.ENDINGS[kind]: content for kind, content in picture.files().items()}
        members["json"] = json.dumps(picture.labels).encode()
        with writing(self._folder / self._name(split)):
            if split not in self._tars:
                self._tars[split] = tarfile.open(self._unfinished(split), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            for ending, content in members.items():
                entry = tarfile.TarInfo(f"{picture.name}.{ending}")  # of no date and nobody: the same bytes every time
                entry.size = len(content)
                self._tars[split].addfile(entry, io.BytesIO(content))
        return {**picture.labels, "files": {"tar": self._name(split)}}

    def close(self) -> list[FileNote]:
        notes = []
        for split, tar in sorted(self._tars.items()):
            path = self._folder / self._name(split)
            with writing(path):
                tar.close()
                os.replace(self._unfinished(split), path)
            notes.append(FileNote(self._name(split), path.stat().st_size, sha256_of(path)))
        self._tars = {}
        return notes

    def discard(self) -> None:
        """Removes what is unfinished, also of splits that this run did not come to."""
        for split in SPLITS:
            if split in self._tars:
                with suppress(OSError):  # what it still holds, a full disk does not take
                    self._tars[split].fileobj.close()
            self._unfinished(split).unlink(missing_ok=True)
        self._tars = {}

    @staticmethod
    def summaries(folder: Path, plan: ExportPlan) -> dict[str, Writer]:
        index = {split: {"pictures": 0, "files": []} for split in plan.splits}
        for record in records(folder, plan):
            for picture in record.pictures:
                index[picture["split"]]["pictures"] += 1
            for note in record.files:
                if note.path.endswith(".tar"):  # the contact sheet is none
                    index[note.path.split("-")[0]]["files"].append(note.path)
        return {"index.json": lambda file: file.write(json.dumps(index, indent=1) + "\n")}


CLASSES = {"folder": PlainFolder, "coco": Coco, "yolo": Yolo, "webdataset": WebDataset, "huggingface": HuggingFace}


def _filled_splits(folder: Path, plan: ExportPlan) -> list[str]:
    return [split for split in plan.splits if next(_pictures(folder, plan, split), None)]
