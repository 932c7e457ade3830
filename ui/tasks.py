"""Jobs that go on when the page is closed, on a page: a line for each, followed until they have ended."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from l4f_plugin.jobs import Job

from . import compat, status
from .run_buttons import complain
from .service import Service
from .texts import text
from .words import failure, standing

LOOK_AGAIN = 0.3
"""Seconds between looks at what runs."""


@dataclass
class Watching:
    """What one visitor's page knows of the tasks of all: its latest watcher, those that had `ended` when it was drawn,
    those `seen` while they ran, and its `own`, whose failures concern nobody else. Behind them stands a `note` of the
    panel, until something is begun."""

    watcher: object = None
    ended: list[Job] = field(default_factory=list)
    seen: list[Job] = field(default_factory=list)
    own: list[Job] = field(default_factory=list)
    note: str = ""

    def activity(self, tasks: Sequence[Job]) -> str:
        """A line for each task that runs or is its own, or that went well before its eyes, with a bar while it runs."""
        successes = [task for task in self.seen if task.error is None and not task.told]
        shown = [task for task in tasks if not task.ended or task in self.own or task in successes]
        self.seen = [task for task in shown if not task.told]
        for task in self.own:
            task.told |= task.ended
        return "".join(f'<div class="l4f-task">{_line(task)}</div>' for task in shown)


def _line(task: Job) -> str:
    if not task.ended:
        progress = task.standing
        return status.running(standing(progress, task.kind), progress.done, progress.total)
    if task.stopped:
        return status.finished(text(f"stopped.{task.kind}", title=task.title))
    if task.error is not None:
        return status.problem(failure(task))
    return status.finished(task.outcome or "")


class TaskPanel:
    """A panel that starts jobs of a `kind` (None: of any) and shows those of all pages.

    It has a line of `activity` and a `visit`, the state of type `Watching`; `show(visit)` makes updates of `outputs`.
    `started` are the events after which other parts of the page may look at the engine anew.
    """

    kind: str | None = None
    visit: gr.State
    activity: gr.HTML
    outputs: list
    show: Callable[[Any], dict]

    def __init__(self, service: Service):
        self._service, self._jobs = service, service.class_jobs.jobs
        self._followed = [self._jobs]
        self.started: list = []

    def open_on(self, trigger: Callable) -> None:
        """Wires an event (the page or the tab being opened) that shows how things stand."""
        self._follow(trigger, self.opened, [self.visit])

    def opened(self, visit: Watching) -> dict:
        """As `show`, for a page that is opened: it also tells of what has ended meanwhile."""
        # Those whose end no page has told become its own: whoever started them has gone.
        visit.own += [task for task in self._jobs.recent(self.kind) if task.ended and not task.told]
        return self.show(visit)

    def _follow(self, trigger: Callable, handler: Callable, inputs: Sequence | set, further: Sequence = ()) -> None:
        """Wires an event that may start something, and the watcher behind it."""
        event = compat.on(trigger, handler, inputs, [*self.outputs, *further])
        self.started.append(compat.on(event.then, self.watch, [self.visit], self.outputs, queue=True))

    def _begun(self, visit: Watching, begin: Callable[[], Job]) -> dict:
        """Starts a job; what the page shows then, or why it did not start."""
        try:
            visit.own, visit.note = [begin()], ""
        except Exception as error:
            return {**self.show(visit), self.activity: complain(error)}
        return self.show(visit)

    def watch(self, visit: Watching) -> Iterator[dict]:
        """Follows what runs until it has ended, or a newer watcher of the same page takes over."""
        visit.watcher = me = object()
        told = self._told(visit)  # shown already, but for a refusal: that is to stay
        yield {}
        while visit.watcher is me:
            running = self._is_busy()
            if self._ended() != visit.ended:
                told = None
                yield self._at_end(visit)
            elif (now := self._told(visit)) != told:
                told = now
                yield now
            if not running and not self._is_busy():
                return
            time.sleep(LOOK_AGAIN)

    def _told(self, visit: Watching) -> dict:
        """What changes while something runs."""
        return {self.activity: visit.activity(self._jobs.recent(self.kind)) + visit.note or status.quiet()}

    def _at_end(self, visit: Watching) -> dict:
        return self.show(visit)

    def _is_busy(self) -> bool:
        return any(jobs.running(kind=self.kind) for jobs in self._followed)

    def _ended(self) -> list[Job]:
        return [task for jobs in self._followed for task in jobs.ended(self.kind)]
