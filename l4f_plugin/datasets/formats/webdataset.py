"""WebDataset: tar files SPLIT-000000.tar, one for each shard and split, and index.json with their names.

A picture is NAME.png, NAME.mask.png, NAME.hard_mask.png and NAME.json one after the other.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from contextlib import suppress
from pathlib import Path

from ...bundles.files import sha256_of, storage_error, write_atomically, write_text
from ..export_plan import SPLITS, Plan
from ..shards import FileNote, records
from . import LabelledPicture

INDEX_NAME = "index.json"
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


def open_shard(folder: Path, shard: int) -> TarFiles:
    """A writer for one shard."""
    return TarFiles(folder, shard)


class TarFiles:
    """Fills a tar for each split under a name with a dot before it, which goes away when the shard is done."""

    def __init__(self, folder: Path, shard: int):
        self._folder, self._shard = folder, shard
        self._tars: dict[str, tarfile.TarFile] = {}

    def _name(self, split: str) -> str:
        return f"{split}-{self._shard:06d}.tar"

    def _unfinished(self, split: str) -> Path:
        return self._folder / f".{self._name(split)}.partial"

    def add(self, picture: LabelledPicture) -> dict:
        """Appends the three files and the labels."""
        split = picture.labels["split"]
        members = {ENDINGS[kind]: content for kind, content in picture.files().items()}
        members["json"] = json.dumps(picture.labels).encode()
        try:
            if split not in self._tars:
                self._tars[split] = _new_tar(self._unfinished(split))
            for ending, content in members.items():
                entry = tarfile.TarInfo(f"{picture.name}.{ending}")  # of no date and nobody: the same bytes every time
                entry.size = len(content)
                self._tars[split].addfile(entry, io.BytesIO(content))
        except OSError as error:
            raise storage_error(error, self._folder / self._name(split)) from error
        return {**picture.labels, "files": {"tar": self._name(split)}}

    def close(self) -> list[FileNote]:
        """Puts the tars in place."""
        notes = []
        for split, tar in sorted(self._tars.items()):
            path = self._folder / self._name(split)
            try:
                tar.close()
                os.replace(self._unfinished(split), path)
            except OSError as error:
                raise storage_error(error, path) from error
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


def _new_tar(path: Path) -> tarfile.TarFile:
    """A tar that stays open as long as the shard."""
    return tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)


def finish(folder: Path, plan: Plan) -> list[str]:
    """Writes which tars there are."""
    index = {split: {"pictures": 0, "files": []} for split in plan.splits}
    for record in records(folder, plan):
        for picture in record.pictures:
            index[picture["split"]]["pictures"] += 1
        for note in record.files:
            if note.path.endswith(".tar"):  # the contact sheet is none
                index[note.path.split("-")[0]]["files"].append(note.path)
    text = json.dumps(index, indent=1) + "\n"
    write_atomically(folder / INDEX_NAME, lambda path: write_text(path, text))
    return [INDEX_NAME]
