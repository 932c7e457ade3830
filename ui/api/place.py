"""Where an application is found on another one, whatever stands before its path."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send


class Place(BaseRoute):
    """Serves `app` under `path`, with and without `root_path` before it, which may be a whole address.

    Starlette's own Mount depends on its release in what it takes a root path for, and loses an application behind a
    proxy that takes the sub-path off.
    """

    def __init__(self, path: str, root_path: str, app: ASGIApp):
        self.path, self.app = path, app
        self._shown_as = f"{root_path.rstrip('/')}{path}"
        self._starts = (urlsplit(self._shown_as).path, path)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Everything below one of the two, whatever it is asked for."""
        found = scope["type"] in ("http", "websocket") and self._rest(scope["path"]) is not None
        return (Match.FULL if found else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: object) -> str:
        """No address is made from a name."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on as if nothing stood before its path."""
        rest = self._rest(scope["path"]) or ""
        place = {"root_path": self._shown_as, "app_root_path": self._shown_as}
        await self.app({**scope, **place, "path": rest, "raw_path": rest.encode("utf-8")}, receive, send)

    def _rest(self, path: str) -> str | None:
        """What follows our own path; None for the path of somebody else."""
        return next((path[len(start) :] for start in self._starts if f"{path}/".startswith(f"{start}/")), None)
