"""An answer in pieces, which are kept in memory no longer than it takes to send them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .memory import FAST, Held

_PIECE = 1 << 18
_PATIENCE, _GRACE = 60.0, 5.0  # seconds for one piece, and for all before slowness counts where others wait
_LOOK_AGAIN = 0.2


class Pieces(Response):
    """The bytes of `pieces`, one after another; `held` is the share of memory that they take, given back at the end."""

    held: Held | None = None

    def __init__(self, pieces: Sequence[bytes], media_type: str, headers: Mapping[str, str] | None = None):
        super().__init__(None, media_type=media_type, headers=dict(headers or {}))
        self._pieces, self.size = deque(pieces), sum(map(len, pieces))
        self.headers["content-length"] = str(self.size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all of it, or gives up on a client that takes nothing while others wait for the memory."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            began, sent = time.monotonic(), 0
            while self._pieces:
                piece = memoryview(self._pieces.popleft())
                for start in range(0, len(piece), _PIECE):
                    body = bytes(piece[start : start + _PIECE])
                    message = {"type": "http.response.body", "body": body, "more_body": True}
                    if not await self._is_taken(send, message, began, sent):
                        return
                    sent += len(body)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if self.held is not None:
                self.held.give_back()

    async def _is_taken(self, send: Send, message: Message, began: float, sent: int) -> bool:
        going, asked = asyncio.ensure_future(send(message)), time.monotonic()
        try:
            while not going.done():
                await asyncio.wait({going}, timeout=_LOOK_AGAIN)
                now = time.monotonic()
                is_slow = now - began > _GRACE and sent < FAST * (now - began)
                in_the_way = is_slow and self.held is not None and self.held.is_wanted
                if not going.done() and (in_the_way or now - asked > _PATIENCE):
                    return False
        finally:
            going.cancel()
        going.result()
        return True
