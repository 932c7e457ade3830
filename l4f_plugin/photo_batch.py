"""Many photographs, one after another: files in, files out, and what was done is not done again."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Background, EdgeOptions
from .errors import UserError
from .images import read_infotext, write_png
from .runtime import CancelToken

if TYPE_CHECKING:  # what brings torch is imported where it is used, so that mistakes are told at once
    from .pipeline import Labels4FreePipeline

MOST_FILES = 10_000
PICTURE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".mpo", ".webp", ".avif", ".heic", ".heif", ".gif", ".bmp", ".tif", ".tiff",
    ".jp2", ".ppm", ".pgm", ".ico", ".tga",
}  # fmt: skip

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photograph.

    `files` maps mask, cutout and, where a background was chosen, composite to PNG files; empty where a `problem` is
    told. `kept` says that they were there already.
    """

    source: Path
    files: dict[str, Path] = field(default_factory=dict)
    problem: str | None = None
    kept: bool = False


def find_photos(paths: Iterable[Path]) -> list[Path]:
    """The files that are named, and those of the folders that are named, in order.

    Raises `UserError` for a path that is neither, a folder without pictures, and more than 10,000 files.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(item for item in path.iterdir() if _looks_like_picture(item))
            if not inside:
                raise UserError(f"The folder {path} holds no pictures; name another one.")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path} is not a file; check the path of the picture.")
    if len(found) > MOST_FILES:
        raise UserError(f"These are {len(found)} pictures; at most {MOST_FILES} are segmented at a time.")
    return found


def segment_photos(
    pipeline: Labels4FreePipeline,
    sources: Sequence[Path],
    folder: Path,
    background: Background | None = None,
    edge: EdgeOptions | None = None,
    *,
    again: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[PhotoResult]:
    """Writes mask, cut-out and, with a `background`, composite of each photograph; a result each, in order.

    Photographs whose files are there already, made from the same file with the same class and options, are passed
    over unless `again`. One that cannot be read is told in its result and the others go on. `cancel` is looked at
    before each. Raises `UserError` for what concerns all: a class without a photo segmenter, a full disk; `Cancelled`.
    """
    edge, token = edge or EdgeOptions(), cancel or CancelToken()
    for number, (source, stem) in enumerate(zip(sources, stems(sources), strict=True)):
        token.check()
        kinds = ("mask", "cutout") if background is None else ("mask", "cutout", "composite")
        files = {kind: folder / f"{stem}_{'alpha' if kind == 'mask' else kind}.png" for kind in kinds}
        yield _segment_one(pipeline, source, files, background, edge, again, token)
        if progress:
            progress(number + 1, len(sources), f"{number + 1} of {len(sources)} photographs")


def pack(results: Iterable[PhotoResult], path: Path) -> Path:
    """A ZIP of all files of the results, stored as they are because PNG is compressed already; in one step."""
    from .checkpoints.files import write_atomically

    files = [file for result in results for file in result.files.values()]

    def write(target: Path) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for file in files:
                archive.write(file, file.name)

    write_atomically(path, write)
    return path


def _segment_one(
    pipeline: Labels4FreePipeline,
    source: Path,
    files: dict[str, Path],
    background: Background | None,
    edge: EdgeOptions,
    again: bool,
    token: CancelToken,
) -> PhotoResult:
    from .photos import PhotoOrigin, placed_fields

    wanted = background or Background.parse("transparent")
    try:
        origin = PhotoOrigin.of(source, pipeline.config)
        text = origin.infotext(**placed_fields(wanted, edge))
        if not again and _are_there(files, text):
            return PhotoResult(source, files, kept=True)
        photo = pipeline.segment_photo(source, cancel=token)
    except UserError as error:
        if pipeline.bundle.student is None:
            raise
        return PhotoResult(source, problem=str(error))
    placed = pipeline.swap(photo, wanted, cancel=token, **vars(edge))
    pictures = {"mask": placed.alpha, "cutout": placed.cutout, "composite": placed.composite}
    for kind in reversed(files):  # the mask last: where it is, the others are
        write_png(files[kind], pictures[kind], placed.infotext)
    return PhotoResult(source, files)


def _are_there(files: dict[str, Path], text: str) -> bool:
    """Whether all files are there, and the one written last says what this time would be written."""
    if not all(path.is_file() for path in files.values()):
        return False
    try:
        return read_infotext(files["mask"]) == text
    except UserError:
        return False


def stems(sources: Sequence[Path]) -> Iterator[str]:
    """A name for each photograph's files: its own, with a number where several share it."""
    taken: set[str] = set()
    for source in sources:
        stem, number = source.stem, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{source.stem}-{number}"
        taken.add(stem.lower())
        yield stem


def _looks_like_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
