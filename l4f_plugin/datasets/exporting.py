"""Labelled sets by the thousand: draws, curates, puts before other backgrounds, writes shard after shard.

Everything about a picture follows from the plan and its seed, so that a run which was killed goes on where it was, and
several machines share the work: each takes every so many shards. Whoever ends last puts the set together. A shard is
always drawn from its first seed on in the same batches: on one machine, with as many threads, it has the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image

from .. import compositing
from ..arguments import LARGEST_SEED, check_integer
from ..bundles.files import open_plain, remove, sha256_of, unreadable, write_atomically
from ..bundles.locks import lock
from ..errors import UserError
from ..jobs import NEVER, CancelToken, Progress, unseen
from ..subject import Subject, no_masks
from . import shard_records
from .curation import MaskMeasures, measure
from .export_backgrounds import BackgroundFolder, choose, put_behind
from .export_plan import STATE_FOLDER, ExportedClass, ExportPlan, ExportSettings, check_same, plan_path, read_plan
from .formats import CLASSES, LabelledPicture, Writer
from .set_card import CARD_NAME, SHEET_NAME, SHEET_TILES, dataset_card, sheet_file, sheet_tiles
from .shard_records import ShardRecord, is_done, missing_shards, record_path, records, write_file

if TYPE_CHECKING:
    from ..pipeline import Labels4FreePipeline

CHECKSUMS_NAME = "SHA256SUMS"
FEWEST_MEASURED, MOST_MEASURED = 16, 64  # pictures that set the limits of curation
HOPELESS_AFTER = 200  # seeds of a shard, of which fewer than one in fifty passed curation
_HOPELESS_SHARE = 0.02
MOST_RANKS = 100_000
_NAMED = 8  # missing shards that are named

Drawing = Callable[[], AbstractContextManager["Labels4FreePipeline"]]


def rank_of(environment: Mapping[str, str]) -> tuple[int, int]:
    """Which of how many processes this is, as `torchrun` says in RANK and WORLD_SIZE. Raises `UserError`."""
    words = [environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"RANK {words[0]:.20} and WORLD_SIZE {words[1]:.20} must be whole numbers; see torchrun.")
    world_size = check_integer("WORLD_SIZE", int(words[1]), 1, MOST_RANKS)
    return check_integer("RANK", int(words[0]), 0, world_size - 1), world_size


def make_plan(
    pipeline: Labels4FreePipeline, settings: ExportSettings, pictures: BackgroundFolder | None = None
) -> ExportPlan:
    """The plan of a set of that class. Raises `UserError` for a class without masks and settings that do not fit."""
    config = pipeline.config
    if pipeline.bundle.alpha is None:
        raise no_masks(config.name)
    if "pictures" in settings.backgrounds and not (pictures and pictures.sizes):
        raise UserError("Backgrounds of your own need a folder; name it with --background-pictures.")
    if settings.truncation_psi is None:
        settings = replace(settings, truncation_psi=config.truncation_psi)
    weights = "\n".join(f"{name} {file.sha256}" for name, file in sorted(config.files.items()))
    digest, about = hashlib.sha256(weights.encode()), (config.name, config.title, config.licence, config.source)
    source = ExportedClass(*about, digest.hexdigest()[:16], pipeline.picture_size, config.alpha_threshold)
    used = pictures.fingerprint if pictures and "pictures" in settings.backgrounds else ""
    return ExportPlan(settings, source, str(pipeline.dtype).removeprefix("torch."), used)


def estimate(plan: ExportPlan, drawing: Drawing, pictures: BackgroundFolder | None = None) -> tuple[float, int]:
    """Seconds and bytes that a set would take here, by its second batch: the first is slower. Raises as `export`."""
    shard = _Shard(plan, 0, pictures or BackgroundFolder())
    with drawing() as pipeline:
        shard.draw(pipeline, NEVER)
        started = time.monotonic()
        made = shard.draw(pipeline, NEVER)
        size = sum(len(content) for picture in made for content in picture.files().values())
        seconds = time.monotonic() - started
    if not made:
        raise UserError("None of the first pictures passed curation, so nothing can be estimated; loosen it.")
    return seconds / len(made) * plan.settings.count, round(size / len(made) * plan.settings.count)


def export(
    plan: ExportPlan,
    folder: Path,
    drawing: Drawing,
    *,
    pictures: BackgroundFolder | None = None,
    rank: tuple[int, int] = (0, 1),
    progress: Progress = unseen,
    cancel: CancelToken = NEVER,
) -> bool:
    """Draws the shards of this rank that are not there yet; whether the set in `folder` is complete then.

    A `rank` (number, of how many) has every so many shards, from that number on. `drawing()` is entered for each anew
    and gives the pipeline, so that others may draw in between; `pictures` are the user's backgrounds. `progress` counts
    the pictures of this rank. What is done stays, and the same call goes on from there.

    Raises `UserError` where the system refuses, where `folder` holds something else or an export with another plan, and
    where curation leaves nothing over; `Cancelled`.
    """
    (number, ranks), pictures = rank, pictures or BackgroundFolder()
    cancel.check()

    def begun() -> ExportPlan:
        if plan.pictures:  # where none can be read the set is not begun
            pictures.draw(np.random.default_rng(0), plan.picture_size)
        return _with_limits(plan, drawing, cancel)

    plan = _begin(plan, folder, begun)
    if plan.pictures:
        pictures.begin(folder)
    shards = range(number, plan.shards, ranks)
    ended, total = 0, sum(map(plan.quota, shards))

    def tell(done: int) -> None:
        progress(ended + done, total, f"{ended + done:,} of {total:,} pictures")

    busy = f"Another export writes into {folder}; wait for it, or choose another folder."
    with lock(folder / STATE_FOLDER / f"rank-{number}-of-{ranks}.lock", refusal=busy):
        for shard in shards:
            if not is_done(folder, shard):
                remove(record_path(folder, shard))
                _export_shard(_Shard(plan, shard, pictures), folder, drawing, tell, cancel)
            ended += plan.quota(shard)
            tell(0)
        if missing_shards(folder, plan):
            return False  # another rank is still at it, and will put the set together
        _complete(plan, folder)
    return True


def merge(parts: Sequence[Path], folder: Path, *, progress: Progress = unseen) -> ExportPlan:
    """Copies what `folder` lacks from the parts, checks every hash on the way and puts the set together; its plan.

    `folder` may be one of the parts. What a killed merge has copied stays, and the same call goes on from there.
    Raises `UserError` for parts that are none or not of one plan, for damaged files, and where shards are missing.
    """
    plans = []
    for part in parts:
        plan = read_plan(part)
        if plan is None:
            raise UserError(f"{part} holds no export; name folders that `l4f export` wrote.")
        plans.append(plan)
        check_same(plans[0], plan, part)
    plan = _begin(plans[0], folder, lambda: plans[0])
    with lock(folder / STATE_FOLDER / "merge.lock"):
        for shard in range(plan.shards):
            if not is_done(folder, shard):
                having = [part for part in parts if part.resolve() != folder.resolve() and is_done(part, shard)]
                if having:
                    _copy_shard(having[0], folder, shard)
            progress(shard + 1, plan.shards, f"{shard + 1:,} of {plan.shards:,} shards")
        missing = missing_shards(folder, plan)
        if missing:
            named = ", ".join(map(str, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
            raise UserError(
                f"{len(missing)} of {plan.shards} shards are in none of these folders ({named}); draw them with the "
                "command that drew the others, and merge again."
            )
        _complete(plan, folder)
    return plan


def _begin(plan: ExportPlan, folder: Path, completed: Callable[[], ExportPlan]) -> ExportPlan:
    """The plan of the set in `folder`, which has to be the same; a new set gets the plan that is `completed`."""
    found = read_plan(folder)
    if found is not None:
        check_same(plan, found, folder)
        return found
    if folder.is_dir() and any(entry.name != STATE_FOLDER for entry in folder.iterdir()):
        raise UserError(f"{folder} holds other files and was left alone; choose a new or empty folder.")
    plan = completed()
    write_atomically(plan_path(folder), plan.to_json())
    return plan


def _with_limits(plan: ExportPlan, drawing: Drawing, cancel: CancelToken) -> ExportPlan:
    """The plan with a number for every limit of curation, from the first pictures that it names."""
    settings = plan.settings
    if settings.curation is None or settings.curation.is_complete:
        return plan
    count = min(max(settings.count, FEWEST_MEASURED), MOST_MEASURED)
    seeds = [(settings.first_seed + place) % (LARGEST_SEED + 1) for place in range(count)]
    with drawing() as pipeline:
        options = {**settings.style, "batch_size": settings.batch_size, "with_background": False, "cancel": cancel}
        found = [_labels(plan, sample)[2] for sample in pipeline.stream(seeds, **options)]
    return replace(plan, settings=replace(settings, curation=settings.curation.completed(found)))


def _labels(plan: ExportPlan, sample: Subject) -> tuple[np.ndarray, np.ndarray, MaskMeasures]:
    """The soft mask in the size of the set, uint8, and of that, as it is written, the hard one and measures."""
    mask = compositing.to_bytes(scaled(sample.required_alpha(), plan.picture_size))
    alpha = compositing.to_float(mask)
    hard = alpha > plan.source.alpha_threshold
    return mask, hard, measure(alpha, hard)


def _export_shard(
    shard: _Shard, folder: Path, drawing: Drawing, tell: Callable[[int], None], cancel: CancelToken
) -> None:
    quota, labels, tiles, shown = shard.plan.quota(shard.number), [], [], []
    writer = CLASSES[shard.plan.settings.format](folder, shard.number)
    try:
        with drawing() as pipeline:
            while len(labels) < quota:
                cancel.check()
                made = shard.draw(pipeline, cancel, quota - len(labels))
                labels += map(writer.add, made)
                if made and shard.number == 0 and len(tiles) < SHEET_TILES:  # shown while the set is drawn
                    tiles += [tile for picture in made for tile in sheet_tiles(picture.image, picture.mask)]
                    shown = [write_file(folder, SHEET_NAME, sheet_file(tiles[:SHEET_TILES]))]
                shard.check_hope(len(labels))
                if len(labels) < quota:
                    tell(len(labels))
        files = [*writer.close(), *shown]
    finally:
        writer.discard()
    unreadable = sorted(shard.pictures.unreadable)
    record = ShardRecord(shard.number, shard.tried, dict(shard.dropped), files, labels, unreadable)
    shard_records.write_record(folder, record)


class _Shard:
    """Draws one shard, batch by batch, from its first seed on."""

    def __init__(self, plan: ExportPlan, number: int, pictures: BackgroundFolder):
        self.plan, self.number, self.pictures = plan, number, pictures
        self._seeds = plan.candidates(number)
        self.tried, self.dropped = 0, Counter()

    def draw(
        self, pipeline: Labels4FreePipeline, cancel: CancelToken, wanted: int | None = None
    ) -> list[LabelledPicture]:
        """The pictures of the next batch that pass curation, `wanted` at most."""
        settings = self.plan.settings
        seeds = list(islice(self._seeds, settings.batch_size))
        # To draw backgrounds too takes twice the time.
        options = {"batch_size": len(seeds), "with_background": "seeds" in settings.backgrounds, "cancel": cancel}
        samples = list(pipeline.stream(seeds, **settings.style, **options))
        made: list[LabelledPicture] = []
        for sample, neighbour in zip(samples, samples[1:] + samples[:1], strict=True):
            if len(made) == wanted:
                break
            self.tried += 1
            if (picture := self._label(sample, neighbour)) is not None:
                made.append(picture)
        return made

    def _label(self, sample: Subject, neighbour: Subject) -> LabelledPicture | None:
        """The picture with its labels in the size of the set, None where curation drops it."""
        settings, size = self.plan.settings, self.plan.picture_size
        mask, hard, found = _labels(self.plan, sample)
        reason = settings.curation and settings.curation.reason_to_drop(found)
        if reason:
            self.dropped[reason] += 1
            return None
        image, other = scaled(sample.image, size), None
        if neighbour.background is not None:
            other = (neighbour.seed, scaled(neighbour.background, size))
        label, behind = choose(sample.seed, settings.backgrounds, self.pictures, other, size)
        if behind is not None:
            image = put_behind(image, compositing.to_float(mask), behind)
        labels = {
            "seed": sample.seed,
            "split": self.plan.split_of(sample.seed),
            "truncation_psi": sample.style.truncation_psi,
            "background": label,
            "box": list(found.box),
            "area": found.area,
            "soft_area": round(found.soft_area, 2),
            "uncertainty": round(found.uncertainty, 4),
            "largest_piece": round(found.largest_piece, 4),
        }
        return LabelledPicture(f"{sample.seed:010d}", image, mask, hard, labels)

    def check_hope(self, kept: int) -> None:
        if self.tried >= HOPELESS_AFTER and kept < self.tried * _HOPELESS_SHARE:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common())
            raise UserError(
                f"Only {kept} of {self.tried} masks passed curation ({reasons}); loosen its limits, for example with "
                "--max-uncertainty, or give --no-curation."
            )


def scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 `[H, W, 3]` or float32 `[H, W]` averaged down to `size` (width, height)."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _copy_shard(part: Path, folder: Path, shard: int) -> None:
    record = shard_records.read_record(part, shard)
    remove(record_path(folder, shard))
    for note in record.files:
        try:
            with open_plain(part / note.path) as file:
                content = file.read()
        except OSError as error:
            raise unreadable(error, part / note.path) from error
        if hashlib.sha256(content).hexdigest() != note.sha256:
            raise UserError(f"{part / note.path} is damaged; copy that folder again, or draw its shards again.")
        write_file(folder, note.path, content)
    shard_records.write_record(folder, record)


def _complete(plan: ExportPlan, folder: Path) -> None:
    """Writes annotations, card and checksums, unless that was done; two processes that do so write the same bytes."""
    card_path, checksums = folder / CARD_NAME, folder / CHECKSUMS_NAME
    if checksums.is_file() and card_path.is_file():  # the checksums are written last
        return
    with lock(folder / STATE_FOLDER / "finish.lock"):
        for place in (folder, folder / STATE_FOLDER / "shards"):
            for leftover in place.glob(".*.partial"):  # of runs that were killed
                remove(leftover)
        layout = CLASSES[plan.settings.format]
        written = layout.summaries(folder, plan)
        for name, writer in written.items():
            _write_text(folder / name, writer)
        card = dataset_card(plan, records(folder, plan), layout.USE)
        ours, mark = False, "drawn by the object class `"
        with suppress(OSError, ValueError):
            ours = not card_path.is_symlink() and (not card_path.exists() or mark in card_path.read_text("utf-8"))
        if not ours:  # a user has put a card of their own into the folder
            raise UserError(
                f"{card_path} is not of this program and is left alone; move it away and give the same command "
                "again, which then only writes the card."
            )
        write_atomically(card_path, card)

        def write(file: IO[str]) -> None:  # in the manner of sha256sum, which checks them with -c
            for record in records(folder, plan):
                file.writelines(f"{note.sha256}  {note.path}\n" for note in record.files)
            file.writelines(f"{sha256_of(folder / name)}  {name}\n" for name in (*written, CARD_NAME))

        _write_text(checksums, write)


def _write_text(path: Path, writer: Writer) -> None:
    def write(target: Path) -> None:
        with open(target, "w", encoding="utf-8", newline="") as file:
            writer(file)

    write_atomically(path, write)


def local_device(environment: Mapping[str, str]) -> str | None:
    """The GPU of this process where `torchrun` started one process for each; None leaves the choice."""
    import torch

    place, cards = environment.get("LOCAL_RANK", ""), torch.cuda.device_count()
    return f"cuda:{int(place) % cards}" if place.isdecimal() and cards > 1 else None
