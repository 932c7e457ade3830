"""The HTTP API under `/l4f/v1/`: classes, generate, swap and segment for programs, in the same queue as the pages.

`mount` puts it on the app that serves a page: the stand-alone one, or a web UI's. A Space has none: its limits count
visitors of the page, and nothing but the page is let in there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.routing import Mount

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from ..workspace import Workspace
    from .login import Authorise

PREFIX = "/l4f/v1"


def mount(
    app: Starlette, workspace: Workspace, authorise: Authorise | None = None, names: Collection[str] = ()
) -> None:
    """Serves the API of `workspace` on `app`, before every other route; a second call takes the place of the first.

    `authorise(request)` says, or awaits, whether a request carries the right credentials (see `login`); None lets
    everybody in who reaches the server, which belongs to a page that asks for no login either. `names` are host
    names by which the server is known, besides addresses and the names of the local network.
    """
    from .guard import Guard
    from .routes import build

    routes = app.router.routes
    routes[:] = [route for route in routes if getattr(route, "path", None) != PREFIX]
    # First, as some releases of Gradio answer every path that is left over.
    routes.insert(0, Mount(PREFIX, app=Guard(build(workspace), authorise, names)))
