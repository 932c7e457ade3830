"""Jobs: work that waits for its turn, tells where it stands, can be cancelled, and outlives the page that started it.

No torch and no Gradio. Panels, API, learning, downloads, exports and trainings share what is here.
"""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from .errors import Cancelled, UserError

Progress = Callable[[int, int, str], None]  # is told how much is done, of how much (0: nothing to count), a message
Report = Callable[[str], None]  # is told a sentence for whoever watches


def unseen(done: int, total: int, message: str) -> None:
    """A `Progress` that nobody looks at."""


REMEMBERED_SECONDS = 900.0  # for so long the outcome of a job is shown to whoever opens the page
_LOOK_AGAIN = 0.1  # seconds between looks at the token while waiting for a turn
_FOLLOWED_EVERY = 0.25  # seconds between looks at a job that is followed
_END = object()
_SETTLED = 1.0  # seconds of progress before the time left is estimated


class CancelToken:
    """Handed to a job when it starts, which looks at it wherever it can stop. For use from any thread.

    `on_wait` is called with the number of jobs ahead whenever that changes, and with 0 when the turn has come; never
    without a wait.
    """

    def __init__(self, on_wait: Callable[[int], None] = lambda ahead: None) -> None:
        self.on_wait, self._cancelled = on_wait, threading.Event()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        """Raises `Cancelled` once `cancel` has been called."""
        if self.cancelled:
            raise Cancelled


NEVER = CancelToken()  # is handed to work that nobody cancels


class JobQueue:
    """One job at a time, first come first served.

    A turn belongs to a job, not to a thread: a job that yields results may go on in another thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()

    def __len__(self) -> int:
        return len(self._tickets)

    @contextmanager
    def turn(self, cancel: CancelToken = NEVER) -> Iterator[None]:
        """Waits until the jobs before this one have ended; the body of the `with` is the job.

        A turn within a turn would wait for itself. Raises `Cancelled` when `cancel` is set while waiting.
        """
        ticket, reported = object(), 0
        with self._changed:
            self._tickets.append(ticket)
        try:
            while True:
                cancel.check()
                with self._changed:
                    ahead = self._tickets.index(ticket)
                    if ahead and ahead == reported:
                        self._changed.wait(_LOOK_AGAIN)
                        continue
                if ahead != reported:
                    cancel.on_wait(ahead)  # outside the lock: it may take its time
                if not ahead:
                    break
                reported = ahead
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()


QUEUE = JobQueue()  # of this process: pages, API and host share one device


@dataclass(frozen=True)
class Standing:
    """Where a job stands: `done` of `total` (0 where there is nothing to count), `seconds_left` where known."""

    message: str
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    stopping: bool = False


class Job:
    """A piece of work in a thread of its own, from its beginning to its end, as the locks of a web UI want it.

    Args:
        work: called with this job and `arguments`; returns the outcome, or yields updates. It calls `report` and looks
            at `token`.
        kind, name: what the job is about, for example "download" and the name of a class.
        title: what people call `name`.
        message: where the job stands as long as it has reported nothing.
        token: by which it is cancelled, a new one where none is given.
        on_end: called in the job's thread when it is over.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        *arguments: Any,
        kind: str = "",
        name: str = "",
        title: str = "",
        message: str = "",
        token: CancelToken | None = None,
        on_end: Callable[[Job], None] = lambda job: None,
    ):
        self.kind, self.name, self.title = kind, name, title or name
        self.token = token or CancelToken()
        self.progress = Standing(message)
        self.outcome: Any = None
        self.error: BaseException | None = None
        self.ended_at: float | None = None
        self.followers = 0
        self.told = False
        self._work, self._arguments, self._on_end = work, arguments, on_end
        self._updates: SimpleQueue[Any] = SimpleQueue()
        self._ended = threading.Event()
        self._since: tuple[str, float, int] | None = None

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def stopped(self) -> bool:
        """Whether the job ended because somebody cancelled it."""
        return isinstance(self.error, Cancelled)

    @property
    def standing(self) -> Standing:
        """Where the job stands, or that it was asked to stop and has not yet."""
        return Standing(self.progress.message, stopping=True) if self.token.cancelled else self.progress

    def report(self, done: int, total: int, message: str) -> None:
        """Notes where the job stands; the time left follows from the speed since the message was first given."""
        now = time.monotonic()
        if self._since is None or self._since[0] != message or done < self._since[2]:
            self._since = (message, now, done)
        _, since, first = self._since
        left = None
        if total and done > first and now - since >= _SETTLED:
            left = (now - since) / (done - first) * (total - done)
        self.progress = Standing(message, done, total, left)

    def start(self) -> Job:
        """Starts the thread, with the caller's context variables: a Space asks there whose request it is."""
        context = contextvars.copy_context()
        name = " ".join(["l4f job", self.kind, self.name]).strip()
        threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True).start()
        return self

    def wait(self, seconds: float | None = None) -> bool:
        """Waits for the end; returns whether it has come."""
        return self._ended.wait(seconds)

    def result(self) -> Any:
        """The outcome of a job that is over. Raises what its work raised."""
        if self.error is not None:
            raise self.error
        return self.outcome

    def follow(self, token: CancelToken | None = None, *, patient: bool = False) -> Iterator[Standing]:
        """Yields where the job stands, whenever that has changed, until the end; whoever follows so far has told it.

        A `token` that is set stops the job too, unless others follow it. Then `Cancelled` is raised, except for
        `patient` followers: some work has a last step that cannot be stopped. Raises what the work raised.
        """
        self.followers += 1
        seen = None
        try:
            while not self._ended.wait(_FOLLOWED_EVERY):
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
        self.result()

    def post(self, update: Any) -> None:
        """Hands on an update out of turn."""
        self._updates.put(update)

    def updates(self, quiet_seconds: float | None = None) -> Iterator[Any]:
        """Yields what the work yields and posts, to one reader; None after every `quiet_seconds` without an update.

        The job keeps its turn no longer than it computes, even where nobody reads. Raises what the work raised.
        """
        while True:
            try:
                update = self._updates.get(timeout=quiet_seconds)
            except Empty:
                yield None
                continue
            if update is _END:
                break
            yield update
        self.result()

    def _run(self) -> None:
        try:
            self.outcome = self._work(self, *self._arguments)
            if isinstance(self.outcome, Iterator):
                for update in self.outcome:
                    self.post(update)
        except BaseException as error:  # put into words where it is shown
            self.error = error
        self.ended_at = time.monotonic()
        self._ended.set()
        self._updates.put(_END)
        self._on_end(self)


class Jobs:
    """Jobs that outlive their page, at most one running for each name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, kind: str, name: str, message: str, work: Callable[[Job], Any], title: str = "") -> Job:
        """A new job, or the one of that kind that runs already. Raises `UserError` where one of another kind runs."""
        with self._lock:
            running = self._jobs.get(name)
            if running is not None and not running.ended:
                if running.kind == kind and not running.token.cancelled:
                    return running
                raise UserError(f"Something else is being done with {running.title}; wait for it, or cancel it.")
            job = Job(work, kind=kind, name=name, title=title, message=message, on_end=_print_unforeseen)
            self._jobs[name] = job
            return job.start()

    def of(self, name: str | None) -> Job | None:
        return self._jobs.get(name) if name else None

    def ended(self, kind: str | None = None) -> list[Job]:
        """What is over, of one kind or of all."""
        return [job for job in list(self._jobs.values()) if job.ended and kind in (None, job.kind)]

    def running(self, name: str | None = None, kind: str | None = None) -> list[Job]:
        """What runs now, of one name or of all, of one kind or of all."""
        wanted = (job for job in list(self._jobs.values()) if name in (None, job.name) and kind in (None, job.kind))
        return [job for job in wanted if not job.ended]

    def recent(self, kind: str | None = None) -> list[Job]:
        """What runs, and what ended lately, oldest first."""
        past = time.monotonic() - REMEMBERED_SECONDS
        with self._lock:
            self._jobs = {name: job for name, job in self._jobs.items() if (job.ended_at or past) >= past}
            return [job for job in self._jobs.values() if kind in (None, job.kind)]

    def forget(self, name: str) -> None:
        with self._lock:
            if name in self._jobs and self._jobs[name].ended:
                del self._jobs[name]

    def cancel(self, name: str | None) -> bool:
        """Asks the job of that name to stop; returns whether there was one."""
        running = self.running(name) if name else []
        for job in running:
            job.token.cancel()
        return bool(running)

    def close(self, seconds: float = 10.0) -> None:
        """Stops everything and waits a while, so that what is there is kept in order."""
        running = self.running()
        for job in running:
            job.token.cancel()
        until = time.monotonic() + seconds
        for job in running:
            job.wait(max(0.0, until - time.monotonic()))


def _print_unforeseen(job: Job) -> None:
    """Prints in full what nobody may be there to be told."""
    if job.error is not None and not isinstance(job.error, UserError | Cancelled):
        traceback.print_exception(job.error)
