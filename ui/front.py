"""What stands before the whole page, as one piece of ASGI: who is let in, and what every answer carries."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .login import Authorise, demand_login
from .refusals import Refusal, answer
from .texts import text
from .uploads import NoRoom, Uploads
from .visitors import Visitors

MOST_BYTES = 64 << 20  # of a body that is no upload: what programs send to the page's own endpoints in base64
_DESCRIPTIONS = ("/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect")
"""What FastAPI says of itself, and lets everybody read."""


class Front:
    """Stands before `app`, the page with its files, uploads and API.

    A reverse proxy shows the page at `root_path`, `/studio` or a whole address, and may take that off or leave it.
    `authorise` is the login of the page; other pages may show an `embeddable` one in a frame.
    """

    def __init__(
        self,
        app: ASGIApp,
        visitors: Visitors,
        uploads: Uploads,
        authorise: Authorise | None = None,
        root_path: str = "",
        embeddable: bool = False,
    ):
        self._app, self._visitors, self._uploads, self._authorise = app, visitors, uploads, authorise
        self._root = urlsplit(root_path).path.rstrip("/")
        self._embeddable = embeddable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        complaint = self._visitors.complaint(scope.get("method", "POST"), Headers(scope=scope))
        if scope["type"] == "websocket":
            if complaint:
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(self._without_root(scope), receive, send)
            return
        send = with_headers(send, self._restrict)
        try:
            if complaint:
                raise Refusal("forbidden", text(complaint))
            if self._root and scope["path"] == self._root:
                await RedirectResponse(f"{self._root}/")(scope, receive, send)
                return
            await self._pass(self._without_root(scope), receive, send)
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if path in _DESCRIPTIONS:
            await demand_login(self._authorise, Request(scope))
        if scope["method"] == "POST" and path.endswith("/upload"):
            await self._take_in(scope, receive, send)
            return
        if self._uploads.are_due:
            await run_in_threadpool(self._uploads.make_room)
        check_length(Headers(scope=scope), MOST_BYTES)
        await self._app(scope, bounded(receive, MOST_BYTES), send)

    async def _take_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "")
        if not re.fullmatch("[0-9]{1,15}", length):
            raise Refusal("length_required", text("http.length_required"))
        try:
            await run_in_threadpool(self._uploads.make_room, int(length))
        except NoRoom:
            raise Refusal("no_room", text("http.no_room")) from None
        try:
            await self._app(scope, receive, send)
        finally:
            self._uploads.has_come(int(length))

    def _without_root(self, scope: Scope) -> Scope:
        """The request as if a proxy had taken the sub-path off."""
        if not self._root or not scope["path"].startswith(f"{self._root}/"):
            return scope
        raw = scope.get("raw_path") or b""
        root = self._root.encode("latin-1", "replace")
        return {**scope, "path": scope["path"][len(self._root) :], "raw_path": raw.removeprefix(root)}

    def _restrict(self, headers: MutableHeaders) -> None:
        never_guessed(headers)
        if not self._embeddable:
            headers.raw[:] = [_stricter(*pair) for pair in headers.raw]
            headers.setdefault("X-Frame-Options", "SAMEORIGIN")
            rules, ours = headers.get("Content-Security-Policy"), "frame-ancestors 'self'"
            headers["Content-Security-Policy"] = f"{rules}; {ours}" if rules else ours


def with_headers(send: Send, change: Callable[[MutableHeaders], None]) -> Send:
    """`send` that changes the headers of each answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(message.get("headers", []))}
            change(MutableHeaders(scope=message))
        await send(message)

    return sending


def never_guessed(headers: MutableHeaders) -> None:
    """Browsers take the answer for what it says that it is."""
    headers.setdefault("X-Content-Type-Options", "nosniff")


def _stricter(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header of an answer; cookies are kept from every request that another site has caused."""
    if name.lower() != b"set-cookie":
        return name, value
    return name, re.sub(rb"(?i);\s*samesite=[^;]*", b"", value) + b"; SameSite=strict"


def check_length(headers: Headers, most: int) -> None:
    """Raises `Refusal` for a body that says that it is longer than `most` bytes."""
    length = headers.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,15}", length) or int(length) > most:
        raise Refusal("too_large", text("http.too_large", megabytes=most >> 20))


def bounded(receive: Receive, most: int) -> Receive:
    """`receive` that gives up on a body which grows beyond the limit, whatever its headers said."""
    taken = 0

    async def receiving() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise Refusal("too_large", text("http.too_large", megabytes=most >> 20))
        return message

    return receiving
