"""Labelled sets by the thousand: draws, curates, puts before other backgrounds, writes shard after shard.

Everything about a picture follows from the plan and its seed, so that a run which was killed goes on where it was, and
several machines share the work: each takes every so many shards. Whoever ends last puts the set together. A shard is
always drawn from its first seed on in the same batches: on one machine, with as many threads, it has the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .. import compositing
from ..arguments import check_integer
from ..bundles.files import remove, write_atomically, write_text
from ..bundles.locks import lock
from ..errors import UserError
from ..jobs import CancelToken, Progress
from ..subject import Subject
from .contact_sheet import SHEET_NAME, ContactSheet
from .curation import hard_mask, measure
from .export_backgrounds import PictureFolder, choose, put_behind
from .export_plan import STATE_FOLDER, ExportedClass, ExportSettings, Plan, check_same, plan_path, read_plan
from .finishing import complete, is_complete
from .formats import LabelledPicture, ShardWriter, format_module
from .shards import ShardRecord, is_done, missing_shards, record_path, write_file, write_record

if TYPE_CHECKING:
    from ..pipeline import Labels4FreePipeline

HOPELESS_AFTER = 200  # seeds of a shard, of which fewer than one in fifty passed curation
_HOPELESS_SHARE = 0.02
MOST_RANKS = 100_000

Drawing = Callable[[], AbstractContextManager["Labels4FreePipeline"]]


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this is; it draws the shards `rank`, `rank + world_size` and so on."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        check_integer("WORLD_SIZE", self.world_size, 1, MOST_RANKS)
        check_integer("RANK", self.rank, 0, self.world_size - 1)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Rank:
        """What `torchrun` says in RANK and WORLD_SIZE. Raises `UserError` for what is no rank."""
        words = [environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")]
        if not all(word.isdecimal() for word in words):
            raise UserError(f"RANK {words[0]:.20} and WORLD_SIZE {words[1]:.20} must be whole numbers; see torchrun.")
        return cls(*map(int, words))


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes that a set would take here."""

    seconds: float
    bytes: int


def make_plan(pipeline: Labels4FreePipeline, settings: ExportSettings, pictures: PictureFolder | None = None) -> Plan:
    """The plan of a set of that class. Raises `UserError` for a class without masks and settings that do not fit."""
    config = pipeline.config
    if pipeline.bundle.alpha is None:
        name = config.name
        raise UserError(f"The class {name} has no masks yet; learn them with: l4f learn-masks {name}.")
    if "pictures" in settings.backgrounds and not (pictures and pictures.names):
        raise UserError("Backgrounds of your own need a folder; name it with --background-pictures.")
    if settings.truncation_psi is None:
        settings = replace(settings, truncation_psi=config.truncation_psi)
    weights = "\n".join(f"{name} {file.sha256}" for name, file in sorted(config.files.items()))
    source = ExportedClass(
        config.name,
        config.title,
        config.licence,
        config.source,
        hashlib.sha256(weights.encode()).hexdigest()[:16],
        pipeline.picture_size,
        config.alpha_threshold,
    )
    dtype = str(pipeline.dtype).removeprefix("torch.")
    used = pictures.fingerprint if pictures and "pictures" in settings.backgrounds else ""
    return Plan(settings, source, dtype, used)


def estimate(plan: Plan, drawing: Drawing, pictures: PictureFolder | None = None) -> Estimate:
    """Measures on two batches; the first one, which is slower, does not count. Raises as `export` does."""
    shard = _Shard(plan, 0, pictures or PictureFolder())
    with drawing() as pipeline:
        shard.draw(pipeline, CancelToken())
        started = time.monotonic()
        made = shard.draw(pipeline, CancelToken())
        size = sum(len(content) for picture in made for content in picture.files().values())
        seconds = time.monotonic() - started
    if not made:
        raise UserError("None of the first pictures passed curation, so nothing can be estimated; loosen it.")
    return Estimate(seconds / len(made) * plan.settings.count, round(size / len(made) * plan.settings.count))


def export(
    plan: Plan,
    folder: Path,
    drawing: Drawing,
    *,
    pictures: PictureFolder | None = None,
    rank: Rank | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> bool:
    """Draws the shards of this rank that are not there yet; whether the set in `folder` is complete then.

    `drawing()` is entered for each shard anew and gives the pipeline, so that others may draw in between; `pictures`
    are the user's backgrounds. `progress` counts the pictures of this rank.

    Raises `UserError` where the system refuses, where `folder` holds something else or an export with another plan,
    and where curation leaves nothing over; `Cancelled`. What is done stays, and the same call goes on from there.
    """
    rank, cancel = rank or Rank(), cancel or CancelToken()
    cancel.check()
    begin(plan, folder)
    if plan.pictures and pictures:
        pictures.begin(folder)
    state = folder / STATE_FOLDER
    busy = f"Another export writes into {folder}; wait for it, or choose another folder."
    with lock(state / f"rank-{rank.rank}-of-{rank.world_size}.lock", refusal=busy):
        count = _Count(plan, rank, progress)
        for shard in count.shards:
            if not is_done(folder, shard):
                remove(record_path(folder, shard))
                _export_shard(plan, folder, shard, drawing, pictures or PictureFolder(), count, cancel)
            count.end_of(shard)
        if missing_shards(folder, plan):
            return False  # another rank is still at it, and will put the set together
        if not is_complete(folder, plan):
            complete(plan, folder)
    return True


def begin(plan: Plan, folder: Path) -> None:
    """Makes a new set, or checks that the one in `folder` is of the same plan. Raises `UserError`."""
    found = read_plan(folder)
    if found is not None:
        check_same(plan, found, folder)
        return
    if folder.is_dir() and any(entry.name != STATE_FOLDER for entry in folder.iterdir()):
        raise UserError(f"{folder} holds other files and was left alone; choose a new or empty folder.")
    write_atomically(plan_path(folder), lambda path: write_text(path, plan.to_json()))


class _Count:
    """Tells the progress of a rank over its shards."""

    def __init__(self, plan: Plan, rank: Rank, progress: Progress | None):
        self.shards = range(rank.rank, plan.shards, rank.world_size)
        self._quota = {shard: plan.quota(shard) for shard in self.shards}
        self._total, self._ended, self._progress = sum(self._quota.values()), 0, progress

    def within(self, done: int) -> None:
        """So many pictures of the shard at work are written."""
        if self._progress:
            done += self._ended
            self._progress(done, self._total, f"{done:,} of {self._total:,} pictures")

    def end_of(self, shard: int) -> None:
        """That shard is done."""
        self._ended += self._quota[shard]
        self.within(0)


def _export_shard(
    plan: Plan, folder: Path, number: int, drawing: Drawing, pictures: PictureFolder, count: _Count, cancel: CancelToken
) -> None:
    shard, quota, labels = _Shard(plan, number, pictures), plan.quota(number), []
    sheet = ContactSheet()
    writer: ShardWriter = format_module(plan.settings.format).open_shard(folder, number)
    try:
        with drawing() as pipeline:
            while len(labels) < quota:
                cancel.check()
                made = shard.draw(pipeline, cancel, quota - len(labels))
                for picture in made:
                    labels.append(writer.add(picture))
                    sheet.add(picture)
                shard.check_hope(len(labels))
                if len(labels) < quota:
                    count.within(len(labels))
        files = writer.close()
        if number == 0:  # the first pictures of the set
            files.append(write_file(folder, SHEET_NAME, sheet.file()))
    finally:
        writer.discard()
    unreadable = sorted(pictures.unreadable)
    write_record(folder, ShardRecord(number, shard.tried, dict(shard.dropped), files, labels, unreadable))


class _Shard:
    """Draws one shard, batch by batch, from its first seed on."""

    def __init__(self, plan: Plan, number: int, pictures: PictureFolder):
        self._plan, self._pictures = plan, pictures
        self._seeds: Iterator[int] = plan.candidates(number)
        self.tried, self.dropped = 0, Counter()

    def draw(
        self, pipeline: Labels4FreePipeline, cancel: CancelToken, wanted: int | None = None
    ) -> list[LabelledPicture]:
        """The pictures of the next batch that pass curation, `wanted` at most."""
        settings = self._plan.settings
        seeds = list(islice(self._seeds, settings.batch_size))
        samples = list(
            pipeline.stream(
                seeds,
                settings.truncation_psi,
                settings.truncation_cutoff,
                settings.noise_mode,
                batch_size=len(seeds),
                with_background=settings.draws_backgrounds,
                cancel=cancel,
            )
        )
        made: list[LabelledPicture] = []
        for place, sample in enumerate(samples):
            if wanted is not None and len(made) == wanted:
                break
            self.tried += 1
            picture = self._label(sample, samples[(place + 1) % len(samples)])
            if picture is not None:
                made.append(picture)
        return made

    def _label(self, sample: Subject, neighbour: Subject) -> LabelledPicture | None:
        """The picture with its labels in the size of the set, None where curation drops it."""
        settings, size = self._plan.settings, self._plan.picture_size
        # The labels are those of the mask that is written, of 256 steps.
        mask = compositing.to_bytes(scaled(sample.required_alpha(), size))
        alpha = compositing.to_float(mask)
        hard = hard_mask(alpha, self._plan.source.alpha_threshold)
        found = measure(alpha, hard)
        reason = settings.curation and settings.curation.reason_to_drop(found)
        if reason:
            self.dropped[reason] += 1
            return None
        image, other = scaled(sample.image, size), None
        if neighbour.background is not None:
            other = (neighbour.seed, scaled(neighbour.background, size))
        label, behind = choose(sample.seed, settings.backgrounds, self._pictures, other, size)
        if behind is not None:
            image = put_behind(image, alpha, behind)
        labels = {
            "seed": sample.seed,
            "split": self._plan.split_of(sample.seed),
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
        """Raises `UserError` where hardly any mask passes."""
        if self.tried >= HOPELESS_AFTER and kept < self.tried * _HOPELESS_SHARE:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common())
            raise UserError(
                f"Only {kept} of {self.tried} masks passed curation ({reasons}); loosen its bounds, for example with "
                "--max-uncertainty, or give --no-curation."
            )


def scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 `[H, W, 3]` or float32 `[H, W]` averaged down to `size` (width, height)."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def local_device(environment: Mapping[str, str]) -> str | None:
    """The GPU of this process where `torchrun` started one process for each; None leaves the choice."""
    import torch

    place, cards = environment.get("LOCAL_RANK", ""), torch.cuda.device_count()
    return f"cuda:{int(place) % cards}" if place.isdecimal() and cards > 1 else None
