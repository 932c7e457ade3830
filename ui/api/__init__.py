"""The HTTP API under `/l4f/v1/`: classes, generate, swap and segment for programs, in the same queue as the pages.

`mount` puts it on the app that serves a page: the stand-alone one, or a web UI's. A Space has none: its limits count
visitors of the page, and nothing but the page is let in there.
"""

from starlette.applications import Starlette

from ..login import Authorise
from ..service import Service
from ..visitors import Visitors
from .guard import Guard
from .routes import build


def mount(app: Starlette, service: Service, authorise: Authorise | None, visitors: Visitors, root_path: str) -> None:
    """Serves the API of `service` on `app`, before every other route; a second call takes the place of the first.

    Without `authorise` everybody is let in who reaches the server, which belongs to a page that asks for no login
    either. `visitors` says which requests of browsers are. `root_path` is where a proxy shows the page, which it may
    leave in the address.
    """
    routes = app.router.routes
    routes[:] = [route for route in routes if not isinstance(route, Guard)]
    # First, as some releases of Gradio answer every path that is left over.
    routes.insert(0, Guard(build(service), root_path, authorise, visitors))
