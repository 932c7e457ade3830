"""The door to trainings from folders of pictures: looked at, planned, begun, followed. No Gradio.

A training is a process of its own, which goes on without the page. Importing this imports no torch.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from l4f_plugin.bundles.files import remove, storage_error
from l4f_plugin.bundles.folders import trainings_folder
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import CancelToken, Progress

from .texts import text
from .uploads import LIFETIME

if TYPE_CHECKING:
    from l4f_plugin.training.class_plan import ClassPlan
    from l4f_plugin.training.class_run import ClassRun
    from l4f_plugin.training.picture_survey import Survey

    from .service import Service

ACTIVE = ("starting", "running", "waiting", "away", "paused")
"""States in which a process is there."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz")
UPLOADS = ".uploads"  # beside the trainings, as no class is called
SECONDS_BETWEEN_NOTES = 0.5


class Trainings:
    """The trainings of this computer. Methods raise `UserError` where the page is open to others."""

    def __init__(self, service: Service):
        self._service = service
        self._watcher: threading.Thread | None = None
        if self.names():
            self.make_way()

    def make_way(self) -> None:
        """Notes as long as this program lives when it wants the device, so that trainings wait between their steps."""

        def watch() -> None:
            while True:
                if (use := self._service.device_use()) and any(map(self._is_active, self.names())):
                    from l4f_plugin.training.courtesy import note_use

                    note_use(use)
                time.sleep(SECONDS_BETWEEN_NOTES)

        if self._watcher is None and self._service.manages_classes:
            self._watcher = threading.Thread(target=watch, name="l4f makes trainings wait", daemon=True)
            self._watcher.start()

    def _is_active(self, name: str) -> bool:
        with suppress(OSError, ValueError, AttributeError):
            status = (trainings_folder() / name / "status.json").read_text(encoding="utf-8")
            return json.loads(status).get("state") in ACTIVE
        return False

    def demand(self) -> None:
        """Raises `UserError` on a page that others reach without a password."""
        if not self._service.manages_classes:
            raise UserError(text("train.read_only"))

    def names(self) -> list[str]:
        """All trainings, the one that was worked on last first; imports nothing."""
        if not self._service.manages_classes:
            return []
        plans = list(trainings_folder().glob("[!.]*/plan.json"))
        return [plan.parent.name for plan in sorted(plans, key=_changed, reverse=True)]

    def run(self, name: str | None) -> ClassRun:
        from l4f_plugin.training.class_run import ClassRun

        self.demand()
        if name not in self.names():
            raise UserError(text("train.no_run"))
        return ClassRun(name)

    def keep(self, uploaded: Sequence[Path]) -> Path:
        """Takes uploaded pictures, or one archive, to where a training finds them as long as it is there."""
        self.demand()
        self._forget_uploads()
        folder = trainings_folder() / UPLOADS / uuid.uuid4().hex[:12]
        try:
            folder.mkdir(parents=True)
            kept = [folder / f"{number:06d}{path.suffix.lower()}" for number, path in enumerate(uploaded)]
            for path, target in zip(uploaded, kept, strict=True):
                shutil.copyfile(path, target)
        except OSError as error:
            raise storage_error(error, folder) from error
        return kept[0] if len(kept) == 1 and kept[0].suffix in ARCHIVES else folder

    def look(self, uploaded: Sequence[Path], named: str, progress: Progress, token: CancelToken) -> tuple[Path, Survey]:
        """Where the pictures are, uploaded or where a person says, see `place_of`; and what they are like."""
        from l4f_plugin.training.picture_survey import place_of, survey

        self.demand()
        if not uploaded and not named:
            raise UserError(text("train.no_pictures"))
        folder = self.keep(uploaded) if uploaded else place_of(named, progress, token)
        return folder, survey(folder, progress, token)

    def measured(self, plan: ClassPlan, token: CancelToken) -> ClassPlan:
        from l4f_plugin.training.class_plan import measured

        self._service.unload()  # room for the steps
        return measured(plan, cancel=token, report=lambda line: None, turn=lambda: self._service.turn(token))

    def begin(self, plan: ClassPlan) -> ClassRun:
        from l4f_plugin.training.class_run import ClassRun

        self.demand()
        run = ClassRun(plan.name)
        run.begin(plan)
        self.make_way()
        self._service.unload()
        run.start_process()
        return run

    def use_best(self, name: str | None, token: CancelToken) -> None:
        """Makes what there is the class, which the next look at the list of classes finds."""
        run = self.run(name)
        with self._service.turn(token):
            run.use_best(lambda line: None)
        self._service.unload()

    def delete(self, name: str | None) -> None:
        """Removes a training, and the pictures that were uploaded for it."""
        run = self.run(name)
        pictures = Path(run.plan.folder)
        run.delete()
        uploads = trainings_folder() / UPLOADS
        if uploads in pictures.parents:
            remove(uploads / pictures.relative_to(uploads).parts[0])

    def _forget_uploads(self) -> None:
        used = set()
        for plan in trainings_folder().glob("*/plan.json"):
            with suppress(OSError):
                used.add(plan.read_text(encoding="utf-8"))
        for folder in (trainings_folder() / UPLOADS).glob("*"):
            if time.time() - _changed(folder) > LIFETIME and not any(folder.name in words for words in used):
                remove(folder)


def _changed(path: Path) -> float:
    try:
        status = path.with_name("status.json")
        return (status if status.exists() else path).stat().st_mtime
    except OSError:
        return 0.0
