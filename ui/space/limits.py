"""How much one visitor may ask of a Space. Knows neither Gradio nor torch."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from l4f_plugin.errors import UserError

from ..texts import text


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    `pictures_per_request`; `requests_at_once`, running or waiting, of one session; `requests_per_window` and
    `pictures_per_window` of one session in `window_seconds`. Visitors of one network address together have
    `sessions_per_address` times that. `waiting` bounds the requests of all visitors together.
    """

    pictures_per_request: int = 8
    requests_at_once: int = 2
    requests_per_window: int = 120
    pictures_per_window: int = 160
    window_seconds: float = 600.0
    sessions_per_address: int = 4
    waiting: int = 24


@dataclass
class _Record:
    """What one session or address has asked for: requests under way, and (time, pictures) of the window."""

    under_way: int = 0
    asked: deque[tuple[float, int]] = field(default_factory=deque)


class Doorkeeper:
    """Lets requests in, or refuses them with a `UserError` that says when to come back. For any thread."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}
        self._under_way = 0

    @contextmanager
    def admitted(self, visitor: tuple[str, str], pictures: int) -> Iterator[None]:
        """The body of the `with` is one request for `pictures` by `visitor`: (session, address).

        A refused request counts for nothing. Raises `UserError`.
        """
        with self._lock:
            self._forget()
            shares = (1, self.limits.sessions_per_address)
            records = [
                (self._records.setdefault(key, _Record()), share) for key, share in zip(visitor, shares, strict=True)
            ]
            self._check(records, pictures)
            now = self._clock()
            self._under_way += 1
            for record, _ in records:
                record.under_way += 1
                record.asked.append((now, pictures))
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                for record, _ in records:
                    record.under_way -= 1

    def _check(self, records: list[tuple[_Record, int]], pictures: int) -> None:
        limits = self.limits
        if pictures > limits.pictures_per_request:
            raise UserError(text("space.too_many_pictures", limit=limits.pictures_per_request))
        if self._under_way >= limits.waiting:
            raise UserError(text("space.full"))
        for record, share in records:
            if record.under_way >= limits.requests_at_once * share:
                raise UserError(text("space.too_many_at_once", limit=limits.requests_at_once))
            drawn = sum(count for _, count in record.asked)
            if (
                len(record.asked) >= limits.requests_per_window * share
                or drawn + pictures > limits.pictures_per_window * share
            ):
                wait = limits.window_seconds - (self._clock() - record.asked[0][0])
                raise UserError(text("space.too_often", minutes=max(1, round(wait / 60))))

    def _forget(self) -> None:
        """Drops what lies before the window, and visitors of whom nothing is left."""
        start = self._clock() - self.limits.window_seconds
        for name, record in list(self._records.items()):
            while record.asked and record.asked[0][0] < start:
                record.asked.popleft()
            if not record.asked and not record.under_way:
                del self._records[name]
