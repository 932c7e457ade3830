"""Masks against masks: intersection over union, F1, precision, recall and accuracy of two-class segmentations.

All numbers are fractions in [0, 1] and follow from four counts of pixels. Foreground and background are
treated as two classes of equal rank: F1, precision and recall are means over both.

A class that neither the prediction nor the truth contains is in full agreement and counts 1; a ratio whose
denominator is 0 although the other mask does contain the class counts 0. So an empty mask that was predicted
empty has every number at 1, and an empty mask that was predicted full has every number at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..bundles.files import open_plain
from ..errors import UserError
from ..images import with_white
from ..picture_files import endings


@dataclass(frozen=True)
class MaskMetrics:
    """Agreement of a predicted mask with the true one, as fractions in [0, 1]."""

    iou_foreground: float
    iou_background: float
    mean_iou: float
    f1: float
    precision: float
    recall: float
    accuracy: float

    @classmethod
    def of(cls, counts: np.ndarray) -> MaskMetrics:
        """From what `count_pixels` counts."""
        hits, false_alarms, misses, rest = counts.tolist()
        ious, *both = zip(
            _class_metrics(hits, false_alarms, misses), _class_metrics(rest, misses, false_alarms), strict=True
        )
        total = hits + false_alarms + misses + rest
        accuracy = (hits + rest) / total if total else 1.0
        return cls(*ious, *(sum(pair) / 2 for pair in (ious, *both)), accuracy)


def _class_metrics(hits: int, false_alarms: int, misses: int) -> list[float]:
    """IoU, F1, precision and recall of one class."""
    wrong = false_alarms + misses
    empty = 0.0 if wrong else 1.0
    pairs = ((hits, hits + wrong), (2 * hits, 2 * hits + wrong), (hits, hits + false_alarms), (hits, hits + misses))
    return [numerator / denominator if denominator else empty for numerator, denominator in pairs]


def count_pixels(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """True and false positives, false and true negatives of two boolean masks of one shape: int64 [4].

    Counts of several pictures add up to the counts of their pooled pixels.
    """
    pairs = ((predicted, truth), (predicted, ~truth), (~predicted, truth), (~predicted, ~truth))
    return np.array([np.count_nonzero(one & other) for one, other in pairs])


def compare_masks(predicted: np.ndarray, truth: np.ndarray) -> MaskMetrics:
    """Metrics of the pooled pixels of two masks of one shape, boolean or floats in [0, 1]; foreground is from .5 on."""
    return MaskMetrics.of(count_pixels(predicted >= 0.5, truth >= 0.5))


@dataclass(frozen=True)
class FolderComparison:
    threshold: float
    pooled: MaskMetrics  # of all pixels together
    per_image: dict[str, MaskMetrics]  # by file stem
    left_out: dict[str, str] = field(default_factory=dict)  # pairs that could not be compared, each with the reason

    def as_dict(self) -> dict[str, object]:
        return {"images": len(self.per_image), **asdict(self)}

    def as_text(self) -> str:
        """A table with a line for each picture and one for all pixels together."""
        rows = [row_of(*item) for item in (*self.per_image.items(), ("all pixels", self.pooled))]
        return f"{table(METRICS, rows)}\n{len(self.per_image)} pictures, foreground from {self.threshold:g}."


METRICS = ("IoU object", "IoU backgr.", "mean IoU", "F1", "precision", "recall", "accuracy")


def table(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], markdown: bool = False) -> str:
    """A line for each label and its values, below the headings: of a terminal, or in Markdown."""
    if markdown:
        lines = [(" ", headings), ("---", ["---"] * len(headings)), *rows]
        return "\n".join("|".join(["", label, *values, ""]) for label, values in lines)
    width, column = max(len(label) for label, _ in rows), max(map(len, headings)) + 2
    lines = [("", headings), *rows]
    return "\n".join(f"{label:<{width}}" + "".join(f"{value:>{column}}" for value in values) for label, values in lines)


def report_text(name: str, introduction: str, values: str, sentences: Sequence[str], markdown: bool) -> str:
    """A report on the class of that name for a terminal, or with an introduction as a section of a model card."""
    if not markdown:
        return "\n".join([name, values, *sentences])
    return "\n".join([introduction, "", values, "", *(f"- {sentence}" for sentence in sentences)]) + "\n"


def row_of(label: str, metrics: MaskMetrics, digits: int = 4) -> tuple[str, list[str]]:
    return label, [f"{value:.{digits}f}" for value in astuple(metrics)]


def compare_folders(predicted: Path, truth: Path, threshold: float = 0.5) -> FolderComparison:
    """Compares the masks of two folders, paired by file name without its ending.

    A pixel is foreground where its value (see `read_mask`) is at least `threshold`, in (0, 1]. A folder in which no
    value exceeds 1 of 255 holds class labels 0 and 1, and 1 is its foreground. A pair that cannot be read or differs in
    size is left out. UserError: a folder or a partner is missing, two files share a name, or every pair is left out.
    """
    if not (math.isfinite(threshold) and 0 < threshold <= 1):
        raise UserError(f"The threshold must be above 0 and at most 1, not {threshold:g}.")
    predicted_files, true_files = _mask_files(predicted), _mask_files(truth)
    lonely = sorted(set(predicted_files) ^ set(true_files))
    if lonely:
        here, there = (predicted, truth) if lonely[0] in predicted_files else (truth, predicted)
        more = f" (and {len(lonely) - 1} more such)" if len(lonely) > 1 else ""
        raise UserError(f"The mask '{lonely[0]}' in {here} has no partner of that name in {there}{more}.")
    scales = [_label_scale(files.values()) for files in (predicted_files, true_files)]
    counts, left_out = {}, {}
    for name in sorted(predicted_files):
        try:
            guess, target = read_mask(predicted_files[name]) * scales[0], read_mask(true_files[name]) * scales[1]
            if guess.shape != target.shape:
                sizes = [f"{mask.shape[1]}x{mask.shape[0]}" for mask in (guess, target)]
                raise UserError(
                    f"The masks '{name}' differ in size: {sizes[0]} in {predicted} and {sizes[1]} in {truth}; resize "
                    "one of them first."
                )
        except UserError as error:
            left_out[name] = str(error)
            continue
        counts[name] = count_pixels(guess >= threshold, target >= threshold)
    if not counts:
        raise UserError(next(iter(left_out.values())))
    return FolderComparison(
        left_out=left_out,
        threshold=threshold,
        pooled=MaskMetrics.of(sum(counts.values())),
        per_image={name: MaskMetrics.of(count) for name, count in counts.items()},
    )


def read_mask(path: Path) -> np.ndarray:
    """Reads a mask picture as float32 [H, W] in [0, 1].

    Greyscale of 1, 8 or 16 bits is read as it is, of 32 bits as `images.load_picture` reads it. Where a transparency
    channel says something (it is not opaque everywhere), it is the mask: a cut-out is read as its shape. Of other
    colour or palette pictures the brightest channel counts, so that any strong colour on black is foreground.
    """
    try:
        with open_plain(path) as file, Image.open(file) as picture:
            picture.load()
            return _mask_values(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"The mask {path} can't be read as a picture ({error}); replace it.") from error


def _mask_values(picture: Image.Image) -> np.ndarray:
    if picture.mode == "F":
        return np.nan_to_num(np.asarray(picture, dtype=np.float32), nan=0.0).clip(0, 1)
    if picture.mode.startswith("I"):
        values, white = np.asarray(picture).astype(np.float32).clip(0, 65535), 65535.0
        if picture.format not in ("PNG", "PPM"):  # which say what is white, however faint a mask is
            values, white = with_white(values, picture.mode, picture.format)
        return (values / white).clip(0, 1)
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"), dtype=np.float32) / 255
    colours = np.asarray(picture.convert("RGBA"))
    transparency = colours[..., 3]
    values = transparency if transparency.min() < 255 else colours[..., :3].max(axis=2)
    return values.astype(np.float32) / 255


def _mask_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; name a folder of mask pictures.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in endings() or not path.is_file():
            continue
        if path.stem in files:
            raise UserError(
                f"{files[path.stem].name} and {path.name} in {folder} share the name '{path.stem}'; "
                "masks are paired by name, so keep one of them."
            )
        files[path.stem] = path
    if not files:
        raise UserError(f"The folder {folder} holds no mask pictures; put PNG files there.")
    return files


def _label_scale(paths: Sequence[Path]) -> float:
    """255 for a folder of class labels 0 and 1, otherwise 1. Mostly the first file already settles it."""
    for path in paths:
        with suppress(UserError):  # it is left out
            if read_mask(path).max() > 1 / 255 + 1e-6:
                return 1.0
    return 255.0
