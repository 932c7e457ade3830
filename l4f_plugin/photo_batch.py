"""Many photographs, one after another: files in, files out, and what was done is not done again."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .arguments import Background, Canvas, EdgeOptions
from .bundles.files import DiskFull, write_atomically
from .compositing import mask_box
from .errors import UserError
from .images import first_frame_only, frames, parse_infotext, read_infotext, timing_of
from .jobs import NEVER, CancelToken, Progress, unseen
from .picture_files import PictureFile, PictureSet
from .provenance import ARCHIVE_COMMENT, free_stem, left_alone
from .subject import ENDINGS, endings, placed_fields, remarks, write_parts

if TYPE_CHECKING:  # what brings torch is imported where it is used, so that mistakes are told at once
    from .pipeline import Labels4FreePipeline

CONFIDENCE, DROPPED, ALONG_EDGE = "Confidence", "Dropped pieces", "Along an edge"  # fields of the infotext


@dataclass(frozen=True)
class PhotoResult:
    source: Path  # its file, or the archive it is in
    files: dict[str, Path] = field(default_factory=dict)  # by mask, cutout and, where one was wanted, composite
    problem: str | None = None  # a sentence, in place of the files
    kept: bool = False  # the files were there already
    name: str = ""  # what it is called in its source
    notes: tuple[str, ...] = ()  # sentences about what a person would not expect
    confidence: float | None = None  # the subject's, the least of an animation's; None where it is not known
    dropped: int = 0  # pieces of the mask that were left out, the most of an animation's
    along_edge: bool = False  # whether the mask, or one of an animation's, runs along an edge of the picture


def segment_photos(
    pipeline: Labels4FreePipeline,
    sources: PictureSet | Sequence[Path],
    folder: Path,
    background: Background | None = None,
    edge: EdgeOptions | None = None,
    canvas: Canvas | None = None,
    *,
    jpeg: bool = False,
    again: bool = False,
    progress: Progress = unseen,
    cancel: CancelToken = NEVER,
) -> Iterator[PhotoResult]:
    """Writes mask, cut-out and, with a `background`, composite of each photograph; a result each, in order.

    They have the photograph's size, or with a `canvas` that of the canvas. Without an `edge` the largest piece of each
    mask is kept, and nothing else is done to it. All are PNGs; with `jpeg` composites are not, which wants an opaque
    background and photographs that do not move.
    Of an animation all frames are done, and the results move as it does; of several pages the first. Files that this
    program did not write are left alone: results that would be called so get a number. Photographs whose files are
    there already, made from the same file with the same class and options, are passed over unless `again`. One that
    cannot be read is told in its result and the others go on. `cancel` is looked at before each. Raises `UserError` for
    what concerns all: a class without a photo segmenter, a full disk; `Cancelled`.
    """
    edge, taken = edge or EdgeOptions(keep_largest=True), set()
    kinds = ["mask", "cutout"] + ([] if background is None else ["composite"])
    ends = endings(kinds, jpeg)
    wanted = background or Background.parse("transparent")
    for number, source in enumerate(sources):
        cancel.check()
        picture = source if isinstance(source, PictureFile) else PictureFile.of(Path(source))
        stem = free_stem(folder, picture.stem, [*ends.values()], taken)
        note = left_alone(folder, picture.stem, [*ends.values()], stem)
        files = {kind: folder / f"{stem}{end}" for kind, end in ends.items()}
        try:
            result = _segment_one(pipeline, picture, files, wanted, edge, canvas, again, cancel)
        except UserError as error:
            if pipeline.bundle.student is None or isinstance(error, DiskFull):
                raise
            result = PhotoResult(picture.path, problem=str(error), name=picture.name)
        yield replace(result, notes=(note, *result.notes)) if note and result.files else result
        progress(number + 1, len(sources), f"{number + 1} of {len(sources)} photographs")


def pack(results: Iterable[PhotoResult], path: Path) -> Path:
    """A ZIP of all files of the results, stored as they are because PNG is compressed already; in one step."""
    files = [file for result in results for file in result.files.values()]

    def write(target: Path) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = ARCHIVE_COMMENT
            for file in files:
                archive.write(file, file.name)

    write_atomically(path, write)
    return path


def _segment_one(
    pipeline: Labels4FreePipeline,
    picture: PictureFile,
    files: dict[str, Path],
    wanted: Background,
    edge: EdgeOptions,
    canvas: Canvas | None,
    again: bool,
    cancel: CancelToken,
) -> PhotoResult:
    from .photos import origin_of

    name, source = pipeline.config.name, picture.source()
    origin, fields, timing = origin_of(source, pipeline.config), placed_fields(wanted, edge, canvas), timing_of(source)
    jpeg = any(file.suffix == ".jpg" for file in files.values())
    if jpeg and timing:
        raise UserError(f"{picture.name} moves, which no JPEG does; segment it without JPEG.")
    notes = [None if timing else first_frame_only(source, picture.name)]
    told = None if again else _told_before(files, origin.infotext(name, **fields))
    kept = told is not None
    if not kept:
        subjects = [
            pipeline.segment_photo(frame, keep_largest=edge.keep_largest, cancel=cancel)
            for frame in ([source] if timing is None else frames(source, len(timing.durations)))
        ]
        if canvas is not None and timing is not None:  # what moves must not be fitted anew in each frame
            canvas = replace(canvas, around=mask_box(np.max([subject.alpha for subject in subjects], axis=0)))
        edits = vars(edge) | {"keep_largest": False}  # done by now
        placed = [pipeline.swap(one, wanted, **edits, where=canvas, cancel=cancel) for one in subjects]
        confidences = [subject.confidence for subject in subjects]
        confidence = min(confidences) if None not in confidences else None
        dropped = max(subject.dropped for subject in subjects)
        along_edge = any(subject.along_edge for subject in subjects)
        told = confidence, dropped, along_edge
        fields |= {} if confidence is None else {CONFIDENCE: f"{confidence:.2f}"}
        fields |= ({DROPPED: dropped} if dropped else {}) | ({ALONG_EDGE: True} if along_edge else {})
        parts = {kind: [getattr(one, "alpha" if kind == "mask" else kind) for one in placed] for kind in files}
        if not timing:
            parts = {kind: pictures[0] for kind, pictures in parts.items()}
        folder, stem = files["mask"].parent, files["mask"].name.removesuffix(ENDINGS["mask"])
        write_parts(folder, stem, parts, origin.infotext(name, **fields), timing, jpeg)
    notes += remarks(pipeline.config.title, *told)
    return PhotoResult(picture.path, files, None, kept, picture.name, tuple(filter(None, notes)), *told)


def _told_before(files: dict[str, Path], infotext: str) -> tuple[float | None, int, bool] | None:
    """Confidence, dropped pieces and whether along an edge; None unless all files exist and were made in that way."""
    try:
        text = read_infotext(files["mask"]) if all(path.is_file() for path in files.values()) else None
        fields = parse_infotext(text or "")
        confidence, dropped, along_edge = (fields.pop(name, None) for name in (CONFIDENCE, DROPPED, ALONG_EDGE))
        told = float(confidence) if confidence else None, int(dropped or 0), bool(along_edge)
    except (UserError, ValueError):  # a picture, or a text, that somebody has changed
        return None
    return told if fields == parse_infotext(infotext) else None
