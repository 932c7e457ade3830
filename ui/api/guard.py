"""The door of the API: who may come in, from where, and with how much. Nothing of a body is read before."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from ..front import bounded, check_length, never_guessed, with_headers
from ..login import Authorise, demand_login
from ..refusals import Refusal, answer
from ..texts import text
from ..visitors import Visitors

PREFIX = "/l4f/v1"
MOST_BYTES = 32 << 20
"""Of a request's body: a picture of 24 MB in base64."""

_FOR_READERS = ("", "/", "/docs", "/openapi.json")
"""What a link on any page may lead to: it says nothing about this server."""


class Guard(BaseRoute):
    """Serves `app` under `PREFIX`, with and without `root_path` before it, which may be a whole address.

    Asks `authorise`, refuses requests that another site made a browser send, and bounds their bodies. Starlette's own
    Mount depends on its release in what it takes a root path for, and loses an application behind a proxy that takes
    the sub-path off.
    """

    path = PREFIX

    def __init__(self, app: ASGIApp, root_path: str, authorise: Authorise | None, visitors: Visitors):
        self.app, self._authorise, self._visitors = app, authorise, visitors
        self._shown_as = f"{root_path.rstrip('/')}{PREFIX}"
        self._starts = (urlsplit(self._shown_as).path, PREFIX)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Everything below one of the two, whatever it is asked for."""
        found = scope["type"] in ("http", "websocket") and self._rest(scope["path"]) is not None
        return (Match.FULL if found else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: object) -> str:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request that is let in on as if nothing stood before its path."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        rest, send = self._rest(scope["path"]) or "", with_headers(send, never_guessed)
        place = {"root_path": self._shown_as, "app_root_path": self._shown_as}
        scope = {**scope, **place, "path": rest, "raw_path": rest.encode("utf-8")}
        try:
            await self._check(Request(scope))
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send)
            return
        await self.app(scope, bounded(receive, MOST_BYTES), send)

    async def _check(self, request: Request) -> None:
        await demand_login(self._authorise, request)
        reads = request.method in ("GET", "HEAD") and request.scope["path"] in _FOR_READERS
        complaint = None if reads else self._visitors.complaint(request.method, request.headers)
        if complaint:
            raise Refusal("forbidden", text(complaint))
        check_length(request.headers, MOST_BYTES)

    def _rest(self, path: str) -> str | None:
        """What follows our own path; None for the path of somebody else."""
        return next((path[len(start) :] for start in self._starts if f"{path}/".startswith(f"{start}/")), None)
