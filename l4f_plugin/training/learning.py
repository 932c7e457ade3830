"""What an installed class learns: masks, photographs, or the whole chain, without a data set.

A run keeps its state in a folder of the cache and goes on from there when it is asked for again; the class's bundle is
replaced in one step when the run is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from ..bundles import records
from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..bundles.catalogue import installed
from ..bundles.config import ObjectClass, read_config, stand_in
from ..bundles.fields import CLASS_NAME, REPOSITORY_ID
from ..bundles.files import CONFIG_NAME, remove
from ..bundles.folders import WORST_MASKS, masks_folder, models_folder, photographs_folder
from ..bundles.locks import lock
from ..bundles.model_card import read_model_card, write_model_card
from ..errors import Cancelled, UserError
from ..hub.download import lock_file, resolve
from ..images import write_png
from ..picture_files import find_pictures
from ..provenance import may_write, sheet_text
from ..runtime import choose_device
from .chain import (
    LEARNED_THRESHOLD,
    TrainingStage,
    enough_memory,
    go_through,
    mask_settings,
    mask_stages,
    photograph_settings,
    total_seconds,
)
from .loop import Watch
from .mask_quality import measure_masks
from .picture_survey import TEACHING
from .recipes import AlphaSettings
from .runs import train_student
from .student import StudentSettings
from .training_time import in_words, measured_stages

ALPHA_FILE, STUDENT_FILE = "alpha.safetensors", "student.safetensors"
Learned = tuple[Bundle, str, Image.Image | None]  # a class, its card, and a sheet of its worst masks where measured


def learn_masks(
    name: str,
    *,
    quality: str = "quick",
    device: str | None = None,
    again: bool = False,
    settings: AlphaSettings | None = None,
    **watched: Any,
) -> Path | None:
    """Learns masks for a class and puts them into its bundle; the bundle's folder, or None when stopped before.

    Args:
        quality: "quick" learns masks; "full" goes on with photographs, masks that these refine, and photographs
            again, and learns masks from a second seed, which tells how far to trust them.
        again: whether to replace masks that are there.
        settings: by default ``mask_settings`` for the device.
        watched: the fields of ``Watch``.

    A class from the `weights` folder or the Hub's cache gets a bundle of its own in the models folder, which then
    stands before it. Stopped by ``cancel``, Ctrl-C or a kill, the same call goes on. What came out is measured and told
    in the class's card; the twelve worst masks are in `worst_masks.png` beside it. Raises `UserError`.
    """
    place, source, watch = choose_device(device), source_of(name), Watch(**watched)
    config = read_config(source)
    if ALPHA_FILE in config.files and not again:
        raise UserError(f"{name} has masks already; learn them anew with: l4f learn-masks {name} --again.")
    settings = settings or mask_settings(config, place)
    run = _run_folder(masks_folder(), name, config, ("generator",), settings)
    stages = mask_stages(quality, config, source, run, settings, place)

    def learn() -> Learned | None:
        timed = stages
        if len(stages) > 1 or not run.exists():
            timed = measured_stages(stages, load_bundle(source, with_discriminator=True), place, watch)
            watch.report(f"Learning masks takes {in_words(total_seconds(timed))} on this device.")
        if not go_through(timed, place, watch):
            return None
        bundle = load_bundle(stages[-1].bundle, with_discriminator=True)
        bundle.config = dataclasses.replace(bundle.config, alpha_threshold=LEARNED_THRESHOLD)
        seeds = None
        if quality == "full":
            seeds = tuple(load_bundle(stage.bundle).alpha for stage in stages[:2])
        watch.report("Measuring the masks.")
        measured, worst = measure_masks(bundle, place, seeds, watch=watch)
        if measured.doubt:
            watch.report(measured.doubt)
        notes = (
            "The masks were learned on this generator by Labels4Free's default recipe: "
            f"{settings.steps} steps of {settings.batch_size} pictures, without a data set. The colours of each "
            "picture correct its mask as it is drawn."
        )
        if quality == "full":
            notes += (
                " A segmenter of photographs learned from them, refined them, and taught the one that is here, which "
                "has half a say in masks as they are drawn."
            )
        return bundle, write_model_card(bundle.config, f"{notes}\n\n{measured.in_markdown()}"), worst

    return _learn(name, source, run, learn, f"learning masks for {name}", settings.batch_size)


def learn_photographs(
    name: str,
    *,
    photographs: Path | None = None,
    device: str | None = None,
    again: bool = False,
    settings: StudentSettings | None = None,
    **watched: Any,
) -> Path | None:
    """Teaches a class to find its object in photographs; the bundle's folder, or None when stopped before.

    The class draws pictures first, then a segmenter learns from them before other backgrounds. ``again`` replaces a
    segmenter that is there by one that it teaches, which is better, most of all where it learns from ``photographs`` of
    the class, a folder or archive without labels. Everything else is as in `learn_masks`. Raises `UserError`, also for
    a class without masks.
    """
    place, source, watch = choose_device(device), source_of(name), Watch(**watched)
    config = read_config(source)
    if STUDENT_FILE in config.files and not again:
        raise UserError(
            f"{name} has a photo segmenter already; let it teach a better one with: "
            f"l4f learn-photographs {name} --again."
        )
    own = len(find_pictures(photographs)) if photographs else 0
    settings = settings or photograph_settings(config, place, bool(photographs))
    networks = ("generator", "alpha", "student")
    run = _run_folder(photographs_folder(), name, config, networks, settings, str(photographs or ""))
    stage = TrainingStage("photographs", train_student, source, run, settings, {"photographs": photographs})

    def learn() -> Learned | None:
        if photographs and own < TEACHING and STUDENT_FILE in config.files:
            watch.report(f"{own} photographs are few: fewer than {TEACHING} teach less than drawn pictures do.")
        if not go_through([stage], place, watch):
            return None
        bundle = load_bundle(stage.bundle, with_discriminator=True)
        shown = f"{settings.pictures:,} pictures that this class drew itself"
        if photographs:
            shown = f"the good masks of {min(own, settings.pictures):,} photographs without labels"
        notes = (
            f"The segmenter of photographs was trained by Labels4Free on {shown}: "
            f"{settings.steps:,} steps of {settings.batch_size} pictures that were put together from these."
        )
        # What an earlier card tells of the segmenter that is replaced would be untrue.
        card = None if STUDENT_FILE in config.files else read_model_card(source)
        card = f"{card.rstrip()}\n\n{notes}\n" if card else write_model_card(bundle.config, notes)
        return bundle, card, None

    return _learn(name, source, run, learn, f"learning photographs for {name}", settings.batch_size)


def estimate_seconds(name: str, device: str | None = None, **watched: Any) -> dict[str, float]:
    """About how long `learn_masks` takes here in each quality, from a few measured steps that are thrown away.

    The time that ``turn`` takes does not count. Raises `UserError` as `learn_masks` does, and `Cancelled`.
    """
    place, source = choose_device(device), source_of(name)
    config = read_config(source)
    settings = mask_settings(config, place)
    stages = mask_stages("full", config, source, source, settings, place)
    with enough_memory(f"learning masks for {name}", settings.batch_size):
        bundle = load_bundle(source, with_discriminator=True)
        stages = measured_stages(stages, bundle, place, Watch(**watched))
    return {"quick": total_seconds(stages[:1]), "full": total_seconds(stages)}


# The class on disk


def _learn(
    name: str, source: Path, run: Path, learn: Callable[[], Learned | None], doing: str, batch_size: int
) -> Path | None:
    """Holds the class while it learns, and puts it in place; its folder, or None when it was stopped before."""
    own = _is_listed(name)
    target = models_folder() / stand_in(name) if own else source
    with lock(
        lock_file(target.name) if own else run.with_suffix(".lock"),
        refusal=f"{name} is being trained, or installed, by another program; wait for it.",
    ):
        try:
            with enough_memory(doing, batch_size):
                learned = learn()
        except Cancelled:
            return None
        if learned is None:
            return None
        bundle, card, worst = learned
        save_bundle(bundle, target, model_card=card)
        sheet = target / WORST_MASKS
        if worst is not None and may_write(sheet):
            write_png(sheet, worst, sheet_text("worst masks"))
        if own:
            records.remember(target.name, target, records.recall(name))
        remove(run)
    return target


def source_of(name: str) -> Path:
    """The bundle to learn for, which must be here: a download is a decision of its own. Raises `UserError`."""
    if not _is_listed(name) or (Path(name) / CONFIG_NAME).is_file():
        return resolve(name)
    installed(name)
    # What a bundle came with is kept in it, so what was fetched must be complete.
    return resolve(name, with_discriminator=True)


def _run_folder(
    runs: Path, name: str, config: ObjectClass, networks: tuple[str, ...], settings: Any, *source: str
) -> Path:
    """One folder in ``runs`` for these networks of the class and these settings, so that no run goes on with others."""
    hashes = [config.files[file].sha256 for network in networks if (file := f"{network}.safetensors") in config.files]
    fixed = json.dumps([*hashes, dataclasses.asdict(settings), *filter(None, source)], sort_keys=True)
    label = stand_in(name) if _is_listed(name) else config.name
    return runs / f"{label}.{hashlib.sha256(fixed.encode()).hexdigest()[:12]}"


def _is_listed(name: str) -> bool:
    return bool(CLASS_NAME.fullmatch(name) or REPOSITORY_ID.fullmatch(name))
