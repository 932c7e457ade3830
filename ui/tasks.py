"""Long work that outlives the page which started it: downloads, imports, learning. No Gradio, no torch.

A page that is closed or loaded anew changes nothing; whoever looks sees where things stand.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.runtime import CancelToken

from .texts import text

_LOOK_AGAIN = 0.25  # seconds between looks at a task that is followed
_SETTLED = 1.0  # seconds of progress before it is believed how long the rest takes
REMEMBERED_SECONDS = 900.0
"""How long the last word of a task is shown to whoever opens the page."""


@dataclass(frozen=True)
class Progress:
    """Where a task stands: `done` of `total` (0 where there is nothing to count), `seconds_left` where known."""

    message: str
    done: int = 0
    total: int = 0
    seconds_left: float | None = None


class Task:
    """One piece of work in a thread of its own. `kind` and `name` (of a class) say what it is about, `title` to people.

    `work(task)` returns its last word; it calls `report` and looks at `token`.
    """

    def __init__(self, kind: str, name: str, message: str, work: Callable[[Task], str], title: str = ""):
        self.kind, self.name, self.title = kind, name, title or name
        self.token = CancelToken()
        self.progress = Progress(message)
        self.outcome: str | None = None
        self.error: Exception | None = None
        self.ended_at: float | None = None
        self.followers = 0
        self.told = False
        self._work = work
        self._ended = threading.Event()
        self._since: tuple[str, float, int] | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        return self._ended.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it ended because somebody cancelled it."""
        return isinstance(self.error, Cancelled)

    @property
    def standing(self) -> Progress:
        """`progress`, which says so where the task was asked to stop and has not yet."""
        if not self.token.cancelled:
            return self.progress
        return Progress(text("models.stopping", message=self.progress.message))

    def report(self, done: int, total: int, message: str) -> None:
        """Notes where things stand; the time left follows from the speed since the message was first given."""
        now = time.monotonic()
        if self._since is None or self._since[0] != message or done < self._since[2]:
            self._since = (message, now, done)
        _, since, first = self._since
        left = None
        if total and done > first and now - since >= _SETTLED:
            left = (now - since) / (done - first) * (total - done)
        self.progress = Progress(message, done, total, left)

    def start(self) -> Task:
        """Starts the thread; returns the task."""
        threading.Thread(target=self._run, name=f"l4f {self.kind} {self.name}", daemon=True).start()
        return self

    def wait(self, seconds: float | None = None) -> bool:
        """Waits for the end; whether it has come."""
        return self._ended.wait(seconds)

    def follow(self, token: CancelToken | None = None, *, patient: bool = False) -> Iterator[Progress]:
        """Where things stand, whenever that has changed, until the end.

        Raises what the work raised; whoever follows to the end has told it. A `token` that is set stops the task
        too, unless others follow it, and raises `Cancelled`; `patient` followers wait for what comes of it, since
        some work has a last step that cannot be stopped.
        """
        self.followers += 1
        seen = None
        try:
            while True:
                if self._ended.wait(_LOOK_AGAIN):
                    break
                if token is not None and token.cancelled:
                    if self.followers == 1:
                        self.token.cancel()
                    if not patient:
                        raise Cancelled
                if self.standing != seen:
                    seen = self.standing
                    yield seen
        finally:
            self.followers -= 1
        self.told = True
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            self.outcome = self._work(self)
        except Exception as error:  # put into words where it is shown
            if not isinstance(error, UserError | Cancelled):
                traceback.print_exception(error)
            self.error = error
        self.ended_at = time.monotonic()
        self._ended.set()


class Tasks:
    """The tasks of a process, at most one running for each class."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}

    def start(self, kind: str, name: str, message: str, work: Callable[[Task], str], title: str = "") -> Task:
        """A new task, or the one of the same kind that runs already.

        Raises `UserError` where something else is being done with the class.
        """
        with self._lock:
            running = self._tasks.get(name)
            if running is not None and not running.ended:
                if running.kind == kind and not running.token.cancelled:
                    return running
                raise UserError(text("models.busy", title=running.title))
            task = self._tasks[name] = Task(kind, name, message, work, title)
            return task.start()

    def of(self, name: str | None) -> Task | None:
        """The latest task of a class."""
        return self._tasks.get(name) if name else None

    def ended(self) -> list[Task]:
        """What is over."""
        return [task for task in list(self._tasks.values()) if task.ended]

    def running(self, name: str | None = None, kind: str | None = None) -> list[Task]:
        """What runs now, of one class or of all, of one kind or of all."""
        return [
            task
            for task in list(self._tasks.values())
            if not task.ended and name in (None, task.name) and kind in (None, task.kind)
        ]

    def recent(self) -> list[Task]:
        """What runs, and what ended lately, oldest first."""
        past = time.monotonic() - REMEMBERED_SECONDS
        with self._lock:
            self._tasks = {name: task for name, task in self._tasks.items() if (task.ended_at or past) >= past}
            return list(self._tasks.values())

    def forget(self, name: str) -> None:
        """Forgets the last word of a class's task."""
        with self._lock:
            if name in self._tasks and self._tasks[name].ended:
                del self._tasks[name]

    def cancel(self, name: str | None) -> bool:
        """Asks the class's task to stop; whether there was one."""
        running = self.running(name) if name else []
        for task in running:
            task.token.cancel()
        return bool(running)

    def close(self, seconds: float = 10.0) -> None:
        """Stops everything and waits a while, so that what is there is kept in order."""
        running = self.running()
        for task in running:
            task.token.cancel()
        until = time.monotonic() + seconds
        for task in running:
            task.wait(max(0.0, until - time.monotonic()))
