"""The segmentation of photographs, measured on labelled pictures that no training saw: masks, edges and colours.

Where a new background is put behind a subject, its edge should look as if it had been photographed there. How far
it does not is measured against what the exact mask and the subject's own colours would give.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .. import compositing, matting
from ..bundles.config import ObjectClass
from ..errors import UserError
from ..images import sheet_of
from ..jobs import Progress, Report, unseen
from ..networks import Student, StudentConfig
from ..photos import coarse_alpha
from ..pipeline import Labels4FreePipeline
from ..training.cut_pictures import labelled_pictures
from ..training.loop import Watch, train_steps
from ..training.student import StudentSettings, StudentTrainer
from ..training.updates import fastest_dtype
from .class_evaluation import draw
from .judge import JudgeSettings, judge_masks, load_or_train_judge
from .labelled import LabelledPictures, fingerprint, load_split
from .mask_metrics import MaskMetrics, compare_masks, report_text, table

BAND = 3  # pixels on either side of the edge
OPAQUE = 0.995
FILL_ROUNDS = 8  # pixels that the subject's colours are carried into its soft edge
WORST = 10
JUDGED_PICTURES = 300
JUDGED_PSI = 1.0
COLUMNS = ("mean IoU", "IoU object", "alpha error", "edge error, plain", "cleaned", "halo removed")


@dataclass(frozen=True)
class PhotoMetrics:
    """A student on labelled pictures.

    The last four are mean absolute differences of colour, in [0, 1], in the band of 3 pixels around the edge once the
    subject stands before another background: with plain alpha blending and with cleaned colours, by the exact masks and
    by the student's.
    """

    masks: MaskMetrics  # of pixels from .5 on, of mask and truth
    alpha_error: float  # mean absolute difference of the soft masks
    plain_exact: float
    cleaned_exact: float
    plain_found: float
    cleaned_found: float

    @property
    def halo_removed(self) -> float:
        """The share of plain blending's error that cleaned colours take away, by the exact masks."""
        return 1 - self.cleaned_exact / self.plain_exact if self.plain_exact else 0.0


@dataclass(frozen=True)
class PhotoReport:
    """The student of a class on held-out pictures, and, where they were measured, what limits it."""

    class_name: str
    pictures: int
    student: PhotoMetrics
    worst: list[int]  # numbers of the pictures with the lowest IoU
    ceiling: PhotoMetrics | None = None  # of the same student, trained on true masks of real pictures
    class_masks: MaskMetrics | None = None  # the class's own, of generated pictures, against a supervised judge
    left_out: tuple[str, ...] = ()  # sentences about pictures that could not be measured on

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "halo_removed": self.student.halo_removed}


def find_masks(
    student: Student, config: ObjectClass, pictures: np.ndarray, device: torch.device, progress: Progress = unseen
) -> np.ndarray:
    """Masks float32 `[N, H, W]` of pictures uint8 `[N, H, W, 3]`, as `segment_photo` finds them with all pieces."""
    found = np.empty(pictures.shape[:3], np.float32)
    for number, picture in enumerate(pictures):
        found[number] = matting.corrected(picture, coarse_alpha(student, config, picture, device))
        progress(number + 1, len(pictures), f"{number + 1} of {len(pictures)} pictures segmented")
    return found


def measure_photos(found: np.ndarray, data: LabelledPictures) -> PhotoMetrics:
    """Compares masks float32 `[N, H, W]` with the truth, and what they do to edges before another background."""
    truth = data.masks.astype(np.float32) / 255
    errors = np.zeros(5)
    for number, (picture, exact) in enumerate(zip(data.pictures, truth, strict=True)):
        other = (number + 1) % len(data)
        behind = compositing.to_float(matting.blurred_behind(data.pictures[other], truth[other], 0))
        errors += _edge_errors(picture, exact, found[number], behind)
    edges = errors[:4] / max(errors[4], 1)
    return PhotoMetrics(compare_masks(found, truth), float(np.abs(found - truth).mean()), *edges.tolist())


def evaluate_photos(
    pipeline: Labels4FreePipeline,
    dataset: Path,
    *,
    settings: StudentSettings,
    pictures: int | None = None,
    limits_folder: Path | None = None,
    report: Report = print,
    progress: Progress = unseen,
) -> tuple[PhotoReport, Image.Image]:
    """Measures a class's student on the test split of `dataset` (laid out as `labelled.py` says).

    `pictures` as many at even distances, None takes all. `limits_folder` is where the ceiling's training and the judge
    are kept, which are then made or taken from there; None leaves out what limits the student. `settings` are of the
    ceiling's training, see `limit_settings`.

    Returns the report and a sheet of the worst: picture, mask found, true mask. Raises `UserError`.
    """
    student = pipeline.bundle.student
    if student is None:
        raise UserError(f"{pipeline.config.title} has no photo segmenter yet; see `l4f learn-photographs`.")
    side = pipeline.resolution
    data = load_split(dataset, "test", side, limit=pictures)
    found = find_masks(student, pipeline.config, data.pictures, pipeline.device, progress)
    pairs = zip(found, data.masks, strict=True)
    overlaps = [compare_masks(mask, truth >= 128).mean_iou for mask, truth in pairs]
    worst = np.argsort(overlaps, kind="stable")[:WORST].tolist()
    result = PhotoReport(pipeline.config.name, len(data), measure_photos(found, data), worst, left_out=data.left_out)
    if limits_folder is not None:
        ceiling = ceiling_student(dataset, limits_folder, settings, pipeline.device, report)
        seen = find_masks(ceiling, pipeline.config, data.pictures, pipeline.device, progress)
        judge_settings = JudgeSettings(resolution=side)
        judge = load_or_train_judge(dataset, judge_settings, 0, limits_folder, pipeline.device, progress=progress)
        generated, alphas = draw(pipeline, JUDGED_PICTURES, JUDGED_PSI, progress)
        masks = compare_masks(alphas, judge_masks(judge, generated))
        result = replace(result, ceiling=measure_photos(seen, data), class_masks=masks)
    shown = ((data.pictures[row], compositing.to_bytes(found[row]), data.masks[row]) for row in worst)
    return result, sheet_of([Image.fromarray(part) for parts in shown for part in parts], 6)  # two pictures a row


def limit_settings(pipeline: Labels4FreePipeline, steps: int) -> StudentSettings:
    """Those of the training that gives the class's student its ceiling: a network of the same size."""
    config = pipeline.bundle.student.config if pipeline.bundle.student else StudentConfig()
    dtype = fastest_dtype(pipeline.device)
    return StudentSettings(resolution=config.resolution, channels=config.channels, steps=steps, feature_dtype=dtype)


def ceiling_student(
    dataset: Path, folder: Path, settings: StudentSettings, device: torch.device, report: Report
) -> Student:
    """The student trained on true masks of the train split, or taken from `folder` where it was trained before.

    Raises `UserError` where the training is stopped; it goes on from there.
    """
    digest = fingerprint(dataset)
    settings = replace(settings, masks_sha256=digest)
    data = load_split(dataset, "train", settings.resolution, limit=settings.pictures)
    report("Training the same student on true masks, as its ceiling.")
    trainer = StudentTrainer(settings, labelled_pictures(data.pictures, data.masks), device)
    if not train_steps(trainer, folder / f"ceiling-{digest[:12]}-{settings.steps}", Watch(report)):
        raise UserError("The ceiling's training was stopped; the same command goes on from there.")
    return trainer.student()


def _edge_errors(picture: np.ndarray, exact: np.ndarray, found: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Sums of the four errors of `PhotoMetrics` over the band, and its pixels."""
    own = true_colours(picture, exact)
    wanted = compositing.composite(own, behind, exact)
    hard = (exact >= 0.5).astype(np.float32)
    band = compositing.grow(hard, BAND) > compositing.grow(hard, -BAND)
    errors = []
    for alpha in (exact, found):
        for colours in (picture, matting.clean_colours(picture, alpha)):
            seen = compositing.composite(compositing.to_float(colours), behind, alpha)
            errors.append(np.abs(seen - wanted).mean(axis=2)[band].sum())
    return np.array([*errors, band.sum()])


def true_colours(picture: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The subject's own colours float32 `[H, W, 3]`: along the soft edge those of the nearest opaque pixels.

    Another way than the one that is measured, and next to exact for drawings, whose colours are flat.
    """
    colours = np.moveaxis(compositing.to_float(picture), 2, 0).copy()
    known = exact >= OPAQUE
    for _ in range(FILL_ROUNDS):
        *total, count = matting.box_mean(np.stack([*colours * known, known]), 1)
        fresh = ~known & (count > 0)
        colours[:, fresh] = np.stack(total)[:, fresh] / count[fresh]
        known |= fresh
    return np.moveaxis(colours, 0, 2)


def photo_text(report: PhotoReport, markdown: bool = False) -> str:
    """The report for a terminal, or as a section of a model card."""
    rows = [(f"student, {report.pictures} pictures", _values(report.student))]
    if report.ceiling:
        rows.append(("trained on true masks", _values(report.ceiling)))
    introduction = (
        f"Photographs are segmented by a student that has seen nothing but pictures and masks of this class. On "
        f"{report.pictures:,} held-out pictures with exact masks, which no training saw:"
    )
    return report_text(report.class_name, introduction, table(COLUMNS, rows, markdown), _sentences(report), markdown)


def _values(metrics: PhotoMetrics) -> list[str]:
    masks = metrics.masks
    errors = (metrics.alpha_error, metrics.plain_exact, metrics.cleaned_exact)
    return [
        *(f"{value:.4f}" for value in (masks.mean_iou, masks.iou_foreground, *errors)),
        f"{metrics.halo_removed:.0%}",
    ]


def _sentences(report: PhotoReport) -> list[str]:
    student = report.student
    sentences = [
        "Edge errors are mean absolute differences of colour within 3 pixels of the edge, before another background, "
        f"by the exact masks; by the masks that were found they are {student.plain_found:.4f} with plain blending and "
        f"{student.cleaned_found:.4f} with cleaned colours.",
        f"The ten worst are the pictures {', '.join(map(str, report.worst))} of the test split.",
    ]
    if report.ceiling:
        missing, own = 1 - student.masks.mean_iou, 1 - report.ceiling.masks.mean_iou
        masks = 1 - report.class_masks.mean_iou
        rest = max(missing - own - masks, 0)
        sentences.append(
            f"Of the {missing:.3f} that the mean IoU lacks, {own:.3f} is the student's own, which it lacks after "
            f"training on true masks too; up to {masks:.3f} the alpha network's, whose masks of generated pictures "
            f"differ by that from a judge's; the remaining {rest:.3f} is the generator's, whose pictures are not yet "
            "like the real ones."
        )
    return sentences
