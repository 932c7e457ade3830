"""A photo segmenter for a class that has masks: the student, taught on an installed bundle by what the class draws."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from ..bundles.bundle import load_bundle
from ..bundles.config import ObjectClass, read_config
from ..bundles.files import remove
from ..bundles.folders import photographs_folder
from ..bundles.model_card import read_model_card, write_model_card
from ..errors import UserError
from ..jobs import CancelToken, Progress
from ..runtime import choose_device
from .installed import Turn, alone, enough_memory, put_in_place, run_folder, source_of, target_of
from .precision import fastest_dtype
from .runs import BUNDLE_FOLDER
from .student import StudentSettings, student_resolution
from .student_runs import train_student

STUDENT_FILE = "student.safetensors"


def settings_for(config: ObjectClass, device: torch.device) -> StudentSettings:
    """The student's recipe for pictures of this class, in the precision that is fastest on `device`."""
    return StudentSettings(
        resolution=student_resolution(config.generator.resolution), feature_dtype=fastest_dtype(device)
    )


def learn_photographs(
    name: str,
    *,
    device: str | None = None,
    again: bool = False,
    settings: StudentSettings | None = None,
    report: Callable[[str], None] = print,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    save_seconds: float = 60.0,
    turn: Turn = nullcontext,
) -> Path | None:
    """Teaches a class to find its object in photographs; the bundle's folder, or None when stopped before.

    The class draws pictures first, then a segmenter learns from them before other backgrounds. `again` replaces a
    segmenter that is there by one that it teaches, which is better. Everything else is as in `learn_masks`: where the
    bundle is put, `settings`, `progress`, `cancel`, `turn`, and that the same call goes on. Raises `UserError`, also
    for a class without masks.
    """
    place, source = choose_device(device), source_of(name)
    config, token = read_config(source), cancel or CancelToken()
    if STUDENT_FILE in config.files and not again:
        raise UserError(
            f"{name} has a photo segmenter already; let it teach a better one with: "
            f"l4f learn-photographs {name} --again."
        )
    settings = settings or settings_for(config, place)
    networks = ("generator", "alpha", "student")
    target, run = target_of(name, source), run_folder(photographs_folder(), name, config, networks, settings)
    with alone(name, target, run):
        with enough_memory(f"learning photographs for {name}", settings.batch_size):
            finished = train_student(
                source,
                run,
                settings,
                device=place,
                report=report,
                save_seconds=save_seconds,
                cancelled=lambda: token.cancelled,
                progress=progress,
                turn=turn,
            )
        if not finished:
            return None
        bundle = load_bundle(run / BUNDLE_FOLDER, with_discriminator=True)
        put_in_place(bundle, name, target, _card(bundle.config, source, settings))
        remove(run)
    return target


def _card(config: ObjectClass, source: Path, settings: StudentSettings) -> str:
    """The class's card, and how its segmenter came about; a new one where that replaces what the old may tell of."""
    notes = (
        "The segmenter of photographs was trained by Labels4Free on pictures that this class drew itself: "
        f"{settings.steps:,} steps of {settings.batch_size} pictures, put together from {settings.pictures:,}."
    )
    card = None if STUDENT_FILE in read_config(source).files else read_model_card(source)
    return f"{card.rstrip()}\n\n{notes}\n" if card else write_model_card(config, notes)
