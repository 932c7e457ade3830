"""A job for a request: in a thread of its own, and given up where nobody waits for the answer any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from starlette.requests import Request
from starlette.responses import Response

from l4f_plugin.jobs import CancelToken

from ..texts import text
from .errors import Refusal

MOST_UNDER_WAY = 48
"""Requests that have been read, and run or wait; each holds a file and perhaps pictures in memory."""


class Places:
    """So many requests at a time; one too many is refused."""

    def __init__(self, most: int = MOST_UNDER_WAY):
        self._free = threading.Semaphore(most)

    @contextmanager
    def place(self) -> Iterator[None]:
        """The body of the `with` is one request. Raises `Refusal` where all places are taken."""
        if not self._free.acquire(blocking=False):
            raise Refusal("busy", text("http.busy"))
        try:
            yield
        finally:
            self._free.release()


async def answered(request: Request, work: Callable[[CancelToken], Response]) -> Response:
    """What `work(token)` returns or raises. The token is cancelled when the client hangs up.

    A thread of its own, not one of the server's pool: jobs that wait for their turn must not hold up others.
    """
    token, loop = CancelToken(), asyncio.get_running_loop()
    done: asyncio.Future[Response] = loop.create_future()

    def settle(outcome: Response | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(outcome)
        else:
            done.set_exception(error)

    def run() -> None:
        outcome: Response | None = None
        failure: BaseException | None = None
        try:
            outcome = work(token)
        except BaseException as error:  # the border to the client: put into words there
            failure = error
        with suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(settle, outcome, failure)

    threading.Thread(target=run, name="l4f api", daemon=True).start()
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({done, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            token.cancel()
        return await done  # the place is kept until the job has really ended
    finally:
        token.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up. For a request whose body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
