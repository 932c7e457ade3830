"""Whole trainings: a run folder in, a bundle out. The command line and the page call these functions."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..bundles.config import ObjectClass, is_written_by_us, read_config
from ..bundles.files import check_replaceable
from ..bundles.folders import cache_folder
from ..drawing import crop_of
from ..errors import UserError
from ..networks import Discriminator, Generator
from .alpha import AlphaTrainer
from .distance import PICTURES, RandomFeatureDistance
from .generator import GeneratorSettings, GeneratorTrainer
from .growing import grow_discriminator, grow_generator
from .loop import read_metrics, resume, train
from .pictures import PictureFolder
from .recipes import AlphaSettings
from .refinement import RefinementSettings, RefinementTrainer

BUNDLE_FOLDER = "bundle"
BEST_FOLDER = "best"
DISTANCE = "random_feature_distance"
ATTEMPTS = 3


def train_generator(
    folder: Path,
    out: Path,
    settings: GeneratorSettings,
    pictures: int,
    *,
    source: Path | None = None,
    class_name: str | None = None,
    licence: str = "unknown",
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = print,
    **loop_options,
) -> bool:
    """Train on the pictures of ``folder`` until ``pictures`` were shown; a run found in ``out`` goes on.

    Args:
        source: folder of a bundle to start from; one of half the resolution is grown.
        class_name: of the bundle that is written to ``out/bundle``; the name of ``folder`` when None. The state whose
            pictures were nearest to the real ones (see ``distance.py``) is kept in ``out/best`` beside it.
        loop_options: ``save_seconds``, ``cancelled``, ``progress``, ... of ``loop.train``.

    Returns False when stopped before the end. Raises UserError.
    """
    check_run_folder(out)
    networks = _starting_networks(source, settings) if source else {}
    # Whose weights it started from stays known: their terms may go on to hold.
    started = f", starting from: {read_config(source).source}" if source else ""
    name = class_name or Path(folder).resolve().name
    real = PictureFolder(folder, settings.resolution, cache_folder() / "pictures", settings.crop)
    _tell(real, report)
    trainer = GeneratorTrainer(settings, real, device, **networks)
    if resume(trainer, out):
        report(f"Going on from {trainer.pictures_seen:,} pictures.")

    def write_bundle(target: Path) -> None:
        trainer.averaged.latent_avg.copy_(trainer.averaged.estimate_latent_avg())
        config = ObjectClass.for_networks(
            trainer.averaged,
            trainer.discriminator,
            name=name,
            title=name,
            licence=licence,
            crop=settings.crop,
            source=f"trained from {len(real):,} pictures, {trainer.pictures_seen:,} of them shown{started}"[:2000],
        )
        save_bundle(Bundle(config, trainer.averaged, discriminator=trainer.discriminator), target, dtype=torch.float32)

    @functools.cache  # a short run needs none of it
    def distance() -> RandomFeatureDistance:
        return RandomFeatureDistance(real.in_order(PICTURES), device)

    best = min((line[DISTANCE] for line in read_metrics(out) if DISTANCE in line), default=float("inf"))

    def measure() -> dict[str, float]:
        nonlocal best
        random = torch.Generator().manual_seed(0)
        value = distance()(lambda count: trainer.draw(count, random), settings.batch_size)
        if value < best:
            best = value
            write_bundle(out / BEST_FOLDER)
        return {DISTANCE: value}

    if len(real) > 1:
        loop_options = {"measure": measure} | loop_options
    finished = train(trainer, out, pictures, **loop_options)
    write_bundle(out / BUNDLE_FOLDER)
    report(f"The bundle is in {out / BUNDLE_FOLDER}, after {trainer.pictures_seen:,} pictures.")
    if (out / BEST_FOLDER).exists():
        report(f"The state nearest to the real pictures (distance {best:.4g}) is in {out / BEST_FOLDER}.")
    return finished


def check_run_folder(out: Path) -> None:
    """Raises UserError before a training begins whose bundle could not be put in place."""
    check_replaceable(out / BUNDLE_FOLDER, is_written_by_us)


def _tell(real: PictureFolder, report: Callable[[str], None]) -> None:
    """Says how many pictures are used, and what is left out."""
    report(f"Training on {real.found.in_words(real.unreadable)}.")
    if further := real.found.first_frames():
        report(f"{further:,} of them have several frames or pages, of which only the first is used.")


def _starting_networks(source: Path, settings: GeneratorSettings) -> dict[str, Generator | Discriminator]:
    bundle = load_bundle(source, with_discriminator=True)
    generator, discriminator = bundle.generator, bundle.discriminator
    resolution = settings.resolution
    if generator.config.resolution * 2 == resolution:
        generator = grow_generator(generator, settings.channels[resolution])
        if discriminator:
            discriminator = grow_discriminator(discriminator, settings.discriminator_channels[resolution])
    wanted = [(generator, settings.generator_config()), (discriminator, settings.discriminator_config())]
    for network, config in wanted:
        if network is not None and network.config != config:
            raise UserError(
                f"{source} holds a {type(network).__name__.lower()} of another shape; give the resolution and "
                "channels it was made with, or a bundle of half the resolution to grow."
            )
    return {"generator": generator} | ({"discriminator": discriminator} if discriminator else {})


def alpha_trainer(
    bundle: Bundle, settings: AlphaSettings, device: torch.device | str = "cpu", pictures: PictureFolder | None = None
) -> AlphaTrainer:
    """The trainer of a class's masks, before its first step; the networks of ``bundle`` stay as they are."""
    discriminator = bundle.discriminator if settings.discriminator_from_bundle else None
    return AlphaTrainer(settings, bundle.generator, device, pictures, discriminator)


def train_alpha(
    source: Path,
    out: Path,
    settings: AlphaSettings,
    *,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = print,
    **loop_options,
) -> bool:
    """Learn the masks of the generator in the bundle ``source``; ``out/bundle`` then holds all of it.

    Masks that collapse (cover everything or nothing) are noticed, said, and tried again with a firmer hold on
    their area, up to three times. ``folder`` holds real pictures, for recipes that want them.

    Returns False when stopped before the end. Raises UserError.
    """
    check_run_folder(out)
    bundle = load_bundle(source, with_discriminator=True)
    settings = dataclasses.replace(settings, generator_sha256=bundle.config.files["generator.safetensors"].sha256)
    real = None
    if settings.real_samples == "pictures":
        if folder is None:
            raise UserError("This recipe compares with real pictures; name their folder after the bundle.")
        resolution = bundle.generator.config.resolution
        real = PictureFolder(folder, resolution, cache_folder() / "pictures", bundle.config.crop)
        _tell(real, report)
    for attempt in range(1, ATTEMPTS + 1):
        trainer = alpha_trainer(bundle, settings, device, real)
        attempt_folder = out / f"attempt{attempt}"
        if resume(trainer, attempt_folder):
            report(f"Going on from step {trainer.rounds:,}.")
        target = settings.steps * settings.batch_size
        stop = loop_options.get("cancelled", lambda: False)
        options = short_run(target, settings.batch_size)
        options |= loop_options | {"cancelled": lambda: trainer.collapsed or stop()}  # noqa: B023, used at once
        finished = train(trainer, attempt_folder, target, **options)
        if not trainer.collapsed:
            break
        report(f"The masks collapsed (mean area {trainer.mean_area:.2f}) at step {trainer.rounds:,}.")
        settings = settings.with_more_background()
        if attempt < ATTEMPTS:
            report("Trying again with a firmer hold on the area.")
    else:
        raise UserError(
            f"The masks collapsed in {ATTEMPTS} attempts; the sheets in {out} show how. A generator that was "
            "trained for longer, or other area limits, may help."
        )
    if not finished:
        report(f"Stopped at step {trainer.rounds:,}; the same command goes on from there.")
        return False
    config = dataclasses.replace(bundle.config, alpha_origin="learned")
    background = trainer.averaged_background
    learned = dataclasses.replace(
        bundle, config=config, alpha=trainer.averaged, background=background, generator=bundle.generator
    )
    save_bundle(learned, out / BUNDLE_FOLDER)
    report(f"The bundle with masks is in {out / BUNDLE_FOLDER}.")
    return True


def refine_alpha(
    source: Path,
    out: Path,
    settings: RefinementSettings,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = print,
    **loop_options,
) -> bool:
    """Let the masks of the bundle ``source`` learn from its photo segmenter; ``out/bundle`` then holds all of it.

    A run found in ``out`` goes on. ``loop_options`` are those of ``loop.train``. Returns False when stopped before the
    end. Raises UserError.
    """
    check_run_folder(out)
    bundle = load_bundle(source, with_discriminator=True)
    if bundle.alpha is None or bundle.student is None:
        missing, command = ("masks", "alpha") if bundle.alpha is None else ("photo segmenter", "student")
        raise UserError(
            f"The class {bundle.config.name} has no {missing} to refine masks with; train it first: "
            f"l4f train {command}."
        )
    settings = dataclasses.replace(settings, networks_sha256=networks_digest(bundle, "generator", "alpha", "student"))
    trainer = RefinementTrainer(
        settings, bundle.generator, bundle.alpha, bundle.student, crop_of(bundle.config), device
    )
    if resume(trainer, out):
        report(f"Going on from step {trainer.rounds:,}.")
    target = settings.steps * settings.batch_size
    options = short_run(target, settings.batch_size)
    if not train(trainer, out, target, **options | loop_options):
        report(f"Stopped at step {trainer.rounds:,}; the same command goes on from there.")
        return False
    save_bundle(dataclasses.replace(bundle, alpha=trainer.averaged), out / BUNDLE_FOLDER)
    report(f"The bundle with refined masks is in {out / BUNDLE_FOLDER}.")
    return True


def short_run(target: int, batch_size: int) -> dict[str, float]:
    """Options of ``loop.train`` for trainings of minutes: four sheets, metrics every 20 steps, saved every minute."""
    return {"save_seconds": 60.0, "grid_pictures": max(target // 4, 1), "log_pictures": 20 * batch_size}


def networks_digest(bundle: Bundle, *names: str) -> str:
    """Identifies networks of a bundle that was loaded from files: "generator", "alpha", ..."""
    hashes = "".join(bundle.config.files[f"{name}.safetensors"].sha256 for name in names)
    return hashlib.sha256(hashes.encode()).hexdigest()
