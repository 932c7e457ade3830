"""Masks for a class that has none yet: the default recipe on an installed bundle, which needs no data set.

A run keeps its state in `masks` of the cache folder and goes on from there when it is asked for again; the
bundle is replaced in one step when the masks are there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from ..checkpoints import catalogue, records
from ..checkpoints.bundle import load_bundle, save_bundle
from ..checkpoints.catalogue_file import REPOSITORY_ID
from ..checkpoints.config import CLASS_NAME, CONFIG_NAME, BundleConfig, read_config
from ..checkpoints.download import lock_file
from ..checkpoints.files import remove
from ..checkpoints.folders import masks_folder, models_folder
from ..checkpoints.hub_errors import stand_in
from ..checkpoints.locks import lock
from ..checkpoints.model_card import write_model_card
from ..errors import UserError
from ..runtime import CancelToken, OutOfMemory, choose_device, out_of_memory_in_words
from .precision import fastest_dtype
from .recipes import AlphaSettings
from .runs import BUNDLE_FOLDER, alpha_trainer, train_alpha

ALPHA_FILE = "alpha.safetensors"
LEARNED_THRESHOLD = 0.5  # the recipe pushes masks to 0 and 1 alike
MEASURED_STEPS = 2
_LARGEST_BATCH_AT = {512: 8, 1024: 4}  # as the memory of a usual graphics card allows

Progress = Callable[[int, int, str], None]
Turn = Callable[[], AbstractContextManager]
"""Entered around each step where others want the device too, who then have it in between."""


def settings_for(config: BundleConfig, device: torch.device) -> AlphaSettings:
    """The default recipe, in the precision that is fastest on `device` and a batch that its pictures allow."""
    recipe = AlphaSettings()
    batch = min(recipe.batch_size, _LARGEST_BATCH_AT.get(config.generator.resolution, recipe.batch_size))
    return dataclasses.replace(recipe, batch_size=batch, feature_dtype=fastest_dtype(device))


def estimate_seconds(name: str, device: str | None = None, cancel: CancelToken | None = None,
                     turn: Turn = nullcontext) -> float:
    """About how long `learn_masks` takes here, from a few measured steps that are thrown away.

    The time that `turn` takes does not count. Raises `UserError` as `learn_masks` does, and `Cancelled` between steps.
    """
    place, source = choose_device(device), _source(name)
    settings = settings_for(read_config(source), place)
    with _enough_memory(name, settings):
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


def learn_masks(name: str, *, device: str | None = None, again: bool = False, settings: AlphaSettings | None = None,
                report: Callable[[str], None] = print, progress: Progress | None = None,
                cancel: CancelToken | None = None, save_seconds: float = 60.0,
                turn: Turn = nullcontext) -> Path | None:
    """Learns masks for a class and puts them into its bundle; the bundle's folder, or None when stopped before.

    A class from the `weights` folder or the Hub's cache gets a bundle of its own in the models folder, which then
    stands before it. `again` replaces masks that are there. `settings` is by default `settings_for` the device.
    `progress(done, total, message)` counts pictures; each step is taken within `turn()`. Stopped by `cancel`, Ctrl-C
    or a kill, the same call goes on. Raises `UserError`.
    """
    place, source = choose_device(device), _source(name)
    config, token = read_config(source), cancel or CancelToken()
    if ALPHA_FILE in config.files and not again:
        raise UserError(f"{name} has masks already; learn them anew with: l4f learn-masks {name} --again.")
    settings = settings or settings_for(config, place)
    target, run = _target(name, source), _run_folder(name, config, settings)
    busy = f"Masks for {name} are being learned, or the class installed, by another program; wait for it."
    with lock(lock_file(target.name) if target.parent == models_folder() else run.with_suffix(".lock"), refusal=busy):
        with _enough_memory(name, settings):
            if not run.exists():
                seconds = _measure(source, settings, place, token, turn)
                report(f"Learning masks takes {in_words(seconds)} on this device.")
            finished = train_alpha(source, run, settings, device=place, report=report, save_seconds=save_seconds,
                                   cancelled=lambda: token.cancelled, progress=progress and _TimeLeft(progress),
                                   turn=turn)
        if not finished:
            return None
        _put_in_place(run / BUNDLE_FOLDER, name, target, settings)
        remove(run)
    return target


class _TimeLeft:
    """Adds to the loop's progress how much time is left, by the speed since the start."""

    def __init__(self, progress: Progress):
        self._progress, self._start, self._last = progress, (0.0, 0), sys.maxsize

    def __call__(self, done: int, total: int, _message: str) -> None:
        now = time.monotonic()
        if done < self._last:  # the first step, or that of another attempt after a collapse
            self._start = (now, done)
        self._last, (since, first) = done, self._start
        message = "Learning masks"
        if done > first:
            message += f", {in_words((now - since) / (done - first) * (total - done))} left"
        self._progress(done, total, message)


def in_words(seconds: float) -> str:
    """A duration as one says it: "about 3 minutes"."""
    if seconds < 50:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {seconds / 3600:.1f} hours"


def _source(name: str) -> Path:
    """The bundle to learn for, which must be here: a download is a decision of its own."""
    if not CLASS_NAME.fullmatch(name) and not REPOSITORY_ID.fullmatch(name) or (Path(name) / CONFIG_NAME).is_file():
        return catalogue.resolve(name)
    found = catalogue.entry(name)
    if not found.installed:
        raise UserError(found.problem or f"{name} is not on this computer; fetch it with: l4f download {name}.")
    # What a bundle came with is kept in it, so what was fetched must be complete.
    return catalogue.resolve(name, with_discriminator=True)


def _target(name: str, source: Path) -> Path:
    """Which bundle gets the masks: the user's own, or a new one that stands before what is not the user's."""
    if CLASS_NAME.fullmatch(name) or REPOSITORY_ID.fullmatch(name):
        return models_folder() / stand_in(name)
    return source


def _run_folder(name: str, config: BundleConfig, settings: AlphaSettings) -> Path:
    """One folder a generator and settings, so that a run is never resumed with others."""
    fixed = json.dumps([config.files["generator.safetensors"].sha256, dataclasses.asdict(settings)], sort_keys=True)
    listed = CLASS_NAME.fullmatch(name) or REPOSITORY_ID.fullmatch(name)
    label = stand_in(name) if listed else config.class_name
    return masks_folder() / f"{label}.{hashlib.sha256(fixed.encode()).hexdigest()[:12]}"


def _put_in_place(learned: Path, name: str, target: Path, settings: AlphaSettings) -> None:
    bundle = load_bundle(learned, with_discriminator=True)
    bundle.config = dataclasses.replace(bundle.config, alpha_threshold=LEARNED_THRESHOLD)
    notes = (f"The masks were learned on this generator by Labels4Free's default recipe: {settings.steps} steps of "
             f"{settings.batch_size} pictures, without a data set.")
    save_bundle(bundle, target, model_card=write_model_card(bundle.config, notes))
    if target.parent == models_folder():
        came_from = records.recall(name) or records.Record("")
        records.remember(target.name, dataclasses.replace(came_from, folder=str(target), checked={}))
        records.mark_checked(target.name, target)


@contextmanager
def _enough_memory(name: str, settings: AlphaSettings) -> Iterator[None]:
    """Says what to do about learning when memory runs out."""
    try:
        with out_of_memory_in_words():
            yield
    except OutOfMemory:
        raise UserError(f"Memory ran out while learning masks for {name} in batches of {settings.batch_size} pictures; "
                        "close other programs that use the device, or choose the device cpu.") from None
