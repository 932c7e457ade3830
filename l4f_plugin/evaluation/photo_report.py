"""What the evaluation of photographs found, as text for a person and Markdown for a model card."""

from __future__ import annotations

from .photos import PhotoMetrics, PhotoReport

COLUMNS = ("mean IoU", "IoU object", "alpha error", "edge error, plain", "cleaned", "halo removed")


def photo_text(report: PhotoReport) -> str:
    """The report for a terminal."""
    rows = _rows(report)
    width = max(len(label) for label, _ in rows)
    lines = [" " * width + "".join(f"{column:>19}" for column in COLUMNS)]
    lines += [f"{label:<{width}}" + "".join(f"{value:>19}" for value in _values(metrics)) for label, metrics in rows]
    return "\n".join([report.class_name, *lines, *_sentences(report)])


def photo_markdown(report: PhotoReport) -> str:
    """The report as a section of a model card."""
    lines = ["|".join(["", " ", *COLUMNS, ""]), "|".join(["", *["---"] * (len(COLUMNS) + 1), ""])]
    lines += ["|".join(["", label, *_values(metrics), ""]) for label, metrics in _rows(report)]
    introduction = (
        f"Photographs are segmented by a student that has seen nothing but pictures and masks of this class. On "
        f"{report.pictures:,} held-out pictures with exact masks, which no training saw:"
    )
    return "\n".join([introduction, "", *lines, "", *(f"- {sentence}" for sentence in _sentences(report))]) + "\n"


def _rows(report: PhotoReport) -> list[tuple[str, PhotoMetrics]]:
    rows = [(f"student, {report.pictures} pictures", report.student)]
    return rows + ([("trained on true masks", report.ceiling)] if report.ceiling else [])


def _values(metrics: PhotoMetrics) -> list[str]:
    return [
        f"{metrics.masks.mean_iou:.4f}",
        f"{metrics.masks.iou_foreground:.4f}",
        f"{metrics.alpha_error:.4f}",
        f"{metrics.plain_exact:.4f}",
        f"{metrics.cleaned_exact:.4f}",
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
    if report.ceiling and report.class_masks:
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
