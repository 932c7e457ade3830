"""An object class measured by judges: its masks, how soft they are, and how near its pictures come to real
ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..jobs import Progress
from .frechet import frechet_distance
from .judge import Judge, JudgeSettings, judge_features, judge_masks, judge_on, load_or_train_judge
from .labelled import join, load_split
from .masks import count_pixels
from .report import AlphaReport, ClassReport

if TYPE_CHECKING:
    from ..pipeline import Labels4FreePipeline

JUDGE_SEEDS = (0, 1)
TRUNCATION_PSIS = (1.0, 0.7)
SOFT = (0.05, 0.95)
FEWEST_PICTURES = 2
BATCH_SIZE = 8


def evaluate_alpha(
    pictures: np.ndarray, alphas: np.ndarray, judges: Sequence[Judge], threshold: float = 0.5
) -> AlphaReport:
    """Measures masks of pictures by one or two judges; `.as_dict()` of the result is plain data.

    pictures: uint8 [N, H, W, 3] at the judges' resolution; alphas: float [N, H, W] in [0, 1], foreground from
    `threshold`. ValueError where shapes disagree, values are not finite or there is no judge.
    """
    if alphas.shape != pictures.shape[:3]:
        raise ValueError(f"masks {list(alphas.shape)} don't belong to pictures {list(pictures.shape)}")
    if not np.isfinite(alphas).all():
        raise ValueError("the masks hold values that are not finite")
    if not judges:
        raise ValueError("there is no judge")
    verdicts = [judge_masks(judge, pictures) >= 0.5 for judge in judges[:2]]
    agreement = count_pixels(verdicts[1], verdicts[0]).metrics() if len(verdicts) > 1 else None
    return AlphaReport(
        pictures=len(pictures),
        threshold=threshold,
        against_judge=count_pixels(alphas >= threshold, verdicts[0]).metrics(),
        judges_agree=agreement,
        mask_area=float(alphas.mean()),
        judge_mask_area=float(verdicts[0].mean()),
        edge_softness=float(((alphas > SOFT[0]) & (alphas < SOFT[1])).mean()),
    )


def evaluate_class(
    pipeline: Labels4FreePipeline,
    dataset: Path,
    judge_folder: Path,
    pictures: int = 1000,
    settings: JudgeSettings | None = None,
    progress: Progress | None = None,
) -> ClassReport:
    """Judges a class whose labelled pictures lie in `dataset` (laid out as `labelled.py` says).

    Two judges are trained, or read from `judge_folder` where an earlier call left them. Seeds 0 to `pictures`
    - 1 are drawn at psi 1.0 and 0.7. Frechet distances compare as many generated as real pictures: half of
    the validation and test splits together at most, so that two disjoint sets of real pictures can be
    compared too.

    UserError: the class has no masks or draws no squares, the data set is missing or too small.
    """
    settings = settings or JudgeSettings(resolution=pipeline.resolution)
    _check(pipeline, settings)
    held_out = load_split(dataset, "test", settings.resolution)
    labelled = join(load_split(dataset, "validation", settings.resolution), held_out)
    real = labelled.pictures
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
        class_name=pipeline.config.name,
        resolution=settings.resolution,
        held_out_pictures=len(held_out),
        left_out=labelled.left_out,
        held_out=[judge_on(judge, held_out) for judge in judges],
        alpha=alpha,
        frechet_pictures=compared,
        frechet_distances=distances,
        frechet_real=frechet_distance(other_features, real_features),
    )


def draw(
    pipeline: Labels4FreePipeline, pictures: int, truncation_psi: float, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Seeds 0 to `pictures` - 1: pictures uint8 [N, H, W, 3] and masks float32 [N, H, W]."""
    samples = pipeline.generate(
        range(pictures), truncation_psi=truncation_psi, batch_size=BATCH_SIZE, with_background=False, progress=progress
    )
    return np.stack([sample.image for sample in samples]), np.stack([sample.alpha for sample in samples])


def _check(pipeline: Labels4FreePipeline, settings: JudgeSettings) -> None:
    name, edge = pipeline.config.name, settings.resolution
    if pipeline.bundle.alpha is None:
        raise UserError(f"The class {name} has no masks yet; train them with `l4f train alpha`.")
    if pipeline.picture_size != (edge, edge):
        width, height = pipeline.picture_size
        raise UserError(f"The class {name} draws {width}x{height}, but only square classes can be judged.")
