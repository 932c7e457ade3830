"""How long the stages of a chain take on this device, by a few real steps of each that are thrown away."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..bundles.bundle import Bundle
from ..networks import AlphaNetwork, Student, UNet
from ..picture_files import find_pictures
from .alpha_training import START_STEPS, AlphaTrainer
from .chain import TrainingStage
from .cut_pictures import BATCH, CUTTING, DRAWING, CutPictures, draw_parts, photograph_parts
from .loop import STEPPING, Watch
from .picture_survey import evenly
from .recipes import AlphaSettings
from .refinement import RefinementSettings, RefinementTrainer
from .runs import COMPARED, COMPARING, compared, drawing_pipeline
from .student import StudentSettings, StudentTrainer
from .trainer import Trainer

GUESSING = "guessing"  # what is measured of the start of masks
MEASURED_STEPS, MEASURED_PHOTOGRAPHS = 2, 4


def measured_stages(
    stages: list[TrainingStage], bundle: Bundle, device: torch.device, watch: Watch
) -> list[TrainingStage]:
    """The stages with the seconds that they are going to take, by a few steps of each on stand-ins for what is missing.

    Networks that are not learned yet have random weights: they take as long.
    """
    alpha = AlphaNetwork(bundle.generator.config.feature_channels).eval()
    measured: list[TrainingStage] = []
    for stage in stages:
        settings = stage.settings
        if isinstance(settings, AlphaSettings) and measured:
            seconds = measured[0].seconds  # another seed takes as long
        elif isinstance(settings, AlphaSettings):
            trainer = AlphaTrainer(settings, bundle, device)
            guess = functools.partial(trainer.start_from_difference, settings.start, steps=1)
            seconds = {GUESSING: START_STEPS * _timed(guess, watch) if settings.start else 0.0}
            trainer.rounds = settings.steps  # the first steps teach the background alone
            seconds[STEPPING] = settings.steps * step_seconds(trainer, watch)
        elif isinstance(settings, RefinementSettings):
            ready = dataclasses.replace(bundle, alpha=alpha, student=_untaught(stages[-1].settings))
            seconds = {STEPPING: settings.steps * step_seconds(RefinementTrainer(settings, ready, device), watch)}
        else:
            teacher = _untaught(settings) if stage.options["teacher"] == "student" else None
            masked = dataclasses.replace(bundle, alpha=alpha, student=teacher)
            seconds = _student_seconds(masked, settings, stage.options.get("photographs"), device, watch)
        measured.append(dataclasses.replace(stage, seconds=seconds))
    return measured


def step_seconds(trainer: Trainer, watch: Watch) -> float:
    """Seconds of a usual step, after one that warms up. What the R1 penalty adds to every 16th is not counted."""
    seconds = [_timed(trainer.step, watch) for _ in range(1 + MEASURED_STEPS)]
    return sum(seconds[1:]) / MEASURED_STEPS


def _timed(work: Callable[[], Any], watch: Watch) -> float:
    """Seconds of one piece of work that ends with numbers on the processor, so that the device is done with it."""
    watch.cancel.check()
    with watch.turn():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


def _student_seconds(
    bundle: Bundle, settings: StudentSettings, photographs: Path | None, device: torch.device, watch: Watch
) -> dict[str, float]:
    """Seconds of each part of a student's training."""
    side = settings.resolution
    if photographs:
        files = evenly(find_pictures(photographs).pictures, settings.pictures)
        some = evenly(files, MEASURED_PHOTOGRAPHS)
        cut = _timed(lambda: list(photograph_parts(bundle, some, side, device)), watch)
        seconds = {CUTTING: len(files) * cut / len(some)}
    else:
        pipeline, count = drawing_pipeline(bundle, device), min(BATCH, settings.pictures)
        drawn = _timed(lambda: list(draw_parts(pipeline, range(count), 1.0, side, bundle.student)), watch)
        seconds = {DRAWING: settings.pictures * drawn / count}
    pictures = CutPictures(np.zeros((2, side, side, 7), np.uint8))
    trainer = StudentTrainer(settings, pictures, device)
    coarse = step_seconds(trainer, watch)
    trainer.rounds = settings.steps
    fine = step_seconds(trainer, watch)
    seconds[STEPPING] = settings.steps * (settings.coarse_share * coarse + (1 - settings.coarse_share) * fine)
    taught = dataclasses.replace(bundle, student=_untaught(settings))
    seconds[COMPARING] = COMPARED / BATCH * _timed(lambda: compared(taught, pictures, device, BATCH), watch)
    return seconds


def _untaught(settings: StudentSettings) -> Student:
    return Student.folded(UNet(settings.channels).eval(), settings.resolution).eval()


def in_words(seconds: float) -> str:
    """A duration as one says it: "about 3 minutes"."""
    if seconds < 50:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {seconds / 3600:.1f} hours"
