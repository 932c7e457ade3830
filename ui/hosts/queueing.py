"""The host's queue around our jobs: one at a time with its own, seen and interrupted like them.

Our jobs wait at one door for each other, then in the host's queue, then for the engine: always in this order. What
the host asks of us while it holds its queue (an operation in Extras) passes by the first two, so nobody waits in a
circle.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from l4f_plugin.errors import Cancelled
from l4f_plugin.jobs import CancelToken, JobQueue

from ..texts import text
from . import host

DOOR = JobQueue()
"""Our jobs, first come first served, whatever kind of lock the host has."""
_LOOK_AGAIN = 0.1  # seconds between looks at the token while the host is busy
_thread = threading.local()


class HostToken(CancelToken):
    """A token that the host's Interrupt sets too, as long as the job `runs`."""

    def __init__(self, runs: bool = False) -> None:
        super().__init__()
        self.runs = runs

    @property
    def cancelled(self) -> bool:
        if self.runs and getattr(host.find("shared", "state"), "interrupted", False):
            self.cancel()
        return super().cancelled


@contextmanager
def within_a_job_of_the_host() -> Iterator[None]:
    """For code that the host calls while it holds its queue: jobs in this thread are part of the host's own."""
    _thread.inside = True
    try:
        yield
    finally:
        _thread.inside = False


@contextmanager
def turn(cancel: CancelToken) -> Iterator[None]:
    """A turn in the host's queue, without a word about it in the host's state. Raises `Cancelled` while waiting."""
    with ExitStack() as held:
        if not _is_inside():
            held.enter_context(DOOR.turn(cancel))
            if lock := host.find("call_queue", "queue_lock"):
                _acquire(lock, cancel)
                held.callback(lock.release)
        yield


@contextmanager
def job(cancel: CancelToken) -> Iterator[None]:
    """A job of ours in the host's queue: the host shows that it is busy, and may interrupt it."""
    is_own = isinstance(cancel, HostToken) and not _is_inside()
    with turn(cancel), _announced(cancel) if is_own else nullcontext():
        yield


def _is_inside() -> bool:
    return getattr(_thread, "inside", False)


@contextmanager
def _announced(token: HostToken) -> Iterator[None]:
    state, identifier = host.find("shared", "state"), None
    with suppress(Exception):  # only what is shown depends on it
        identifier = state.begin(text("app.title"))
    token.runs = True
    try:
        yield
    finally:
        token.runs = False
        with suppress(Exception):
            state.end(*filter(None, [identifier]))  # SD.Next gives jobs an identifier


def _acquire(lock: Any, cancel: CancelToken) -> None:
    """Waits for its place in the host's queue, and leaves it when the token says so.

    The lock of a host knows no time limit, and asking again and again would lose the place in its queue. So another
    thread waits, and gives the lock back at once where nobody wants it any more.
    """
    if lock.acquire(blocking=False):
        return
    taken: Future[None] = Future()

    def take() -> None:
        lock.acquire()
        if taken.set_running_or_notify_cancel():
            taken.set_result(None)
        else:
            lock.release()

    threading.Thread(target=take, name="l4f waits for the host", daemon=True).start()
    cancel.on_wait(1)
    while not wait([taken], _LOOK_AGAIN).done:
        if cancel.cancelled and taken.cancel():
            raise Cancelled
    cancel.on_wait(0)
