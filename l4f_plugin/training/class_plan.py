"""What a training of a class from a folder of pictures is going to do, and how long that takes here.

A plan is fixed before the first step and kept as JSON, so that the training goes on with the same one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..bundles.config import ObjectClass, read_config
from ..bundles.folders import cache_folder
from ..bundles.training_state import flatten_state
from ..errors import UserError
from ..networks import Discriminator, Generator
from ..runtime import OutOfMemory, choose_device, out_of_memory_in_words, resident_memory
from .chain import TrainingStage, enough_memory, mask_settings, mask_stages
from .generator_training import CHANNELS, GeneratorSettings, GeneratorTrainer
from .learning import source_of as class_folder
from .loop import STEPPING, GrowingIntervals, Watch, write_grid
from .picture_survey import FITS, Survey
from .pictures import PictureFolder, letterbox
from .runs import BEST_FOLDER, BUNDLE_FOLDER, starting_networks, train_generator
from .training_time import in_words as duration
from .training_time import measured_stages, step_seconds
from .troubles import COLLAPSED, DIVERGED, HELPFUL, SPILLED
from .updates import fastest_dtype

QUALITIES = {"quick": 20_000, "good": 400_000, "long": 1_500_000}
"""How many pictures the generator is shown; "quick" learns masks then, the others photographs too."""
RESOLUTIONS = (32, 64, 128, 256)
GENERATOR = "generator"
GENERATOR_RUN = "generator/run"  # in the folder of a training: states, metrics and samples of that stage
_CHANNELS = CHANNELS | {256: 16}


@dataclass(frozen=True)
class ClassPlan:
    """A training of the class ``name`` from the pictures in ``folder``."""

    name: str
    folder: str
    resolution: int = 64
    quality: str = "good"
    fit: str = "crop"  # one of `FITS`
    aspect: float = 1.0  # width / height that a letter-box keeps
    augmentation: str = "none"
    start: str = ""  # the class whose generator it goes on from, of the same resolution or half of it; empty for none
    licence: str = "unknown"
    device: str | None = None
    pictures: int = 0  # that are shown; 0 leaves it to the quality
    batch_size: int = 8
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)  # measured, of each stage, by its parts
    memory: int = 0  # bytes; 0 where not measured
    disk: int = 0  # bytes; 0 where not measured
    calmed: dict[str, int] = field(default_factory=dict)  # how often trouble made a stage calmer, by its title
    accumulate: int = 1  # parts in which a batch is computed
    frozen_blocks: int = 0  # of the discriminator of `start`, which stay as they are (FreezeD)
    learns_from_pictures: bool = False  # whether the last segmenter learns from those of the folder

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            raise UserError(f"The resolution must be one of {', '.join(map(str, RESOLUTIONS))}, not {self.resolution}.")
        for what, value, known in (("quality", self.quality, QUALITIES), ("fit", self.fit, FITS)):
            if value not in known:
                raise UserError(f"The {what} must be one of {', '.join(known)}, not {value}.")

    @property
    def shown(self) -> int:
        return self.pictures or QUALITIES[self.quality]

    @property
    def whole_seconds(self) -> float:
        return sum(sum(parts.values()) for parts in self.seconds.values())

    def in_words(self) -> list[str]:
        """What is going to be done, how long each stage takes, and what it needs."""
        shape = f"the whole of {self.aspect:.2f} to 1 between bars" if self.fit == "letterbox" else self.fit
        words = [
            f"{self.name}: {self.resolution} px, {shape}, {self.shown:,} pictures shown"
            + (", adaptive augmentation" if self.augmentation == "adaptive" else "")
            + (f", each batch in {self.accumulate} parts" if self.accumulate > 1 else "")
            + (f", starting from {self.start or 'nothing'}")
            + (f", {self.frozen_blocks} blocks of its discriminator frozen." if self.frozen_blocks else ".")
        ]
        for title, parts in self.seconds.items():
            words.append(f"  {title}: {duration(sum(parts.values()))}")
        if self.seconds:
            words.append(
                f"In all {duration(self.whole_seconds)} on this device, {self.memory / 1e9:.1f} GB of memory and "
                f"{self.disk / 1e9:.1f} GB of disk, measured by a few steps of each stage."
            )
        return words


def plan_for(found: Survey, name: str, folder: Path, **chosen: Any) -> ClassPlan:
    """The plan that what was found in ``folder`` asks for; what is ``chosen``, and not None, stays as it is.

    Raises ``UserError`` for a class to start from that does not fit.
    """
    advised = {
        "fit": found.fit,
        "aspect": round(found.aspects[1], 3),
        "augmentation": "adaptive" if found.few else "none",
        "resolution": min(found.resolution, 64),
        "learns_from_pictures": found.teaches and chosen.get("fit") != "squash",
    }
    given = {key: value for key, value in chosen.items() if value is not None}
    if given.get("start") and "resolution" not in given:
        advised["resolution"] = read_config(class_folder(given["start"])).resolution
    plan = ClassPlan(name=name, folder=str(Path(folder).expanduser().absolute()), **advised | given)
    generator_settings(plan)
    return plan


def generator_settings(plan: ClassPlan) -> GeneratorSettings:
    """The settings of the first stage: the networks of the class to start from, where there is one."""
    crop = letterbox(plan.resolution, min(max(plan.aspect, 0.25), 4.0)) if plan.fit == "letterbox" else None
    settings = GeneratorSettings(
        resolution=plan.resolution,
        channels=_CHANNELS,
        discriminator_channels=_CHANNELS,
        batch_size=plan.batch_size,
        augmentation=plan.augmentation,
        crop=crop,
        feature_dtype=fastest_dtype(choose_device(plan.device)),
        accumulate=plan.accumulate,
        frozen_blocks=plan.frozen_blocks,
    )
    if not plan.start:
        if plan.frozen_blocks:
            raise UserError("Only blocks of a class to start from can be frozen; choose one, or freeze none.")
        return settings
    config = read_config(class_folder(plan.start))
    if config.resolution not in (plan.resolution, plan.resolution // 2):
        raise UserError(
            f"{plan.start} draws {config.resolution} pixels; start from it with the resolution {config.resolution} "
            f"or {2 * config.resolution}, or start from nothing."
        )
    if plan.frozen_blocks and not (config.discriminator and config.resolution == plan.resolution):
        raise UserError(
            f"Frozen blocks must have learned something: {plan.start} has no discriminator, or is grown; freeze none."
        )
    shape = config.generator
    judged = config.discriminator.channels if config.discriminator else _CHANNELS
    return dataclasses.replace(
        settings,
        channels=_with(shape.channels, plan.resolution),
        discriminator_channels=_with(judged, plan.resolution),
        latent_dim=shape.latent_dim,
        style_dim=shape.style_dim,
        mapping_layers=shape.mapping_layers,
    )


def _with(channels: dict[int, int], resolution: int) -> dict[int, int]:
    """The table, with half of the last channels for a resolution that it lacks."""
    return {resolution: max(channels[max(channels)] // 2, 16)} | dict(channels)


def starting_folder(plan: ClassPlan) -> Path | None:
    return class_folder(plan.start) if plan.start else None


def stages_of(plan: ClassPlan, run: Path) -> list[TrainingStage]:
    """The stages of a plan, whose work lies in ``run``."""
    options = {
        "pictures": plan.shown,
        "source": starting_folder(plan),
        "class_name": plan.name,
        "licence": plan.licence,
        "squash": plan.fit == "squash",
        "grid_pictures": max(plan.shown // 10, 1),
        "log_pictures": max(min(plan.shown // 200, 1_000), 2 * plan.batch_size),
    }
    settings = generator_settings(plan)
    first = TrainingStage(GENERATOR, nearest_generator, Path(plan.folder), run / GENERATOR, settings, options)
    config = ObjectClass(plan.name, generator=settings.generator_config(), crop=settings.crop)
    stages = [first, *_later_stages(plan, config, first.bundle, run / "masks")]
    sheet_due = GrowingIntervals()
    return [
        dataclasses.replace(
            stage,
            settings=_calmer(stage.settings, plan.calmed.get(stage.title, 0)),
            options=stage.options | {"sheet_due": sheet_due},
            seconds=plan.seconds.get(stage.title, {}),
        )
        for stage in stages
    ]


def _calmer(settings: Any, times: int) -> Any:
    """The settings with half the learning rate and twice the R1, so many times."""
    changed = {"learning_rate": 0.5**times, "r1_weight": 2.0**times}
    return dataclasses.replace(
        settings, **{name: getattr(settings, name) * by for name, by in changed.items() if hasattr(settings, name)}
    )


def mended(plan: ClassPlan, trouble: str, stage: str) -> ClassPlan:
    """The plan with what helps against a trouble of that stage."""
    if trouble in (COLLAPSED, SPILLED):
        return dataclasses.replace(plan, pictures=plan.shown * 3 // 2)
    if trouble not in HELPFUL:
        return plan
    adaptive = stage == GENERATOR and trouble != DIVERGED
    return dataclasses.replace(
        plan,
        calmed=plan.calmed | {stage: plan.calmed.get(stage, 0) + 1},
        augmentation="adaptive" if adaptive else plan.augmentation,
    )


def _later_stages(plan: ClassPlan, config: ObjectClass, source: Path, run: Path) -> list[TrainingStage]:
    device = choose_device(plan.device)
    quality = "quick" if plan.quality == "quick" else "full"
    masks = mask_settings(config, device)
    if masks.batch_size % (4 * plan.accumulate) == 0:
        masks = dataclasses.replace(masks, accumulate=plan.accumulate)
    photographs = Path(plan.folder) if plan.learns_from_pictures else None
    stages = mask_stages(quality, config, source, run, masks, device, photographs)
    return [stage for stage in stages if "second seed" not in stage.title]  # which only compares


def nearest_generator(folder: Path, out: Path, settings: GeneratorSettings, **options: Any) -> bool:
    """As ``train_generator`` in ``out/run``; at the end ``out/bundle`` is the state nearest to the real pictures."""
    run = out / "run"
    if not train_generator(folder, run, settings, **options):
        return False
    best = run / BEST_FOLDER
    bundle = load_bundle(best if best.exists() else run / BUNDLE_FOLDER, with_discriminator=True)
    save_bundle(bundle, out / BUNDLE_FOLDER, dtype=torch.float32)
    return True


def measured(plan: ClassPlan, run: Path | None = None, **watched: Any) -> ClassPlan:
    """The plan with time, memory and disk, by a few real steps of each stage that are thrown away.

    Where memory runs out, a batch is computed in more parts, of four pictures at least. The folder ``run`` gets a sheet
    of samples of the first steps, so that there is one to look at while the later stages are measured. ``watched`` are
    fields of ``Watch``. Raises ``Cancelled``, and ``UserError`` for what cannot be used.
    """
    with enough_memory(f"training {plan.name}", plan.batch_size):
        try:
            with out_of_memory_in_words():
                return _measured(plan, run, Watch(**watched))
        except OutOfMemory:
            if plan.batch_size % (8 * plan.accumulate):
                raise
    return measured(dataclasses.replace(plan, accumulate=2 * plan.accumulate), run, **watched)


def _measured(plan: ClassPlan, run: Path | None, watch: Watch) -> ClassPlan:
    device, settings = choose_device(plan.device), generator_settings(plan)
    real = PictureFolder(
        Path(plan.folder), plan.resolution, cache_folder() / "pictures", settings.crop, plan.fit == "squash"
    )
    start = starting_folder(plan)
    networks: dict[str, Generator | Discriminator] = starting_networks(start, settings) if start else {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trainer = GeneratorTrainer(settings, real, device, **networks)
    rounds = plan.shown / settings.batch_size
    seconds = {GENERATOR: {STEPPING: rounds * step_seconds(trainer, watch)}}
    if run is not None:
        watch.report(f"The first samples are in {write_grid(trainer, run / GENERATOR_RUN)}.")
    state = sum(tensor.nbytes for tensor in flatten_state(trainer.state())[0].values())
    config = ObjectClass(plan.name, generator=trainer.averaged.config, crop=settings.crop)
    bundle = Bundle(config, trainer.averaged, discriminator=trainer.discriminator)
    later = measured_stages(_later_stages(plan, config, Path(), Path()), bundle, device, watch)
    seconds |= {stage.title: stage.seconds for stage in later}
    drawn = sum(
        stage.settings.pictures * stage.settings.resolution**2 * 7
        for stage in later
        if hasattr(stage.settings, "pictures")
    )
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_memory() or 0
    return dataclasses.replace(plan, seconds=seconds, memory=memory, disk=real.array.nbytes + 2 * state + drawn)
