"""What trainings of an installed class have in common: where from, where to, and one at a time.

A run keeps its state in a folder of the cache and goes on from there when it is asked for again; the class's bundle is
replaced in one step when the run is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..bundles import records
from ..bundles.bundle import Bundle, save_bundle
from ..bundles.catalogue import look_up
from ..bundles.config import CONFIG_NAME, ObjectClass, stand_in
from ..bundles.fields import CLASS_NAME, REPOSITORY_ID
from ..bundles.folders import models_folder
from ..bundles.locks import lock
from ..errors import UserError
from ..hub.download import lock_file, resolve
from ..runtime import OutOfMemory, out_of_memory_in_words

Turn = Callable[[], AbstractContextManager]
"""Entered around each step where others want the device too, who then have it in between."""


def source_of(name: str) -> Path:
    """The bundle to learn for, which must be here: a download is a decision of its own. Raises `UserError`."""
    if not _is_listed(name) or (Path(name) / CONFIG_NAME).is_file():
        return resolve(name)
    found = look_up(name)
    if not found.installed:
        raise UserError(found.problem or f"{name} is not on this computer; fetch it with: l4f download {name}.")
    # What a bundle came with is kept in it, so what was fetched must be complete.
    return resolve(name, with_discriminator=True)


def target_of(name: str, source: Path) -> Path:
    """Which bundle gets what is learned: the user's own, or a new one that stands before what is not the user's."""
    return models_folder() / stand_in(name) if _is_listed(name) else source


def run_folder(runs: Path, name: str, config: ObjectClass, networks: tuple[str, ...], settings: object) -> Path:
    """One folder in `runs` for these networks of the class and these settings, so that no run goes on with others."""
    hashes = [config.files[file].sha256 for network in networks if (file := f"{network}.safetensors") in config.files]
    fixed = json.dumps([*hashes, dataclasses.asdict(settings)], sort_keys=True)
    label = stand_in(name) if _is_listed(name) else config.name
    return runs / f"{label}.{hashlib.sha256(fixed.encode()).hexdigest()[:12]}"


def alone(name: str, target: Path, run: Path) -> AbstractContextManager:
    """Held while the class learns. Raises `UserError` where another program changes the class or goes on with `run`."""
    return lock(
        lock_file(target.name) if target.parent == models_folder() else run.with_suffix(".lock"),
        refusal=(f"{name} is being trained, or installed, by another program; wait for it."),
    )


def put_in_place(bundle: Bundle, name: str, target: Path, model_card: str) -> None:
    """Makes `bundle` the class, with what it came from remembered and its files known to be whole."""
    save_bundle(bundle, target, model_card=model_card)
    if target.parent == models_folder():
        records.move(name, target.name, target)


@contextmanager
def enough_memory(learning: str, batch_size: int) -> Iterator[None]:
    """Says what to do where memory runs out while `learning`, as "learning masks for horse"."""
    try:
        with out_of_memory_in_words():
            yield
    except OutOfMemory:
        raise UserError(
            f"Memory ran out while {learning} in batches of {batch_size} pictures; close other programs "
            "that use the device, or choose the device cpu."
        ) from None


def in_words(seconds: float) -> str:
    """A duration as one says it: "about 3 minutes"."""
    if seconds < 50:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {seconds / 3600:.1f} hours"


def _is_listed(name: str) -> bool:
    return bool(CLASS_NAME.fullmatch(name) or REPOSITORY_ID.fullmatch(name))
