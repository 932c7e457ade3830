"""Pictures as single files, which all formats but one share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..shards import FileNote, write_file
from . import LabelledPicture


class SingleFiles:
    """Writes each picture as files of its own, by default "image", "mask" and "hard_mask".

    `place(kind, split, name)` says where each goes, `more(picture)` are further labels, `files(picture)` the contents.
    """

    def __init__(
        self,
        folder: Path,
        place: Callable[[str, str, str], str],
        more: Callable[[LabelledPicture], dict] = lambda picture: {},
        files: Callable[[LabelledPicture], dict[str, bytes]] = LabelledPicture.files,
    ):
        self._folder, self._place, self._more, self._files = folder, place, more, files
        self._notes: list[FileNote] = []

    def add(self, picture: LabelledPicture) -> dict:
        """Writes the files; returns the labels with their paths."""
        paths = {}
        for kind, content in self._files(picture).items():
            paths[kind] = self._place(kind, picture.labels["split"], picture.name)
            self._notes.append(write_file(self._folder, paths[kind], content))
        return {**picture.labels, "files": paths, **self._more(picture)}

    def close(self) -> list[FileNote]:
        """The files that were written."""
        return self._notes

    def discard(self) -> None:
        """Nothing is open: the next run overwrites what is there."""
