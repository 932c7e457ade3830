"""What a class learns on this computer: masks, then photographs. Importing it imports no torch.

Learning takes its turn in the engine's queue for each step anew: pictures can be drawn meanwhile, on a GPU as on a CPU,
both only get slower. Holding one turn for all of it would close the page for an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l4f_plugin.jobs import Job, Jobs

from .texts import text
from .words import without_paths

if TYPE_CHECKING:
    from l4f_plugin.bundles.config import ObjectClass

    from .engine import Engine

MASKS, PHOTOGRAPHS, ESTIMATE = "learn_masks", "learn_photographs", "estimate"
"""The kinds of task."""


class Learning:
    """Starts what a class can learn as one of `tasks`, and measures beforehand how long masks would take.

    `title_of(name)` is what people call a class; `changed(name)` is told that its files are others.
    """

    def __init__(self, engine: Engine, tasks: Jobs, title_of: Callable[[str], str], changed: Callable[[str], None]):
        self._engine, self._tasks, self._title_of, self._changed = engine, tasks, title_of, changed
        self.estimates = Jobs()
        self._seconds: dict[tuple[str, str | None], float] = {}

    def wanted(self, entry: ObjectClass) -> str | None:
        """What an undamaged class can learn next: `MASKS`, `PHOTOGRAPHS`, or None."""
        if not entry.installed or entry.problem:
            return None
        if not entry.masks:
            return MASKS
        return None if entry.photos else PHOTOGRAPHS

    def has_begun(self, name: str, kind: str) -> bool:
        """Whether an unfinished learning would go on."""
        from l4f_plugin.bundles.config import stand_in
        from l4f_plugin.bundles.folders import masks_folder, photographs_folder

        plain = stand_in(name) if "/" in name else name
        runs = masks_folder() if kind == MASKS else photographs_folder()
        return any(runs.glob(f"{plain}.*/*"))

    def start(self, name: str, kind: str) -> Job:
        """Teaches a class what it lacks; the next call goes on where this one was stopped."""
        title = self._title_of(name)
        message = text(f"{kind}.working", title=title)

        def work(task: Job) -> str:
            self._engine.unload()  # room for the training
            try:
                if _teacher(kind)(name, **self._options(task, message)) is None:
                    task.token.check()
            finally:
                self._engine.unload()  # what the training took, and networks that lack what is new
            self._changed(name)
            return text(f"{kind}.done", title=title)

        self.estimates.cancel(name)
        return self._tasks.start(kind, name, message, work, title)

    def _options(self, task: Job, message: str) -> dict[str, Any]:
        def progress(done: int, total: int, part: str) -> None:
            from l4f_plugin.training.loop import STEPPING

            task.report(done, total, message if part == STEPPING else f"{message}: {part}")

        return {
            "device": self._engine.wanted_device(),
            "cancel": task.token,
            "report": lambda line: task.report(0, 0, f"{message}: {without_paths(line)}"),
            "progress": progress,
            "turn": lambda: self._engine.turn(task.token),
        }

    # How long it takes

    def seconds(self, name: str) -> float | None:
        """How long learning masks would take, None as long as that was not measured."""
        return self._seconds.get((name, self._engine.wanted_device()))

    def estimate(self, name: str) -> Job:
        """Measures how long learning masks would take here."""
        device = self._engine.wanted_device()

        def work(task: Job) -> str:
            from l4f_plugin.training.chain import estimate_seconds

            self._seconds[name, device] = estimate_seconds(
                name, device, cancel=task.token, turn=lambda: self._engine.turn(task.token)
            )
            return ""

        return self.estimates.start(ESTIMATE, name, "", work)

    def estimating(self, name: str | None = None) -> Job | None:
        """The measurement that runs, of one class or of any."""
        return next(iter(self.estimates.running(name)), None)

    def wants_estimate(self, entry: ObjectClass) -> bool:
        """Whether it is worth while to measure: masks are wanted, no answer yet, and nothing in the way."""
        name = entry.name
        if self._tasks.running(name) or self.estimates.of(name) or self.estimating():
            return False
        return self.wanted(entry) == MASKS and not self.has_begun(name, MASKS)

    def forget(self, name: str) -> None:
        """Forgets what was measured of a class."""
        self.estimates.forget(name)
        self._seconds = {key: value for key, value in self._seconds.items() if key[0] != name}


def _teacher(kind: str) -> Callable[..., Path | None]:
    from l4f_plugin.training import chain

    return {MASKS: chain.learn_masks, PHOTOGRAPHS: chain.learn_photographs}[kind]
