"""Serves a page: on the first port that is free, past every proxy, with what guards it in front."""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from l4f_plugin.errors import UserError

from .texts import text
from .uploads import Uploads
from .visitors import Visitors

if TYPE_CHECKING:
    import gradio as gr

    from .service import Service

PORTS_TRIED = 50
STRANGERS_BYTES = 2 << 30
"""What people who need no login may have uploaded together."""
SECONDS_TO_ANSWER = 60.0
_NO_PROXY = ("no_proxy", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def past_proxies(*hosts: str) -> Iterator[None]:
    """Within, these hosts are asked past every proxy that the environment names; without a host, all are.

    Gradio's own HTTP clients fail where the environment names a proxy for which a package is missing, or certificates
    that are not there, even if they would need neither.
    """
    changed: dict[str, str | None] = {} if hosts else dict.fromkeys(_CERTIFICATES)
    given = [os.environ[name] for name in _NO_PROXY if os.environ.get(name)]
    changed |= dict.fromkeys(_NO_PROXY, ",".join([*given, *hosts]) if hosts else "*")
    before = {name: os.environ.get(name) for name in changed}
    set_variables(changed)
    try:
        yield
    finally:
        set_variables(before)


def set_variables(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def free_port(first: int, host: str) -> int:
    """The first port from `first` on that nobody listens on. Raises `UserError` where none of 50 is free."""
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            if sys.platform != "win32":  # there this option would allow a port that is in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise UserError(text("server.no_port", first=first, last=min(first + PORTS_TRIED, 65536) - 1))


def checked_root_path(written: str) -> str:
    """Where a reverse proxy shows the page: empty, `/studio`, or an address. Raises `UserError` for anything else."""
    path = written.strip().rstrip("/")
    if path and "://" not in path:
        path = f"/{path.lstrip('/')}"
    # No part of the path is empty, `.` or `..`.
    if not re.fullmatch(r"(https?://[^/?#\s]+)?(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)*", path):
        raise UserError(text("server.bad_root_path"))
    return path


def open_page(
    page: gr.Blocks,
    *,
    host: str,
    port: int,
    names: Collection[str] = (),
    root_path: str = "",
    uploads: int | None = None,
    embeddable: bool = False,
    programs: Service | None = None,
    **arguments: Any,
) -> tuple[str, str | None]:
    """Serves the page on the first free port from `port` on; `arguments` as `compat.launch` takes them.

    Returns its address here, with its port and a slash at the end, and the public one; None where it is not shared.
    `names` are further names of this server, see `Visitors`; `uploads` bounds what all uploads may take, in bytes;
    for `root_path` and `embeddable` see `Front`; the HTTP API answers where it is given the service of `programs`.
    Raises `UserError`.
    """
    from . import compat, login
    from .front import Front

    address, public = _launched(page, host, port, root_path=root_path, **arguments)
    app = page.server_app  # before Gradio 4 another one than page.app
    authorise = login.page(app)
    shown = [urlsplit(place).hostname for place in (public or "", root_path)]
    visitors = Visitors([*names, *filter(None, shown)], login=authorise is not None)
    within, room = app.middleware_stack or app.build_middleware_stack(), Uploads(compat.upload_folder(), uploads)
    # The one place where a running Starlette takes something before all of it.
    app.middleware_stack = Front(within, visitors, room, authorise, root_path, embeddable)
    if programs is not None:
        from . import api  # which a Space has not

        api.mount(app, programs, authorise, visitors, root_path)
    return address, public


def _launched(page: gr.Blocks, host: str, port: int, **arguments: Any) -> tuple[str, str | None]:
    """As `compat.launch`. What takes a port between the look at it and its use is passed over too."""
    from . import compat

    hosts = ("127.0.0.1", "localhost", host) if arguments.get("share") else ()  # the relay is asked as the user says
    slow = 0
    while slow < 2:
        port = free_port(port, host)
        try:
            with past_proxies(*hosts):
                return _with_patience(page, server_name=host, server_port=port, **arguments)
        except OSError:  # where nobody else has the port now, it was ours that did not start in time
            slow += free_port(port, host) == port
        except ImportError as error:
            compat.close(page)
            raise UserError(text("server.proxy", reason=str(error).rstrip(".")[:200])) from None
    raise UserError(text("server.no_answer", address=f"http://{host}:{port}/"))


def _with_patience(page: gr.Blocks, **arguments: Any) -> tuple[str, str | None]:
    """Gradio asks its page for three seconds whether it is there, and gives up; a busy computer gets more time."""
    from . import compat

    try:
        return compat.launch(page, **arguments)
    except ValueError:
        if not page.is_running:
            raise
    app = page.server_app
    address = page.local_url
    try:
        if _answers(address):
            return compat.launch(page, **arguments)
    except ValueError:
        pass
    finally:
        page.app = page.server_app = app  # the second attempt makes another one, which nobody is served by
    compat.close(page)
    raise UserError(text("server.no_answer", address=address))


def _answers(address: str) -> bool:
    """Whether there is a server at the address, which is waited for."""
    place, until = urlsplit(address).netloc, time.monotonic() + SECONDS_TO_ANSWER
    while (left := until - time.monotonic()) > 0:
        with suppress(OSError, HTTPException), closing(HTTPConnection(place, timeout=left)) as connection:
            connection.request("HEAD", "/")
            return connection.getresponse().status < 500
        time.sleep(0.2)
    return False


def own_upload_folder() -> Path:
    """A new folder for what people upload to this page, and to no other; Gradio is told of it."""
    wanted = os.environ.get("GRADIO_TEMP_DIR") or None
    if wanted:
        Path(wanted).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="labels4free-uploads-", dir=wanted))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder
