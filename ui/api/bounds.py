"""What bounds requests: how many there are, how much memory they hold, and how long a body may take to arrive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Receive

from l4f_plugin.jobs import CancelToken, JobQueue

from ..refusals import Refusal
from ..texts import text

MOST_UNDER_WAY = 48
"""Requests that have been read, and run or wait; each holds a file and perhaps pictures in memory."""
MOST_WAITING = 256
"""Requests that wait to be read."""
SECONDS_TO_READ = 60.0
"""For a body to arrive, and before that for a place to read it."""
_LOOK_AGAIN = 0.1
GRACE, FAST = 1.0, 512_000.0
"""Seconds after which slowness counts, and bytes a second that are not slow."""


class Seat:
    """A body that is read: `size` bytes are kept free for it. `lost` says that somebody faster needs them."""

    def __init__(self, size: int):
        self.size, self.lost, self.is_read = size, False, False
        self._began, self._taken = time.monotonic(), 0

    @property
    def speed(self) -> float:
        """Bytes a second; who has just begun counts as fast."""
        seconds = time.monotonic() - self._began
        return self._taken / seconds if seconds > GRACE else FAST

    def receive(self, receive: Receive) -> Receive:
        """`receive` that gives up when the place is lost, or when the body takes too long."""

        async def receiving() -> Message:
            coming = asyncio.ensure_future(receive())
            try:
                while not coming.done():
                    await asyncio.wait({coming}, timeout=_LOOK_AGAIN)
                    if self.lost or time.monotonic() - self._began > SECONDS_TO_READ:
                        raise Refusal("too_slow", text("http.too_slow"))
            finally:
                coming.cancel()
            message = coming.result()
            self._taken += len(message.get("body", b""))
            return message

        return receiving


class Reading:
    """Room for the bodies of all requests, `most_bytes` together.

    First come first served; where somebody waits, the slowest sender loses its place. For one event loop or more.
    """

    def __init__(self, most_bytes: int):
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._seats: set[Seat] = set()
        self._waiting: deque[object] = deque()

    @asynccontextmanager
    async def seat(self, size: int) -> AsyncIterator[Seat]:
        """The body of the `with` may read so many bytes, and keep them. Raises `Refusal` where there is no room."""
        ticket, until = object(), time.monotonic() + SECONDS_TO_READ
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise Refusal("busy", text("http.busy"))
            self._waiting.append(ticket)
        try:
            while (taken := self._taken(ticket, size)) is None:
                if time.monotonic() > until:
                    raise Refusal("busy", text("http.busy"))
                await asyncio.sleep(_LOOK_AGAIN)
        finally:
            with self._lock:
                self._waiting.remove(ticket)
        try:
            yield taken
        finally:
            with self._lock:
                self._seats.discard(taken)

    def _taken(self, ticket: object, size: int) -> Seat | None:
        with self._lock:
            if self._waiting[0] is not ticket:
                return None
            if sum(seat.size for seat in self._seats) + size <= self._most_bytes:
                seat = Seat(size)
                self._seats.add(seat)
                return seat
            reading = [seat for seat in self._seats if not seat.is_read]
            slowest = min(reading, key=lambda seat: seat.speed, default=None)
            if slowest is not None and slowest.speed < FAST and not any(seat.lost for seat in reading):
                slowest.lost = True
            return None


class Held:
    """A share of a `Room`, given back once: at the latest when nobody has it any more."""

    def __init__(self, room: Room, size: int):
        self._room, self.size = room, size

    def shrink(self, size: int) -> None:
        """Keeps `size` bytes of the share and gives back the rest."""
        self._room._give_back(self.size - size)
        self.size = size

    def give_back(self) -> None:
        self.shrink(0)

    def __del__(self) -> None:
        self.give_back()

    @property
    def is_wanted(self) -> bool:
        return len(self._room._waiting) > 0


class Room:
    """Memory for work and its results, `most_bytes` for all together; work that needs more gets it alone."""

    def __init__(self, most_bytes: int):
        self._free = self._most = most_bytes
        self._changed, self._waiting = threading.Condition(), JobQueue()

    def take(self, size: int, cancel: CancelToken) -> Held:
        """Waits for its turn, first come first served. Raises `Cancelled` when the token says so."""
        size = min(size, self._most)
        with self._waiting.turn(cancel), self._changed:
            while self._free < size:
                cancel.check()
                self._changed.wait(_LOOK_AGAIN)
            self._free -= size
        return Held(self, size)

    def _give_back(self, size: int) -> None:
        with self._changed:
            self._free += size
            self._changed.notify_all()
