"""A whole training of the student: a bundle with masks in, the same bundle with a segmenter of photographs out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..errors import Cancelled, UserError
from ..networks import Student
from ..photos import coarse_alpha, doubt_of, likeness_of, verdict_of
from ..pipeline import Labels4FreePipeline
from .cut_pictures import CutPictures, drawn_pictures
from .loop import resume, train
from .precision import fastest_dtype
from .runs import BUNDLE_FOLDER, check_run_folder, networks_digest, short_run
from .student import StudentSettings, StudentTrainer

PICTURES_FOLDER = "pictures"
COMPARED = 1_000  # pictures, with which photographs are compared


def train_student(
    source: Path,
    out: Path,
    settings: StudentSettings,
    *,
    teacher: str | None = None,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = print,
    **loop_options,
) -> bool:
    """Train a segmenter of photographs on what the bundle ``source`` draws; ``out/bundle`` then holds all of it.

    ``teacher`` says whose masks are learned from: "alpha", the class's own, or "student", those that an earlier
    segmenter finds in the same pictures, which are better; None takes that where there is one. The pictures are drawn
    first and kept in ``out``; a run found there goes on. ``loop_options`` are those of ``loop.train``. Returns False
    when stopped before the end. Raises UserError.
    """
    check_run_folder(out)
    bundle = load_bundle(source, with_discriminator=True)
    if bundle.alpha is None:
        name = bundle.config.name
        raise UserError(f"The class {name} has no masks to learn from; learn them first: l4f learn-masks {name}.")
    teacher = teacher or ("student" if bundle.student else "alpha")
    if getattr(bundle, teacher) is None:
        raise UserError(
            f"The class {bundle.config.name} has no segmenter yet that could teach another; leave --teacher out."
        )
    settings = dataclasses.replace(settings, masks_sha256=networks_digest(bundle, "generator", teacher))
    try:
        student = bundle.student if teacher == "student" else None
        watched = {name: loop_options[name] for name in ("cancelled", "progress", "turn") if name in loop_options}
        pictures = _draw(bundle, student, out, settings, device, report, **watched)
    except Cancelled:
        finished = False
    else:
        finished = _train(
            settings,
            pictures,
            out,
            device,
            report,
            loop_options,
            lambda student: _save(
                compared(dataclasses.replace(bundle, student=student), pictures, device), out / BUNDLE_FOLDER, report
            ),
        )
    if not finished:
        report("Stopped; the same command goes on from there.")
    return finished


def compared(
    bundle: Bundle, pictures: CutPictures, device: torch.device | str = "cpu", count: int = COMPARED
) -> Bundle:
    """The bundle with what tells photographs of something else; as it is where it has no discriminator.

    The discriminator looks at ``count`` pictures as the class draws them at psi 1, the segmenter at subjects of
    ``pictures`` before the backgrounds of others.
    """
    if bundle.discriminator is None:
        return dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, likeness=None))
    pipeline = Labels4FreePipeline(bundle, device)
    drawn = pipeline.stream(range(count), truncation_psi=1.0, batch_size=10, with_background=False)
    verdicts = [verdict_of(bundle.discriminator, bundle.config, one.image, one.required_alpha()) for one in drawn]
    parts = pictures.batch(count, torch.Generator().manual_seed(0))
    swapped = torch.lerp(parts[:, 4:].roll(1, dims=0), parts[:, :3], parts[:, 3:4])
    images = (swapped * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    doubts = [doubt_of(coarse_alpha(bundle.student, image, pipeline.device)) for image in images]
    likeness = likeness_of(verdicts, doubts)
    return dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, likeness=likeness))


def train_ceiling(
    pictures: CutPictures,
    out: Path,
    settings: StudentSettings,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = print,
    **loop_options,
) -> Student | None:
    """The same training on pictures with true masks: how well such a student could do. None when stopped.

    ``settings.masks_sha256`` must identify the pictures.
    """
    trained: list[Student] = []
    _train(settings, pictures, out, device, report, loop_options, trained.append)
    return trained[0] if trained else None


def _train(
    settings: StudentSettings,
    pictures: CutPictures,
    out: Path,
    device: torch.device | str,
    report: Callable[[str], None],
    loop_options: dict,
    finish: Callable[[Student], None],
) -> bool:
    trainer = StudentTrainer(settings, pictures, device)
    if resume(trainer, out):
        report(f"Going on from step {trainer.rounds:,}.")
    target = settings.steps * settings.batch_size
    options = short_run(target, settings.batch_size)
    finished = train(trainer, out, target, **options | loop_options)
    if finished:
        finish(trainer.student())
    return finished


def _draw(
    bundle: Bundle,
    teacher: Student | None,
    out: Path,
    settings: StudentSettings,
    device: torch.device | str,
    report: Callable[[str], None],
    progress: Callable[[int, int, str], None] | None = None,
    **watched,
) -> CutPictures:
    dtype = fastest_dtype(torch.device(device))
    pipeline = Labels4FreePipeline(bundle, device, None if dtype == "float32" else dtype)
    folder = out / f"{PICTURES_FOLDER}-{settings.masks_sha256[:12]}-{settings.resolution}"
    progress = progress or _tenths(report)
    return drawn_pictures(
        pipeline, folder, settings.pictures, settings.resolution, report, progress, teacher=teacher, **watched
    )


def _tenths(report: Callable[[str], None]) -> Callable[[int, int, str], None]:
    """A progress that says no more than every tenth."""
    said: list[int] = []

    def progress(done: int, total: int, message: str) -> None:
        if done * 10 // total not in said:
            said.append(done * 10 // total)
            report(f"{message}: {done:,} of {total:,}")

    return progress


def _save(bundle: Bundle, folder: Path, report: Callable[[str], None]) -> None:
    save_bundle(bundle, folder)
    report(f"The bundle with a photo segmenter is in {folder}.")
