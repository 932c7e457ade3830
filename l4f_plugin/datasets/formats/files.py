"""Pictures as single files, which three of the formats share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..shards import FileNote, write_file
from . import LabelledPicture


class SingleFiles:
    """Writes each picture as files of its own; `place(kind, split, name)` says where "image", "mask" or "hard_mask"
    goes, `more(picture)` are further labels."""

    def __init__(
        self,
        folder: Path,
        place: Callable[[str, str, str], str],
        more: Callable[[LabelledPicture], dict] = lambda picture: {},
    ):
        self._folder, self._place, self._more = folder, place, more
        self._notes: list[FileNote] = []

    def add(self, picture: LabelledPicture) -> dict:
        """Writes the three files; returns the labels with their paths."""
        paths = {}
        for kind, content in picture.files().items():
            paths[kind] = self._place(kind, picture.labels["split"], picture.name)
            self._notes.append(write_file(self._folder, paths[kind], content))
        return {**picture.labels, "files": paths, **self._more(picture)}

    def close(self) -> list[FileNote]:
        """The files that were written."""
        return self._notes

    def discard(self) -> None:
        """Nothing is open: the next run overwrites what is there."""
