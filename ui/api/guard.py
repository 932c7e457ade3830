"""The door of the API: who may come in, from where, and with how much. Nothing of a body is read before."""

from __future__ import annotations

import inspect
import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..texts import text
from . import PREFIX
from .errors import Refusal, answer
from .login import Authorise

MOST_BYTES = 32 << 20
"""Of a request's body: a picture of 24 MB in base64."""
_FOR_READERS = ("/", "/docs", "/openapi.json")
"""What a link on any page may lead to: it says nothing about this server."""
_LOCAL_ENDINGS = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


class Guard:
    """Asks `authorise`, refuses requests that another site made a browser send, and bounds their bodies.

    Where there is no login a browser must also have addressed the server by a name that no stranger can point at
    it: an address, a name of the local network, or one of `names`.
    """

    def __init__(self, app: ASGIApp, authorise: Authorise | None, names: Collection[str] = ()):
        self._app, self._authorise = app, authorise
        self._names = {name.lower() for name in (*names, socket.gethostname(), socket.getfqdn())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        request = Request(scope)
        try:
            await self._check(request)
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send)

    async def _check(self, request: Request) -> None:
        headers = request.headers
        if self._authorise is not None:
            allowed = self._authorise(request)
            if inspect.isawaitable(allowed):
                allowed = await allowed
            if not allowed:
                raise Refusal("unauthorised", text("http.unauthorised"))
        path = request.scope["path"].removeprefix(PREFIX)  # with the prefix since Starlette 0.33
        reads = request.method in ("GET", "HEAD") and path in _FOR_READERS
        if not reads and _sent_by_another_site(headers):
            raise Refusal("forbidden", text("http.other_site"))
        if not reads and self._authorise is None and _from_browser(headers) and not self._is_known(headers):
            raise Refusal("forbidden", text("http.unknown_host"))
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length[:12]) > MOST_BYTES:
            raise Refusal("too_large", text("http.too_large", megabytes=MOST_BYTES >> 20))

    def _is_known(self, headers: Headers) -> bool:
        """Whether the name in the address bar is one that only the network's owner can give (DNS rebinding)."""
        name = _host_name(headers.get("host", ""))
        if not name or "." not in name or name in self._names:
            return bool(name)
        return _is_address(name) or name.endswith(_LOCAL_ENDINGS)


def _host_name(host: str) -> str:
    """The name in a Host header, without port; empty where it is none."""
    try:
        return (urlsplit("//" + host).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _sent_by_another_site(headers: Headers) -> bool:
    """Whether a page of another origin sent the request; cookies and remembered passwords go with those too."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")  # every browser names it in a POST
    return origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower()


def _from_browser(headers: Headers) -> bool:
    told = "origin" in headers or "sec-fetch-site" in headers
    return told or "mozilla" in headers.get("user-agent", "").lower()


def _bounded(receive: Receive) -> Receive:
    """`receive` that gives up on a body which grows beyond the limit, whatever its headers said."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BYTES:
            raise Refusal("too_large", text("http.too_large", megabytes=MOST_BYTES >> 20))
        return message

    return bounded
