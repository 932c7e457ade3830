"""Masks for a class that has none yet: the default recipe on an installed bundle, which needs no data set."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from ..bundles.bundle import load_bundle
from ..bundles.config import ObjectClass, read_config
from ..bundles.files import remove
from ..bundles.folders import masks_folder
from ..bundles.model_card import write_model_card
from ..errors import UserError
from ..jobs import CancelToken, Progress
from ..runtime import choose_device
from .installed import Turn, alone, enough_memory, in_words, put_in_place, run_folder, source_of, target_of
from .precision import fastest_dtype
from .recipes import AlphaSettings
from .runs import BUNDLE_FOLDER, alpha_trainer, train_alpha

ALPHA_FILE = "alpha.safetensors"
LEARNED_THRESHOLD = 0.5  # the recipe pushes masks to 0 and 1 alike
MEASURED_STEPS = 2
_LARGEST_BATCH_AT = {512: 8, 1024: 4}  # as the memory of a usual graphics card allows


def settings_for(config: ObjectClass, device: torch.device) -> AlphaSettings:
    """The default recipe, in the precision that is fastest on `device` and a batch that its pictures allow."""
    recipe = AlphaSettings()
    batch = min(recipe.batch_size, _LARGEST_BATCH_AT.get(config.generator.resolution, recipe.batch_size))
    return dataclasses.replace(recipe, batch_size=batch, feature_dtype=fastest_dtype(device))


def estimate_seconds(
    name: str, device: str | None = None, cancel: CancelToken | None = None, turn: Turn = nullcontext
) -> float:
    """About how long `learn_masks` takes here, from a few measured steps that are thrown away.

    The time that `turn` takes does not count. Raises `UserError` as `learn_masks` does, and `Cancelled` between steps.
    """
    place, source = choose_device(device), source_of(name)
    settings = settings_for(read_config(source), place)
    with enough_memory(f"learning masks for {name}", settings.batch_size):
        return _measure(source, settings, place, cancel or CancelToken(), turn)


def _measure(source: Path, settings: AlphaSettings, device: torch.device, cancel: CancelToken, turn: Turn) -> float:
    trainer, seconds = alpha_trainer(load_bundle(source, with_discriminator=True), settings, device), []
    for _ in range(1 + MEASURED_STEPS):
        cancel.check()
        with turn():
            start = time.perf_counter()
            trainer.step()  # ends with numbers on the processor, so the device is done with it
            seconds.append(time.perf_counter() - start)
    usual = sum(seconds[1:]) / MEASURED_STEPS
    # The first step has the R1 penalty, as every 16th, but it also warms up: it counts as two steps at most.
    penalty = max(0.0, min(seconds[0], 2 * usual) - usual)
    return settings.steps * (usual + penalty / settings.r1_interval)


def learn_masks(
    name: str,
    *,
    device: str | None = None,
    again: bool = False,
    settings: AlphaSettings | None = None,
    report: Callable[[str], None] = print,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    save_seconds: float = 60.0,
    turn: Turn = nullcontext,
) -> Path | None:
    """Learns masks for a class and puts them into its bundle; the bundle's folder, or None when stopped before.

    A class from the `weights` folder or the Hub's cache gets a bundle of its own in the models folder, which then
    stands before it. `again` replaces masks that are there. `settings` is by default `settings_for` the device.
    `progress(done, total, message)` counts pictures; each step is taken within `turn()`. Stopped by `cancel`, Ctrl-C
    or a kill, the same call goes on. Raises `UserError`.
    """
    place, source = choose_device(device), source_of(name)
    config, token = read_config(source), cancel or CancelToken()
    if ALPHA_FILE in config.files and not again:
        raise UserError(f"{name} has masks already; learn them anew with: l4f learn-masks {name} --again.")
    settings = settings or settings_for(config, place)
    target, run = target_of(name, source), run_folder(masks_folder(), name, config, ("generator",), settings)
    with alone(name, target, run):
        with enough_memory(f"learning masks for {name}", settings.batch_size):
            if not run.exists():
                seconds = _measure(source, settings, place, token, turn)
                report(f"Learning masks takes {in_words(seconds)} on this device.")
            finished = train_alpha(
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
        bundle.config = dataclasses.replace(bundle.config, alpha_threshold=LEARNED_THRESHOLD)
        put_in_place(
            bundle,
            name,
            target,
            write_model_card(
                bundle.config,
                (
                    "The masks were learned on this generator by Labels4Free's default recipe: "
                    f"{settings.steps} steps of {settings.batch_size} pictures, without a data set."
                ),
            ),
        )
        remove(run)
    return target
