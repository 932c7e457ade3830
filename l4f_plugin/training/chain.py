"""What an installed class learns: masks, photographs, or the whole chain, without a data set.

A run keeps its state in a folder of the cache and goes on from there when it is asked for again; the class's bundle is
replaced in one step when the run is done.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..bundles import records
from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..bundles.catalogue import installed
from ..bundles.config import ObjectClass, read_config, stand_in
from ..bundles.fields import CLASS_NAME, REPOSITORY_ID
from ..bundles.files import CONFIG_NAME, is_bundle_of_ours, remove
from ..bundles.folders import WORST_MASKS, masks_folder, models_folder, photographs_folder
from ..bundles.locks import lock
from ..bundles.model_card import read_model_card, write_model_card
from ..errors import Cancelled, UserError
from ..hub.download import lock_file, resolve
from ..images import write_png
from ..jobs import CancelToken, Progress, Report
from ..networks import AlphaNetwork, Student, UNet
from ..picture_files import find_pictures
from ..provenance import may_write, sheet_text
from ..runtime import OutOfMemory, choose_device, out_of_memory_in_words
from .alpha_training import START_STEPS, AlphaTrainer
from .courtesy import Turn
from .cut_pictures import BATCH, CUTTING, DRAWING, CutPictures, draw_parts, photograph_parts
from .loop import STEPPING, OtherSettings
from .mask_quality import measure_masks
from .picture_survey import TEACHING, evenly
from .recipes import AlphaSettings
from .refinement import RefinementSettings, RefinementTrainer
from .runs import (
    BUNDLE_FOLDER,
    COMPARED,
    COMPARING,
    compared,
    drawing_pipeline,
    refine_alpha,
    train_alpha,
    train_student,
)
from .student import StudentSettings, StudentTrainer, student_settings
from .trainer import Trainer
from .updates import fastest_dtype

ALPHA_FILE, STUDENT_FILE = "alpha.safetensors", "student.safetensors"
LEARNED_THRESHOLD = 0.5  # the recipe pushes masks to 0 and 1 alike
QUALITIES = ("quick", "full")
GUESSING = "guessing"  # what is measured of the start of masks
OTHER_SEED = 100  # further on: attempts after a collapse count up from the first
MEASURED_STEPS, MEASURED_PHOTOGRAPHS = 2, 4
_OF_MINUTES = (train_alpha, train_student, refine_alpha)
_LARGEST_BATCH_AT = {512: 8, 1024: 4}  # as the memory of a usual graphics card allows


@dataclass(frozen=True)
class Watch:
    """Who watches a training: is told of it, may stop it, and gets the device between its steps."""

    report: Report = print
    progress: Progress | None = None  # counts pictures, or tenths of a second where several trainings follow
    cancel: CancelToken = field(default_factory=CancelToken)
    turn: Turn = nullcontext
    save_seconds: float = 60.0
    noticed: Callable[[str | None], None] = lambda trouble: None

    @property
    def looks(self) -> dict[str, Any]:
        """What is asked between steps."""
        return {"turn": self.turn, "cancel": self.cancel}


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
        """Where the result is."""
        return self.folder / BUNDLE_FOLDER


# What is learned


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
        measured, worst = measure_masks(bundle, place, seeds, **watch.looks)
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
        return Learned(bundle, write_model_card(bundle.config, f"{notes}\n\n{measured.in_markdown()}"), worst)

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
        return Learned(bundle, card)

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


# The stages


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
        train = functools.partial(
            stage.train,
            stage.source,
            stage.folder,
            stage.settings,
            device=device,
            report=watch.report,
            progress=_overall(stages, number, watch.progress),
            save_seconds=watch.save_seconds,
            noticed=watch.noticed,
            **watch.looks,
            **stage.options,
        )
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
    """The measured seconds of all stages."""
    return sum(sum(stage.seconds.values()) for stage in stages)


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
        if stage.train is train_alpha and measured:
            seconds = measured[0].seconds  # another seed takes as long
        elif stage.train is train_alpha:
            trainer = AlphaTrainer(settings, bundle, device)
            guess = functools.partial(trainer.start_from_difference, settings.start, steps=1)
            seconds = {GUESSING: START_STEPS * _timed(guess, watch) if settings.start else 0.0}
            trainer.rounds = settings.steps  # the first steps teach the background alone
            seconds[STEPPING] = settings.steps * step_seconds(trainer, watch)
        elif stage.train is refine_alpha:
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


# The class on disk


@dataclass(frozen=True)
class Learned:
    """A class as it shall be: its networks, its card, and a sheet of its worst masks where they were measured."""

    bundle: Bundle
    card: str
    worst: Any = None


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
        save_bundle(learned.bundle, target, model_card=learned.card)
        sheet = target / WORST_MASKS
        if learned.worst is not None and may_write(sheet):
            write_png(sheet, learned.worst, sheet_text("worst masks"))
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


def in_words(seconds: float) -> str:
    """A duration as one says it: "about 3 minutes"."""
    if seconds < 50:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {seconds / 3600:.1f} hours"
