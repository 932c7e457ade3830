"""The door to the classes on offer: listed, fetched, checked, deleted, brought along, given masks.

Importing it, and listing classes, imports no torch. What takes time is a `Job`, which goes on when the page is closed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l4f_plugin.errors import UserError
from l4f_plugin.jobs import Job, Jobs

from .learning import Learning
from .texts import text
from .words import size, without_paths

if TYPE_CHECKING:
    from l4f_plugin.bundles.config import ObjectClass
    from l4f_plugin.hub.removal import Removal

    from .engine import Engine


@dataclass(frozen=True)
class Import:
    """A user's own files, there called `label`: a checkpoint that becomes the class `name`, or masks for that class."""

    name: str
    checkpoint: Path | None
    alpha: Path | None
    licence: str | None = None
    title: str | None = None
    label: str = ""


@dataclass(frozen=True)
class Sharing:
    """How a class is published: the repository OWNER/NAME, as a Space or a model repository, private or not.

    `licence`, `attribution` and `masks` ("own" or "without") are what the person declares, see `publishing.terms`.
    """

    repository: str
    as_space: bool = False
    private: bool = False
    licence: str | None = None
    attribution: str | None = None
    masks: str | None = None


class Library:
    """The classes of this computer and of the catalogue. Methods that return a `Job` start it or join it."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.tasks = Jobs()
        self.learning = Learning(engine, self.tasks, self._title, self._changed)
        self._damaged: set[str] = set()

    def entries(self) -> list[ObjectClass]:
        """Every class, those that draw at once first. Raises `UserError` where the catalogue is damaged."""
        from l4f_plugin.bundles import catalogue

        return sorted(catalogue.classes(), key=_order)

    def entry(self, name: str | None) -> ObjectClass:
        """What is known about a class. Raises `UserError` for one that is not in the list."""
        found = next((entry for entry in self.entries() if entry.name == name), None)
        if found is None:
            raise UserError(text("problem.no_class"))
        return found

    # Fetching

    def arrived(self, name: str) -> int:
        """Bytes of an unfinished download that are here already."""
        from l4f_plugin.hub.download import original_of
        from l4f_plugin.hub.resumable import arrived

        found = self.entry(name)
        return arrived(original_of(found), found.sha256) if found.file and found.sha256 else 0

    def is_damaged(self, name: str) -> bool:
        """Whether the files were found not to be what they should be."""
        return name in self._damaged

    def demand_licence(self, name: str, accepted: bool) -> None:
        """Remembers what is accepted. Raises `UserError` where the class wants that and it is not."""
        from l4f_plugin.bundles import licences

        wanted = self.entry(name)
        if wanted.terms is None:
            return
        if not accepted:
            raise UserError(text("models.accept_first", name=wanted.title, licence=wanted.licence))
        licences.accept(wanted)

    def download(self, name: str, accepted: bool = False, again: bool = False) -> Job:
        """Fetches a class of the list, or a repository by its id. `again` fetches what is here already."""
        if "/" not in name:  # what a repository asks for is known only once it is asked
            self.demand_licence(name, accepted)

        def work(task: Job) -> str:
            from l4f_plugin.hub.download import resolve

            resolve(name, accept_licence=accepted, force_download=again, progress=task.report, cancel=task.token)
            self._changed(name)
            return text("models.downloaded", title=self._title(name))

        return self.tasks.start("download", name, text("models.asking"), work, self._title(name))

    # Looking after what is here

    def verify(self, name: str) -> Job:
        """Compares every file with its hash."""

        def work(task: Job) -> str:
            from l4f_plugin.bundles import catalogue

            try:
                catalogue.verify(name, progress=task.report, cancel=task.token)
            except UserError:
                self._damaged.add(name)
                raise
            self._damaged.discard(name)
            return text("models.verified", title=self._title(name))

        title = self._title(name)
        return self.tasks.start("verify", name, text("models.verifying", title=title), work, title)

    def removal(self, name: str) -> Removal:
        """What deleting would delete. Raises `UserError` where there is nothing."""
        from l4f_plugin.hub import removal

        return removal.removal(name)

    def remove(self, name: str) -> Job:
        """Deletes a class from this computer, after the jobs that draw with it."""
        title = self._title(name)

        def work(task: Job) -> str:
            from l4f_plugin.hub import removal

            self._forget(name)
            removed = removal.remove(name)
            self._changed(name)
            return text("models.removed", title=title, size=size(removed.bytes))

        self.learning.estimates.cancel(name)
        return self.tasks.start("remove", name, text("models.removing", title=title), work, title)

    def bring(self, wanted: Import) -> Job:
        """Makes a class of a user's own files, or gives a class masks from one. The files are gone afterwards."""
        files = {path: wanted.label for path in (wanted.checkpoint, wanted.alpha) if path is not None}

        def work(task: Job) -> str:
            try:
                return convert(task)
            except UserError as error:
                raise UserError(without_paths(str(error), files)) from None
            finally:
                for path in files:
                    discard(path)

        def convert(task: Job) -> str:
            from l4f_plugin.hub import own_checkpoints

            if wanted.checkpoint is None:
                own_checkpoints.import_masks(wanted.name, wanted.alpha, cancel=task.token)
            else:
                said = {
                    "title": wanted.title,
                    "licence": wanted.licence,
                    "source": text("import.source", file=wanted.label),
                }
                own_checkpoints.import_checkpoint(
                    wanted.checkpoint, wanted.name, alpha=wanted.alpha, described=said, cancel=task.token
                )
            self._changed(wanted.name)
            return text("import.done", title=self._title(wanted.name))

        message = text("import.working", file=wanted.label)
        return self.tasks.start("import", wanted.name, message, work, wanted.title or self._title(wanted.name))

    # Sharing

    def publish(self, name: str, wanted: Sharing) -> Job:
        """Publishes a class on the Hub. Its task fails with `NotDeclared` where something is to be declared first."""

        def work(task: Job) -> str:
            from l4f_plugin.publishing.model_repository import Publication, publish
            from l4f_plugin.publishing.space import SpaceOptions, publish_space
            from l4f_plugin.publishing.terms import Declared

            def report(message: str) -> None:
                task.token.check()
                task.report(0, 0, without_paths(message))

            declared = Declared(
                wanted.licence,
                wanted.attribution,
                without_masks=wanted.masks == "without",
                own_masks=wanted.masks == "own",
            )
            how = {
                "declared": declared,
                "private": wanted.private,
                "device": self._engine.wanted_device(),
                "turn": lambda: self._engine.turn(task.token),
            }
            if wanted.as_space:
                address = publish_space(name, wanted.repository, SpaceOptions(**how), report)
            else:
                address = publish(name, wanted.repository, Publication(**how), report)
            return text("share.done", title=self._title(name), address=address)

        title = self._title(name)
        return self.tasks.start("publish", name, text("share.working", title=title), work, title)

    def can_fetch(self, entry: ObjectClass) -> bool:
        """Whether the class, if it were not here, could be had from the Hub."""
        return entry.repository is not None

    def can_remove(self, entry: ObjectClass) -> bool:
        """Whether anything of the class is here that may be deleted."""
        try:
            return bool(self.removal(entry.name).paths)
        except UserError:
            return False

    def has_later_masks(self, entry: ObjectClass) -> bool:
        """Whether the class has masks that did not come with its download."""
        return entry.masks_came_later

    def is_busy(self) -> bool:
        """Whether anything runs."""
        return bool(self.tasks.running() or self.learning.estimating())

    def ended(self) -> list[Job]:
        """What is over, measurements too."""
        return [*self.tasks.ended(), *self.learning.estimates.ended()]

    def close(self) -> None:
        """Stops everything, before the program ends."""
        self.learning.estimates.close(0)
        self.tasks.close()

    def _changed(self, name: str) -> None:
        """The files of a class are others now: nothing remembered of the former ones counts."""
        self._damaged.discard(name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        self.learning.forget(name)
        if self._engine.loaded():
            self._engine.unload()

    def _title(self, name: str) -> str:
        return next((entry.title for entry in self.entries() if entry.name == name), name)


def _order(entry: ObjectClass) -> tuple[bool, bool, bool, str]:
    return entry.problem is not None, not entry.installed, not entry.masks, entry.name


def discard(path: Path) -> None:
    """Removes an uploaded file, and its folder where that is empty then."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
