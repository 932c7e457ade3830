"""What an evaluation found, as text for a person, JSON for a program and Markdown for a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from .masks import FolderComparison, MaskMetrics

HEADINGS = {
    "iou_foreground": "IoU object",
    "iou_background": "IoU backgr.",
    "mean_iou": "mean IoU",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
}


@dataclass(frozen=True)
class AlphaReport:
    """A mask network on generated pictures.

    against_judge: its thresholded masks, taking the first judge's for the truth
    judges_agree: the second judge's masks, taking the first judge's for the truth; None with one judge
    mask_area: mean alpha; judge_mask_area: fraction of pixels that the first judge calls foreground
    edge_softness: fraction of pixels with alpha in (.05, .95)
    """

    pictures: int
    threshold: float
    against_judge: MaskMetrics
    judges_agree: MaskMetrics | None
    mask_area: float
    judge_mask_area: float
    edge_softness: float

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class ClassReport:
    """An object class against judges that were trained on its labelled pictures.

    held_out: each judge on `held_out_pictures` labelled pictures of the test split
    alpha, frechet_distances: by truncation psi; the latter between `frechet_pictures` generated and as many
    real
        pictures in the first judge's features, and frechet_real between two disjoint sets of real ones of
        that size
    left_out: sentences about labelled pictures that could not be used
    """

    class_name: str
    resolution: int
    held_out_pictures: int
    held_out: Sequence[MaskMetrics]
    alpha: dict[float, AlphaReport]
    frechet_pictures: int
    frechet_distances: dict[float, float]
    frechet_real: float
    left_out: Sequence[str] = ()

    def as_dict(self) -> dict[str, object]:
        """Plain dictionaries, lists, text and numbers; truncation psi becomes a key such as "0.7"."""
        return {
            "class": self.class_name,
            "resolution": self.resolution,
            "judges": {
                "held_out_pictures": self.held_out_pictures,
                "held_out": [metrics.as_dict() for metrics in self.held_out],
                "left_out": list(self.left_out),
            },
            "truncation_psi": {f"{psi:g}": report.as_dict() for psi, report in self.alpha.items()},
            "frechet": {
                "pictures": self.frechet_pictures,
                "generated_against_real": {f"{psi:g}": value for psi, value in self.frechet_distances.items()},
                "real_against_real": self.frechet_real,
            },
        }


def folder_text(comparison: FolderComparison) -> str:
    """A table with a line for each picture and one for all pixels together."""
    rows = [(name, metrics) for name, metrics in comparison.per_image.items()]
    rows.append(("all pixels", comparison.pooled))
    count = len(comparison.per_image)
    return _text_table("picture", rows) + f"\n{count} pictures, foreground from {comparison.threshold:g}."


def class_text(report: ClassReport) -> str:
    """The report of an object class for a terminal."""
    notes = [
        f"Judged at {report.resolution}x{report.resolution} by two supervised networks of different seeds; "
        f"masks count as object from {_threshold(report):g}.",
        *_sentences(report),
    ]
    return f"{report.class_name}\n{_text_table('', _rows(report))}\n" + "\n".join(notes)


def class_markdown(report: ClassReport) -> str:
    """The report of an object class as a section of a model card."""
    rows = [[label, *(f"{value:.3f}" for value in metrics.as_dict().values())] for label, metrics in _rows(report)]
    lines = ["|".join(["", *cells, ""]) for cells in ([" "] + list(HEADINGS.values()), ["---"] * 8, *rows)]
    introduction = (
        "Generated pictures have no true masks. A U-Net trained on labelled pictures of the class, which took no part "
        f"in training the masks, judges them; masks count as object from {_threshold(report):g}. A second judge, "
        "trained from another seed, shows what agreement can be expected."
    )
    return "\n".join([introduction, "", *lines, "", *(f"- {sentence}" for sentence in _sentences(report))]) + "\n"


def _rows(report: ClassReport) -> list[tuple[str, MaskMetrics]]:
    rows = [
        (f"judge {number} on {report.held_out_pictures} held-out pictures", metrics)
        for number, metrics in enumerate(report.held_out, start=1)
    ]
    for psi, alpha in report.alpha.items():
        rows.append((f"masks, {alpha.pictures} pictures, psi {psi:g}", alpha.against_judge))
        if alpha.judges_agree is not None:
            rows.append((f"second judge, the same pictures, psi {psi:g}", alpha.judges_agree))
    return rows


def _sentences(report: ClassReport) -> list[str]:
    sentences = [
        f"psi {psi:g}: masks cover {alpha.mask_area:.1%} of the picture (judge: {alpha.judge_mask_area:.1%}), "
        f"{alpha.edge_softness:.1%} of the pixels are soft (alpha between .05 and .95)."
        for psi, alpha in report.alpha.items()
    ]
    distances = ", ".join(f"{value:.3f} at psi {psi:g}" for psi, value in report.frechet_distances.items())
    sentences.append(
        f"Frechet distance to {report.frechet_pictures} real pictures in the judge's features: {distances}; "
        f"between two sets of real pictures {report.frechet_real:.3f}."
    )
    return sentences


def _threshold(report: ClassReport) -> float:
    return next(iter(report.alpha.values())).threshold


def _text_table(corner: str, rows: Sequence[tuple[str, MaskMetrics]]) -> str:
    width = max(len(corner), *(len(label) for label, _ in rows))
    lines = [f"{corner:<{width}}" + "".join(f"{heading:>13}" for heading in HEADINGS.values())]
    for label, metrics in rows:
        lines.append(f"{label:<{width}}" + "".join(f"{value:>13.4f}" for value in metrics.as_dict().values()))
    return "\n".join(lines)
