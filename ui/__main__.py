"""`python3 -m l4f_ui`: serves the stand-alone page on this computer."""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from l4f_plugin.errors import UserError

from .api import PREFIX
from .engine import Engine, EngineSettings
from .outputs import Outputs, default_output_folder, shown_path
from .texts import text

FIRST_PORT = 7860
PORTS_TRIED = 50
LONGEST_IDLENESS = 86_400


def parser() -> argparse.ArgumentParser:
    """The options of the page."""
    options = argparse.ArgumentParser(prog="l4f app", description=text("server.help"))
    options.add_argument("--no-browser", action="store_true", help=text("server.no_browser"))
    options.add_argument("--port", type=int, default=FIRST_PORT, help=text("server.port", port=FIRST_PORT))
    options.add_argument("--listen", action="store_true", help=text("server.listen"))
    options.add_argument("--auth", metavar="USER:PASS", help=text("server.auth"))
    options.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help=text("server.output", folder=shown_path(default_output_folder())),
    )
    options.add_argument("--device", metavar="NAME", help=text("server.device"))
    options.add_argument("--dtype", metavar="NAME", help=text("server.dtype"))
    options.add_argument("--release-after", type=float, metavar="SECONDS", help=text("server.release_after"))
    options.add_argument("--share", action="store_true", help=text("server.share"))
    return options


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


def credentials(given: str | None) -> tuple[str, str] | None:
    """Name and password from `USER:PASS`. Raises `UserError` where one of them is missing."""
    if given is None:
        return None
    name, _, password = given.partition(":")
    if not name or not password:
        raise UserError(text("server.bad_auth"))
    return name, password


def serve(options: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C."""
    auth = credentials(options.auth)
    if not 1 <= options.port <= 65535:
        raise UserError(text("server.bad_port"))
    settings = _settings(options)
    outputs = Outputs(options.output_dir)
    host = "0.0.0.0" if options.listen else "127.0.0.1"
    port = free_port(options.port, host)
    if port != options.port:
        print(text("server.port_taken", taken=options.port, port=port), flush=True)

    from . import api, app, compat  # Gradio takes seconds to import: what is wrong above is said at once
    from .api import login
    from .models_import import MOST_BYTES
    from .workspace import Workspace

    # Whoever reaches a page without a password is not asked who they are: they may draw, and change nothing.
    owned = auth is not None or not (options.listen or options.share)
    workspace = Workspace(Engine(lambda: settings), outputs, manages_classes=owned, own_repositories=owned)
    page = app.build(workspace)
    address, public = compat.launch(
        page,
        app.style(),
        server_name=host,
        server_port=port,
        auth=auth,
        share=options.share,
        inbrowser=not options.no_browser,
        allowed_paths=outputs.served_folders,
        **({"max_file_size": MOST_BYTES} if owned else {}),
    )
    served = page.server_app  # before Gradio 4 another one than page.app
    api.mount(served, workspace, login.page(served), [urlsplit(public).hostname] if public else [])
    try:
        _tell(options, address, public, port)
        threading.Thread(target=workspace.engine.warm_up, daemon=True).start()
        threading.Event().wait()
    except KeyboardInterrupt:
        print(text("server.stopped"), flush=True)
    finally:
        compat.close(page)
        workspace.library.close()
        outputs.forget_previews()


def _settings(options: argparse.Namespace) -> EngineSettings:
    """What the options say about devices and memory."""
    if options.release_after is not None and not 0 <= options.release_after <= LONGEST_IDLENESS:
        raise UserError(text("server.bad_release", most=LONGEST_IDLENESS))
    return EngineSettings(options.device, options.dtype, release_after=options.release_after)


def _tell(options: argparse.Namespace, address: str, public: str | None, port: int) -> None:
    """Prints where the page is, and who can reach it."""
    if options.listen:
        address = f"http://127.0.0.1:{port}/"
        print(text("server.network", address=f"http://{socket.gethostname()}:{port}/"), flush=True)
    print(text("server.address", address=address), flush=True)
    print(text("server.api", address=f"{address.rstrip('/')}{PREFIX}/docs"), flush=True)
    if public:
        print(text("server.public", address=public), flush=True)
    if (options.listen or options.share) and options.auth is None:
        print(text("server.open_to_all"), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    try:
        serve(parser().parse_args(arguments))
    except UserError as error:
        print(f"l4f: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
