"""What is done to the classes: fetched, checked, deleted, brought along, shared, given masks and a photo segmenter.

Importing it imports no torch. What takes time is a `Job`, which goes on when the page is closed.

Learning takes its turn in the queue for each step anew: pictures can be drawn meanwhile, both only get slower. Holding
one turn for all of it would close the page for an hour.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from l4f_plugin.bundles import catalogue, licences
from l4f_plugin.bundles.config import ObjectClass, stand_in
from l4f_plugin.bundles.folders import WORST_MASKS, masks_folder, photographs_folder
from l4f_plugin.errors import UserError
from l4f_plugin.hub import removal
from l4f_plugin.hub.download import original_of, resolve
from l4f_plugin.hub.resumable import arrived
from l4f_plugin.images import load_picture
from l4f_plugin.jobs import Job, Jobs

from .outputs import shown_path, slug
from .texts import text
from .words import size, without_paths

if TYPE_CHECKING:
    from l4f_plugin.bundles.bundle import Bundle
    from l4f_plugin.hub.sharing.terms import Declared  # which a Space has not

    from .service import Service

MASKS, PHOTOGRAPHS = "learn_masks", "learn_photographs"
"""The kinds of job that teach a class something."""
QUALITIES = ("quick", "full")
"""How thoroughly masks are learned, as `l4f learn-masks --quality` has it."""


class ClassJobs:
    """Methods that return a `Job` start it or join it. They raise `UserError` where another job has the class."""

    def __init__(self, service: Service):
        self._service = service
        self.jobs = Jobs()
        self.estimates = Jobs()
        self._damaged: set[str] = set()

    # Fetching

    def arrived(self, entry: ObjectClass) -> int:
        """Bytes of an unfinished download that are here already."""
        return arrived(original_of(entry), entry.sha256) if entry.file and entry.sha256 else 0

    def download(self, name: str, accepted: bool = False, again: bool = False) -> Job:
        """Fetches a class of the list, or a repository by its id. `again` fetches what is here already.

        Raises `UserError` where the class wants its licence to be accepted and it is not.
        """
        # What a repository asks for is known only once it is asked.
        entry = None if "/" in name else self._service.entry(name, on_offer=True)
        if entry and entry.terms is not None:
            if not accepted:
                raise UserError(text("models.accept_first", name=entry.title, licence=entry.licence))
            licences.accept(entry)

        def work(job: Job) -> str:
            resolve(name, accept_licence=accepted, force_download=again, progress=job.report, cancel=job.token)
            self._changed(name)
            return text("models.downloaded", title=self._title(name))

        return self._start("download", name, "models.asking", work)

    # Looking after what is here

    def is_damaged(self, entry: ObjectClass) -> bool:
        return bool(entry.problem) or entry.name in self._damaged

    def verify(self, name: str) -> Job:
        def work(job: Job) -> str:
            try:
                catalogue.verify(name, progress=job.report, cancel=job.token)
            except UserError:
                self._damaged.add(name)
                raise
            self._damaged.discard(name)
            return text("models.verified", title=job.title)

        return self._start("verify", name, "models.verifying", work)

    def can_remove(self, entry: ObjectClass) -> bool:
        """Whether anything of the class is here that may be deleted."""
        with suppress(UserError):
            return bool(removal.removal(entry.name).paths)
        return False

    def remove(self, name: str) -> Job:
        """Deletes a class from this computer, after the jobs that draw with it."""

        def work(job: Job) -> str:
            self._forget(name)
            removed = removal.remove(name)
            self._changed(name)
            return text("models.removed", title=job.title, size=size(removed.bytes))

        self.estimates.cancel(name)
        return self._start("remove", name, "models.removing", work)

    def bring(self, name: str, checkpoint: Path | None, alpha: Path | None, title: str, licence: str) -> Job:
        """Makes a class of a user's own checkpoint and masks, or gives a class masks.

        The files are gone afterwards, unless only the name was taken meanwhile.
        """
        given = [path for path in (checkpoint, alpha) if path is not None]
        label = ", ".join(path.name for path in given)

        def work(job: Job) -> str:
            from l4f_plugin.hub import own_checkpoints

            said = {"title": title or None, "licence": licence, "source": text("import.source", file=label)}
            gone = given
            try:
                if checkpoint is None:
                    own_checkpoints.import_masks(name, alpha, cancel=job.token)
                else:
                    own_checkpoints.import_checkpoint(checkpoint, name, alpha=alpha, described=said, cancel=job.token)
                self._changed(name)
                return text("import.done", title=self._title(name))
            except own_checkpoints.NameTaken:
                gone = []
                raise
            except UserError as error:
                raise UserError(without_paths(str(error), dict.fromkeys(given, label))) from None
            finally:
                for path in gone:
                    discard(path)

        message = text("import.working", file=label)
        return self.jobs.start("import", name, message, work, title or self._title(name))

    def publish(self, name: str, repository: str, declared: Declared, as_space: bool, private: bool, dry: bool) -> Job:
        """Publishes a class as the model repository or Space OWNER/NAME; `dry` writes the folder and uploads nothing.

        Its job fails with `NotDeclared` where something is to be declared first.
        """

        def work(job: Job) -> str:
            from l4f_plugin.hub.sharing.model_repository import Publication, publish
            from l4f_plugin.hub.sharing.space import publish_space
            from l4f_plugin.hub.sharing.upload import logged_in_as
            from l4f_plugin.sample_sheet import draw_samples

            def draw(bundle: Bundle, path: Path) -> str:
                with self._service.turn(job.token):
                    return draw_samples(bundle, path, device=self._service.settings().device)

            def report(message: str) -> None:
                job.token.check()
                job.report(0, 0, without_paths(message))

            folder = None
            if dry:
                place = self._service.outputs.folder / "to-publish"
                place.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(prefix=f"{slug(repository)}-", dir=place))
            how = Publication(declared, private, draw=draw, dry=folder)
            address = (publish_space if as_space else publish)(name, repository, how, report)
            if address is not None:
                return text("share.done", title=job.title, address=address)
            sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
            user = logged_in_as()
            told = {"count": len(sizes), "size": size(sum(sizes)), "repository": repository}
            who = text("share.as_user", user=user) if user else text("share.as_nobody")
            return text("share.tried", folder=shown_path(folder), who=who, **told)

        return self._start("publish", name, "share.working", work)

    # Learning

    def learnable(self, entry: ObjectClass) -> str | None:
        """What an undamaged class can learn next: `MASKS`, `PHOTOGRAPHS`, or None."""
        if not entry.installed or entry.problem:
            return None
        if not entry.masks:
            return MASKS
        return None if entry.photos else PHOTOGRAPHS

    def has_begun(self, name: str, kind: str) -> bool:
        """Whether an unfinished learning would go on."""
        runs = masks_folder() if kind == MASKS else photographs_folder()
        return any(runs.glob(f"{stand_in(name)}.*/*"))

    def learn(self, name: str, kind: str, quality: str = "quick") -> Job:
        """Teaches a class what it lacks; the next call goes on where this one was stopped. Masks have a `quality`."""

        def work(job: Job) -> str:
            from l4f_plugin.training import learning

            teach = partial(learning.learn_masks, quality=quality) if kind == MASKS else learning.learn_photographs
            self._teach(job, job.progress.message, teach)
            return text(f"{kind}.done", title=job.title)

        self.estimates.cancel(name)
        return self._start(kind, name, f"{kind}.going_on" if self.has_begun(name, kind) else f"{kind}.working", work)

    def learn_own(self, name: str, uploaded: Sequence[Path], named: str) -> Job:
        """Teaches a class a person's photographs, uploaded or where they are `named`, as `Trainings.look` has it.

        The class's photo segmenter marks them; the one that learns from them replaces it.
        """

        def work(job: Job) -> str:
            from l4f_plugin.training import learning

            message = job.progress.message
            looking = lambda done, total, _: job.report(done, total, text("train.looking"))  # noqa: E731
            folder, found = self._service.trainings.look(uploaded, named, looking, job.token)
            if not found.teaches:
                raise UserError(text("learn_own.few", count=found.usable - found.twins))
            self._teach(job, message, partial(learning.learn_photographs, photographs=folder, again=True))
            return text("learn_own.done", title=job.title, count=found.usable)

        return self._start("learn_own", name, "learn_own.working", work)

    def _teach(self, job: Job, message: str, teach: Callable[..., Path | None]) -> None:
        """Does what `teach` does with the class of the job; raises `Cancelled` where it was stopped."""
        from l4f_plugin.training.loop import STEPPING

        self._service.unload()  # room for the training
        try:
            taught = teach(
                job.name,
                device=self._service.settings().device,
                cancel=job.token,
                report=lambda line: job.report(0, 0, f"{message}: {without_paths(line)}"),
                progress=lambda done, total, part: job.report(
                    done, total, message if part == STEPPING else f"{message}: {part}"
                ),
                turn=lambda: self._service.turn(job.token),
            )
            if taught is None:
                job.token.check()
        finally:
            self._service.unload()  # what the training took, and networks that lack what is new
        self._changed(job.name)

    def worst_masks(self, entry: ObjectClass) -> np.ndarray | None:
        """The sheet of the worst masks that a class learned here, ``[H, W, 3]`` uint8."""
        with suppress(UserError):  # it is not there, or no picture: anybody's file by now
            return load_picture(entry.folder / WORST_MASKS) if entry.folder else None

    def seconds(self, name: str) -> dict[str, float]:
        """How long learning masks would take in each quality; empty as long as that was not measured."""
        measured = self.estimates.of(name)
        return (measured and measured.outcome or {}).get(self._service.settings().device, {})

    def estimate(self, name: str) -> Job:
        device = self._service.settings().device

        def work(job: Job) -> dict[str | None, dict[str, float]]:
            from l4f_plugin.training.learning import estimate_seconds

            turn = lambda: self._service.turn(job.token)  # noqa: E731
            return {device: estimate_seconds(name, device, cancel=job.token, turn=turn)}

        return self.estimates.start("estimate", name, "", work)

    def wants_estimate(self, entry: ObjectClass) -> bool:
        """Whether it is worth while to measure: masks may be learned, no answer yet, and nothing in the way."""
        name, allowed = entry.name, self._service.manages_classes
        if not allowed or self.jobs.running(name) or self.estimates.of(name) or self.estimates.running():
            return False
        return self.learnable(entry) == MASKS and not self.has_begun(name, MASKS)

    # All of them

    def _start(self, kind: str, name: str, key: str, work: Callable[[Job], str]) -> Job:
        """Starts a job of a class, or joins it; `key` is that of what it says first."""
        title = self._title(name)
        return self.jobs.start(kind, name, text(key, title=title), work, title)

    def close(self) -> None:
        """Stops everything, before the program ends."""
        self.estimates.close(0)
        self.jobs.close()

    def _changed(self, name: str) -> None:
        """The files of a class are others now: nothing remembered of the former ones counts."""
        self._damaged.discard(name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        self.estimates.forget(name)
        if self._service.loaded():
            self._service.unload()

    def _title(self, name: str) -> str:
        found = self._service.find(name, on_offer=True)
        return found.title if found else name


def discard(path: Path) -> None:
    """Removes an uploaded file, and its folder where that is empty then."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
