"""The chain of trainings that gives a class masks and a segmenter of photographs.

Each training is a stage: it reads the bundle of the one before and writes its own. A stage that is done is passed over,
so that a chain goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..bundles.config import ObjectClass
from ..bundles.files import is_bundle_of_ours, remove
from ..errors import UserError
from ..jobs import Progress
from ..runtime import OutOfMemory, out_of_memory_in_words
from .loop import OtherSettings, Watch
from .recipes import AlphaSettings
from .refinement import RefinementSettings
from .runs import BUNDLE_FOLDER, refine_alpha, train_alpha, train_student
from .student import StudentSettings, student_settings
from .updates import fastest_dtype

QUALITIES = ("quick", "full")
LEARNED_THRESHOLD = 0.5  # the recipe pushes masks to 0 and 1 alike
OTHER_SEED = 100  # further on: attempts after a collapse count up from the first
_OF_MINUTES = (train_alpha, train_student, refine_alpha)
_LARGEST_BATCH_AT = {512: 8, 1024: 4}  # as the memory of a usual graphics card allows


@dataclass(frozen=True)
class TrainingStage:
    """One training of the chain: from the bundle ``source`` to that in ``folder``, by ``train``."""

    title: str
    train: Callable[..., bool]
    source: Path
    folder: Path
    settings: Any
    options: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of each part, by the message of its progress

    @property
    def bundle(self) -> Path:
        return self.folder / BUNDLE_FOLDER


def mask_settings(config: ObjectClass, device: torch.device) -> AlphaSettings:
    """The default recipe, in the precision that is fastest on ``device`` and a batch that its pictures allow."""
    return _fitting(AlphaSettings(), config, device)


def photograph_settings(config: ObjectClass, device: torch.device, photographs: bool = False) -> StudentSettings:
    """The student's recipe for pictures of this class, in the precision that is fastest on ``device``."""
    return student_settings(config.generator.resolution, photographs, feature_dtype=fastest_dtype(device))


def refinement_settings(config: ObjectClass, device: torch.device) -> RefinementSettings:
    """The recipe by which the segmenter refines the masks."""
    return _fitting(RefinementSettings(), config, device)


def _fitting(recipe: Any, config: ObjectClass, device: torch.device) -> Any:
    batch = min(recipe.batch_size, _LARGEST_BATCH_AT.get(config.generator.resolution, recipe.batch_size))
    return dataclasses.replace(recipe, batch_size=batch, feature_dtype=fastest_dtype(device))


def mask_stages(
    quality: str,
    config: ObjectClass,
    source: Path,
    run: Path,
    settings: AlphaSettings,
    device: torch.device,
    photographs: Path | None = None,
) -> list[TrainingStage]:
    """The trainings that give the class of ``config``, whose bundle is ``source``, masks: one for "quick", all for
    "full". What they keep lies in ``run``. The last one learns from ``photographs`` where these are given. Raises
    ``UserError`` for another quality."""
    first = TrainingStage("masks", train_alpha, source, run, settings)
    if quality not in QUALITIES:
        raise UserError(f"The quality must be one of {', '.join(QUALITIES)}, not {quality}.")
    if quality == "quick":
        return [first]
    other = dataclasses.replace(settings, seed=settings.seed + OTHER_SEED)
    student = photograph_settings(config, device)
    second = TrainingStage("masks of a second seed", train_alpha, source, run / "second-seed", other)
    taught = TrainingStage(
        "photographs", train_student, first.bundle, run / "photographs", student, {"teacher": "alpha"}
    )
    refined = TrainingStage(
        "refined masks", refine_alpha, taught.bundle, run / "refined", refinement_settings(config, device)
    )
    last = TrainingStage(
        "photographs again",
        train_student,
        refined.bundle,
        run / "photographs-again",
        photograph_settings(config, device, bool(photographs)),
        {"teacher": "student", "photographs": photographs, "drawn_instead": True},
    )
    return [first, second, taught, refined, last]


def go_through(stages: list[TrainingStage], device: torch.device, watch: Watch) -> bool:
    """Trains what is not trained yet, one stage after the other; False when stopped before the end.

    A stage of minutes that was begun with another recipe, by an earlier version, begins anew; a generator is kept.
    """
    for number, stage in enumerate(stages):
        if len(stages) > 1:
            if is_bundle_of_ours(stage.bundle):
                continue
            watch.report(f"Stage {number + 1} of {len(stages)}: {stage.title}.")
        watched = vars(watch) | {"progress": _overall(stages, number, watch.progress)} | stage.options
        train = functools.partial(stage.train, stage.source, stage.folder, stage.settings, device=device, **watched)
        try:
            finished = train()
        except OtherSettings:
            if stage.train not in _OF_MINUTES:
                raise
            watch.report(f"This version has another recipe for {stage.title}; they begin anew.")
            remove(stage.folder)
            finished = train()
        if not finished:
            return False
    return True


def _overall(stages: list[TrainingStage], number: int, progress: Progress | None) -> Progress | None:
    """The progress of one stage as that of all of them, in tenths of a second."""
    if progress is None or len(stages) == 1:
        return progress
    before, total, parts = total_seconds(stages[:number]), total_seconds(stages), stages[number].seconds

    def tell(done: int, of: int, message: str) -> None:
        names = list(parts)  # in the order in which they come
        earlier = sum(parts[name] for name in names[: names.index(message)]) if message in parts else 0.0
        past = before + earlier + parts.get(message, 0.0) * done / max(of, 1)
        progress(round(10 * past), round(10 * total), stages[number].title)

    return tell


def total_seconds(stages: list[TrainingStage]) -> float:
    return sum(sum(stage.seconds.values()) for stage in stages)


@contextmanager
def enough_memory(doing: str, batch_size: int) -> Iterator[None]:
    """Says what to do where memory runs out while ``doing`` something, as "learning masks for horse"."""
    try:
        with out_of_memory_in_words():
            yield
    except OutOfMemory:
        raise UserError(
            f"Memory ran out while {doing} in batches of {batch_size} pictures; close other programs "
            "that use the device, or choose the device cpu."
        ) from None
