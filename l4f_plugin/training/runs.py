"""Whole trainings: a run folder in, a bundle out. The command line and the page call these functions.

All of them take the fields of ``loop.Watch`` as ``watched``, go on with a run that is found in ``out``, return False
when stopped before the end, and raise UserError.
"""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import torch

from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..bundles.config import ObjectClass, plain_class_name, read_config
from ..bundles.files import check_replaceable
from ..bundles.folders import cache_folder
from ..errors import Cancelled, UserError
from ..jobs import Progress, Report, unseen
from ..networks import Discriminator, Generator
from ..photos import coarse_alpha, doubt_of, likeness_of, verdict_of
from ..picture_files import PictureFile, find_pictures
from ..pipeline import Labels4FreePipeline
from . import together
from .alpha_training import AlphaTrainer
from .cut_pictures import CutPictures, FewMasks, drawn_pictures, photographed_pictures
from .distance import PICTURES, RandomFeatureDistance
from .generator_training import GeneratorSettings, GeneratorTrainer
from .growing import grow_discriminator, grow_generator
from .loop import STATE_FILE, Watch, read_metrics, resume, train, train_steps
from .picture_survey import evenly
from .pictures import Crop, PictureFolder
from .recipes import AlphaSettings
from .refinement import RefinementSettings, RefinementTrainer
from .student import StudentSettings, StudentTrainer
from .troubles import COLLAPSED, GONE, SENTENCES, Trouble
from .updates import fastest_dtype

BUNDLE_FOLDER = "bundle"
BEST_FOLDER = "best"
DISTANCE = "random_feature_distance"
COMPARED = 1_000  # pictures, with which photographs are compared
COMPARING = "Comparing with pictures of the class"
# What an attempt to learn masks starts from, one after the other; a recipe says which comes first.
STARTS = {
    "corners": "a guess, which takes the pictures' own corners for the background",
    "switch": "a guess, which takes the pictures with the object switched off for the background",
    "": "nothing",
}

ADVICE = "Stop it, and go on with: --augmentation adaptive, twice the --r1-weight, or half the --learning-rate."


def train_generator(
    folder: Path,
    out: Path,
    settings: GeneratorSettings,
    pictures: int,
    *,
    source: Path | None = None,
    class_name: str | None = None,
    licence: str = "unknown",
    squash: bool = False,
    device: torch.device | str = "cpu",
    grid_pictures: int = 20_000,
    log_pictures: int = 1_000,
    **watched: Any,
) -> bool:
    """Train on the pictures of ``folder`` until ``pictures`` were shown.

    Args:
        source: folder of a bundle to start from; one of half the resolution is grown.
        class_name: of the bundle that is written to ``out/bundle``; the name of ``folder`` when None. The state whose
            pictures were nearest to the real ones (see ``distance.py``) is kept in ``out/best`` beside it.
        squash: resize pictures to the square, or the part of it that they fill, instead of cropping them.
        grid_pictures, log_pictures: after how many of them a sheet of samples is written, and a line of metrics.
    """
    watch = Watch(**{"noticed": lambda kind: kind and watch.report(f"{SENTENCES[kind]} {ADVICE}")} | watched)
    for written in (BUNDLE_FOLDER, BEST_FOLDER):
        check_replaceable(out / written)
    networks = starting_networks(source, settings) if source else {}
    title = class_name or Path(folder).resolve().name
    real = _real_pictures(folder, settings.resolution, settings.crop, watch.report, squash)
    trainer = GeneratorTrainer(settings, real, device, **networks)
    if resume(trainer, out):
        watch.report(f"Going on from {trainer.pictures_seen:,} pictures.")

    def write_bundle(target: Path) -> None:
        bundle = trained_bundle(trainer, title, licence, f"{len(real):,} pictures", source)
        save_bundle(bundle, target, dtype=torch.float32)

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

    often = {"grid_pictures": grid_pictures, "log_pictures": log_pictures}
    finished = train(trainer, out, pictures, watch, measure=measure if len(real) > 1 else dict, **often)
    if not together.is_first():
        return finished
    write_bundle(out / BUNDLE_FOLDER)
    watch.report(f"The bundle is in {out / BUNDLE_FOLDER}, after {trainer.pictures_seen:,} pictures.")
    if (out / BEST_FOLDER).exists():
        watch.report(f"The state nearest to the real pictures (distance {best:.4g}) is in {out / BEST_FOLDER}.")
    return finished


def _real_pictures(
    folder: Path, resolution: int, crop: Crop | None, report: Report, squash: bool = False
) -> PictureFolder:
    """The pictures of a folder; says how many are used, and what is left out."""
    with together.first_alone():
        real = PictureFolder(folder, resolution, cache_folder() / "pictures", crop, squash)
    if real.found is None:
        report(SENTENCES[GONE])
        return real
    report(f"Training on {real.found.in_words(real.unreadable)}.")
    if further := real.found.first_frames():
        report(f"{further:,} of them have several frames or pages, of which only the first is used.")
    return real


def trained_bundle(trainer: GeneratorTrainer, title: str, licence: str, origin: str, source: Path | None) -> Bundle:
    """The class so far, without masks; ``origin`` says what pictures it is trained from.

    It keeps whose weights it started from, those of the bundle ``source``: their terms may go on to hold.
    """
    generator = trainer.averaged
    generator.latent_avg.copy_(generator.estimate_latent_avg())
    started = f", starting from: {read_config(source).source}" if source else ""
    config = ObjectClass(
        plain_class_name(title),
        title,
        licence,
        generator=generator.config,
        crop=trainer.settings.crop,
        source=f"trained from {origin}, {trainer.pictures_seen:,} of them shown{started}"[:2000],
    )
    return Bundle(config, generator, discriminator=trainer.discriminator)


def starting_networks(source: Path, settings: GeneratorSettings) -> dict[str, Generator | Discriminator]:
    """The networks of the bundle ``source``, grown where ``settings`` want twice its resolution. Raises UserError."""
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


def train_alpha(
    source: Path,
    out: Path,
    settings: AlphaSettings,
    *,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    **watched: Any,
) -> bool:
    """Learn the masks of the generator in the bundle ``source``; ``out/bundle`` then holds all of it.

    Masks begin as a guess, with limits of area around what it covers. Those that collapse, see
    ``AlphaTrainer.collapsed``, are noticed, said, and learned anew from another of ``STARTS``. ``folder`` holds real
    pictures, for recipes that want them.
    """
    watch, bundle = Watch(**watched), _load(source, out)
    settings = dataclasses.replace(settings, generator_sha256=bundle.config.files["generator.safetensors"].sha256)
    real = None
    if settings.real_samples == "pictures":
        if folder is None:
            raise UserError("This recipe compares with real pictures; name their folder after the bundle.")
        real = _real_pictures(folder, bundle.generator.config.resolution, bundle.config.crop, watch.report)
    first = "" if (out / "attempt1").exists() else settings.start  # a run from when all began as nothing goes on so
    for attempt, start in enumerate(sorted(STARTS, key=lambda start: start != first)):
        own_seed = dataclasses.replace(settings, seed=settings.seed + attempt)
        trainer = AlphaTrainer(own_seed, bundle, device, real)
        attempt_folder = out / (f"attempt{attempt + 1}" + (f"-{start}" if start else ""))
        if attempt:
            watch.report(f"Trying again from {STARTS[start]}.")
        if start and not (attempt_folder / STATE_FILE).exists():
            try:
                trainer.start_from_difference(start, watch)
            except Cancelled:
                return False
        finished = train_steps(trainer, attempt_folder, watch)
        if not trainer.collapsed:
            break
        watch.report(f"The masks collapsed at step {trainer.rounds:,}: they {trainer.collapsed}.")
    else:
        raise Trouble(
            f"The masks collapsed in {len(STARTS)} attempts, as the sheets in {out} show; train the generator for "
            "longer.",
            COLLAPSED,
        )
    if not finished:
        return False
    return _save(with_masks_of(trainer, bundle), out, "masks", watch.report)


def with_masks_of(trainer: AlphaTrainer, bundle: Bundle) -> Bundle:
    """The bundle with the masks and backgrounds that have been learned on its generator so far."""
    follow = trainer.settings.follow_colours
    changes = {"alpha_origin": "learned", "masks_follow_colours": follow, "masks_follow_student": False}
    config = dataclasses.replace(bundle.config, **changes)
    return dataclasses.replace(bundle, config=config, alpha=trainer.averaged, background=trainer.averaged_background)


def refine_alpha(
    source: Path, out: Path, settings: RefinementSettings, *, device: torch.device | str = "cpu", **watched: Any
) -> bool:
    """Let the masks of the bundle ``source`` learn from its photo segmenter; ``out/bundle`` then holds all of it."""
    watch, bundle = Watch(**watched), _load(source, out)
    if bundle.alpha is None or bundle.student is None:
        missing, command = ("masks", "alpha") if bundle.alpha is None else ("photo segmenter", "student")
        raise UserError(
            f"The class {bundle.config.name} has no {missing} to refine masks with; train it first: "
            f"l4f train {command}."
        )
    settings = dataclasses.replace(settings, networks_sha256=networks_digest(bundle, "generator", "alpha", "student"))
    trainer = RefinementTrainer(settings, bundle, device)
    if not train_steps(trainer, out, watch):
        return False
    return _save(dataclasses.replace(bundle, alpha=trainer.averaged), out, "refined masks", watch.report)


def train_student(
    source: Path,
    out: Path,
    settings: StudentSettings,
    *,
    teacher: str | None = None,
    photographs: Path | None = None,
    drawn_instead: bool = False,
    device: torch.device | str = "cpu",
    **watched: Any,
) -> bool:
    """Train a segmenter of photographs on what the bundle ``source`` draws; ``out/bundle`` then holds all of it.

    ``teacher`` says whose masks are learned from: "alpha", the class's own, or "student", those that an earlier
    segmenter finds in the same pictures, which are better; None takes that where there is one. The pictures are drawn
    first and kept in ``out``. From ``photographs``, a folder or archive without labels, is learned instead where they
    are given, by the masks that the earlier segmenter finds in them. Where they are gone, or too few of their masks are
    good, ``drawn_instead`` has it learn from drawn pictures after all.
    """
    watch, bundle = Watch(**watched), _load(source, out)
    name = bundle.config.name
    if bundle.alpha is None:
        raise UserError(f"The class {name} has no masks to learn from; learn them first: l4f learn-masks {name}.")
    teacher = teacher or ("student" if bundle.student else "alpha")
    if getattr(bundle, teacher) is None:
        raise UserError(f"The class {name} has no segmenter yet that could teach another; leave --teacher out.")
    if photographs and bundle.student is None:
        raise UserError(
            f"The class {name} has no segmenter yet to find its subjects; leave --photographs out at first."
        )

    def draw_instead(error: UserError) -> None:
        if not drawn_instead:
            raise error
        watch.report(f"{error} What is learned from is drawn instead.")

    files: list[PictureFile] = []
    if photographs:
        try:
            files = evenly(find_pictures(photographs).pictures, settings.pictures)
        except UserError as error:  # they may have vanished since the training of a class began
            draw_instead(error)
    digest = networks_digest(bundle, "generator", teacher)
    if files:
        digest = f"{networks_digest(bundle, 'student')} and {len(files)} photographs"
    settings = dataclasses.replace(settings, masks_sha256=digest)
    pipeline = drawing_pipeline(bundle, torch.device(device))
    folder = out / f"pictures-{settings.masks_sha256[:12]}-{settings.resolution}"
    progress = watch.progress or _tenths(watch.report)
    drawing = dataclasses.replace(watch, progress=progress)
    earlier = bundle.student if teacher == "student" else None
    side, pictures = settings.resolution, None
    try:
        with together.first_alone():
            if files:
                try:
                    pictures = photographed_pictures(bundle, files, folder, side, pipeline.device, drawing)
                except FewMasks as error:
                    draw_instead(error)
            pictures = pictures or drawn_pictures(pipeline, folder, settings.pictures, side, drawing, earlier)
    except Cancelled:
        watch.report("Stopped; the same command goes on from there.")
        return False
    trainer = StudentTrainer(settings, pictures, device)
    if not train_steps(trainer, out, watch):
        return False
    if not together.is_first():
        return True
    config = dataclasses.replace(bundle.config, masks_follow_student=True)
    taught = dataclasses.replace(bundle, config=config, student=trainer.student())
    taught = compared(taught, pictures, device, progress=progress)
    return _save(taught, out, "a photo segmenter", watch.report)


def drawing_pipeline(bundle: Bundle, device: torch.device) -> Labels4FreePipeline:
    """Draws what a student learns from, in the precision that is fastest; an earlier student has no say in it."""
    dtype = fastest_dtype(device)
    pipeline = Labels4FreePipeline(bundle, device, None if dtype == "float32" else dtype)
    pipeline.bundle = dataclasses.replace(bundle, student=None)
    return pipeline


def compared(
    bundle: Bundle,
    pictures: CutPictures,
    device: torch.device | str = "cpu",
    count: int = COMPARED,
    progress: Progress = unseen,
) -> Bundle:
    """The bundle with what tells photographs of something else; as it is where it has no discriminator.

    The discriminator looks at ``count`` pictures as the class draws them at psi 1, the segmenter at subjects of
    ``pictures`` before the backgrounds of others.
    """
    if bundle.discriminator is None:
        return dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, likeness=None))
    pipeline = Labels4FreePipeline(bundle, device)
    verdicts, doubts = [], []
    for one in pipeline.stream(range(count), truncation_psi=1.0, batch_size=10, with_background=False):
        verdicts.append(verdict_of(bundle.discriminator, bundle.config, one.image, one.required_alpha()))
        progress(len(verdicts), 2 * count, COMPARING)
    parts = pictures.batch(count, torch.Generator().manual_seed(0))
    swapped = torch.lerp(parts[:, 4:].roll(1, dims=0), parts[:, :3], parts[:, 3:4])
    images = (swapped * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    for image in images:
        doubts.append(doubt_of(coarse_alpha(bundle.student, bundle.config, image, pipeline.device)))
        progress(count + len(doubts), 2 * count, COMPARING)
    likeness = likeness_of(verdicts, doubts)
    return dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, likeness=likeness))


def networks_digest(bundle: Bundle, *names: str) -> str:
    """Identifies networks of a bundle that was loaded from files: "generator", "alpha", ..."""
    hashes = "".join(bundle.config.files[f"{name}.safetensors"].sha256 for name in names)
    return hashlib.sha256(hashes.encode()).hexdigest()


def _load(source: Path, out: Path) -> Bundle:
    """The bundle to train for. Raises UserError before a training begins whose bundle could not be put in place."""
    check_replaceable(out / BUNDLE_FOLDER)
    return load_bundle(source, with_discriminator=True)


def _save(bundle: Bundle, out: Path, gained: str, report: Report) -> bool:
    if not together.is_first():
        return True
    save_bundle(bundle, out / BUNDLE_FOLDER)
    report(f"The bundle with {gained} is in {out / BUNDLE_FOLDER}.")
    return True


def _tenths(report: Report) -> Progress:
    """A progress that says no more than every tenth."""
    said: list[int] = []

    def progress(done: int, total: int, message: str) -> None:
        if done * 10 // total not in said:
            said.append(done * 10 // total)
            report(f"{message}: {done:,} of {total:,}")

    return progress
