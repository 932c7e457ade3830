"""An object class measured by judges: its masks, how soft they are, and how near its pictures come to real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..jobs import Progress, unseen
from ..networks import UNet
from ..pipeline import Labels4FreePipeline
from ..subject import no_masks
from .frechet import frechet_distance
from .judge import JudgeSettings, judge_features, judge_masks, load_or_train_judge
from .labelled import load_split
from .mask_metrics import METRICS, MaskMetrics, compare_masks, report_text, row_of, table

JUDGE_SEEDS = (0, 1)
TRUNCATION_PSIS = (1.0, 0.7)
SOFT = (0.05, 0.95)
FEWEST_PICTURES = 2
BATCH_SIZE = 8


@dataclass(frozen=True)
class AlphaReport:
    """A mask network on generated pictures, by masks of the first judge, which are taken for the truth."""

    pictures: int
    threshold: float
    against_judge: MaskMetrics  # of its masks from `threshold` on
    judges_agree: MaskMetrics | None  # of the second judge's masks; None with one judge
    mask_area: float  # mean alpha
    judge_mask_area: float  # fraction of pixels that the first judge calls foreground
    edge_softness: float  # fraction of pixels with alpha in (.05, .95)


@dataclass(frozen=True)
class ClassReport:
    """An object class against judges that were trained on its labelled pictures."""

    class_name: str
    resolution: int
    held_out_pictures: int  # labelled, of the test split
    held_out: Sequence[MaskMetrics]  # of each judge, on those
    alpha: dict[float, AlphaReport]  # by truncation psi
    frechet_pictures: int  # as many generated as real ones, compared in the first judge's features
    frechet_distances: dict[float, float]  # by truncation psi
    frechet_real: float  # between two disjoint sets of real ones of that size
    left_out: Sequence[str] = ()  # sentences about labelled pictures that could not be used

    def as_dict(self) -> dict[str, object]:
        """Plain dictionaries, lists, text and numbers; truncation psi becomes a key such as "0.7"."""
        return {
            "class": self.class_name,
            "resolution": self.resolution,
            "judges": {
                "held_out_pictures": self.held_out_pictures,
                "held_out": [asdict(metrics) for metrics in self.held_out],
                "left_out": list(self.left_out),
            },
            "truncation_psi": {f"{psi:g}": asdict(report) for psi, report in self.alpha.items()},
            "frechet": {
                "pictures": self.frechet_pictures,
                "generated_against_real": {f"{psi:g}": value for psi, value in self.frechet_distances.items()},
                "real_against_real": self.frechet_real,
            },
        }


def evaluate_alpha(pictures: np.ndarray, alphas: np.ndarray, judges: Sequence[UNet], threshold: float) -> AlphaReport:
    """Measures masks of pictures by one or two judges.

    pictures: uint8 [N, H, W, 3] at the judges' resolution; alphas: float [N, H, W] in [0, 1], foreground from
    `threshold`.
    """
    verdicts = [judge_masks(judge, pictures) >= 0.5 for judge in judges]
    return AlphaReport(
        pictures=len(pictures),
        threshold=threshold,
        against_judge=compare_masks(alphas >= threshold, verdicts[0]),
        judges_agree=compare_masks(verdicts[1], verdicts[0]) if len(verdicts) > 1 else None,
        mask_area=float(alphas.mean()),
        judge_mask_area=float(verdicts[0].mean()),
        edge_softness=float(((alphas > SOFT[0]) & (alphas < SOFT[1])).mean()),
    )


def evaluate_class(
    pipeline: Labels4FreePipeline, dataset: Path, judge_folder: Path, pictures: int = 1000, progress: Progress = unseen
) -> ClassReport:
    """Judges a class whose labelled pictures lie in `dataset` (laid out as `labelled.py` says).

    Two judges are trained, or read from `judge_folder` where an earlier call left them. Seeds 0 to `pictures`
    - 1 are drawn at psi 1.0 and 0.7. Frechet distances compare as many generated as real pictures: half of
    the validation and test splits together at most, so that two disjoint sets of real pictures can be
    compared too.

    UserError: the class has no masks or draws no squares, the data set is missing or too small.
    """
    name, settings = pipeline.config.name, JudgeSettings(resolution=pipeline.resolution)
    if pipeline.bundle.alpha is None:
        raise no_masks(name)
    width, height = pipeline.picture_size
    if width != height:
        raise UserError(f"The class {name} draws {width}x{height}, but only square classes can be judged.")
    held_out = load_split(dataset, "test", settings.resolution)
    truth = held_out.masks.astype(np.float32) / 255
    validation = load_split(dataset, "validation", settings.resolution)
    real = np.concatenate([validation.pictures, held_out.pictures])
    judges = [
        load_or_train_judge(dataset, settings, seed, judge_folder, pipeline.device, progress=progress)
        for seed in JUDGE_SEEDS
    ]
    compared = min(pictures, len(real) // 2)
    if compared < FEWEST_PICTURES:
        raise UserError(f"{dataset} holds {len(real)} held-out pictures, which is too few; make more of them.")
    # Each set takes every other picture, so that both come from validation and test alike.
    real_features = judge_features(judges[0], real[np.linspace(0, len(real) - 1, 2 * compared).astype(int)])
    real_features, other_features = real_features[0::2], real_features[1::2]
    alpha, distances = {}, {}
    for psi in TRUNCATION_PSIS:
        generated, alphas = draw(pipeline, pictures, psi, progress)
        alpha[psi] = evaluate_alpha(generated, alphas, judges, pipeline.config.alpha_threshold)
        features = judge_features(judges[0], generated[:compared])
        distances[psi] = frechet_distance(features, real_features)
    return ClassReport(
        class_name=name,
        resolution=settings.resolution,
        held_out_pictures=len(held_out),
        left_out=validation.left_out + held_out.left_out,
        held_out=[compare_masks(judge_masks(judge, held_out.pictures), truth) for judge in judges],
        alpha=alpha,
        frechet_pictures=compared,
        frechet_distances=distances,
        frechet_real=frechet_distance(other_features, real_features),
    )


def draw(
    pipeline: Labels4FreePipeline, pictures: int, truncation_psi: float, progress: Progress = unseen
) -> tuple[np.ndarray, np.ndarray]:
    """Seeds 0 to `pictures` - 1: pictures uint8 [N, H, W, 3] and masks float32 [N, H, W]."""
    samples = pipeline.generate(
        range(pictures), truncation_psi=truncation_psi, batch_size=BATCH_SIZE, with_background=False, progress=progress
    )
    return np.stack([sample.image for sample in samples]), np.stack([sample.alpha for sample in samples])


def class_text(report: ClassReport, markdown: bool = False) -> str:
    """The report of an object class for a terminal, or as a section of a model card."""
    threshold = next(iter(report.alpha.values())).threshold
    rows = [
        (f"judge {number} on {report.held_out_pictures} held-out pictures", metrics)
        for number, metrics in enumerate(report.held_out, start=1)
    ]
    for psi, alpha in report.alpha.items():
        rows.append((f"masks, {alpha.pictures} pictures, psi {psi:g}", alpha.against_judge))
        rows.append((f"second judge, the same pictures, psi {psi:g}", alpha.judges_agree))
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
    values = table(METRICS, [row_of(*row, digits=3 if markdown else 4) for row in rows], markdown)
    if not markdown:
        judged = (
            f"Judged at {report.resolution}x{report.resolution} by two supervised networks of different seeds; masks "
            f"count as object from {threshold:g}."
        )
        sentences.insert(0, judged)
    introduction = (
        "Generated pictures have no true masks. A U-Net trained on labelled pictures of the class, which took no part "
        f"in training the masks, judges them; masks count as object from {threshold:g}. A second judge, trained from "
        "another seed, shows what agreement can be expected."
    )
    return report_text(report.class_name, introduction, values, sentences, markdown)
