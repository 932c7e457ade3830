"""`python3 -m l4f_ui`: serves the stand-alone page on this computer."""

import argparse
import gc
import os
import shutil
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from l4f_plugin.bundles.files import make_folder
from l4f_plugin.cli import Parser
from l4f_plugin.errors import UserError

from . import server
from .outputs import Outputs, default_output_folder, shown_path
from .service import API_MEGAPIXELS, LARGEST_MEGAPIXELS, Service, Settings
from .texts import text

FIRST_PORT = 7860
LONGEST_IDLENESS = 86_400


def parser() -> argparse.ArgumentParser:
    folder = shown_path(default_output_folder())
    options = Parser(prog="l4f app", description=text("server.help"))

    def add(name: str, words: str = "", **how: Any) -> None:
        options.add_argument(f"--{name}", help=words or text(f"server.{name.replace('-', '_')}"), **how)

    add("no-browser", action="store_true")
    add("port", text("server.port", port=FIRST_PORT), type=int, default=FIRST_PORT)
    add("listen", action="store_true")
    add("auth", metavar="USER:PASS")
    add("output-dir", text("server.output", folder=folder), type=Path, metavar="DIR")
    add("device", metavar="NAME")
    add("dtype", metavar="NAME")
    add("release-after", type=float, metavar="SECONDS")
    add("share", action="store_true")
    add("root-path", metavar="PATH", default=os.environ.get("GRADIO_ROOT_PATH", ""))
    add("allowed-host", metavar="NAME", action="append", default=[])
    most = text("server.api_megapixels", default=API_MEGAPIXELS)
    add("api-megapixels", most, type=float, metavar="NUMBER", default=API_MEGAPIXELS)
    return options


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
    if options.output_dir:
        make_folder(options.output_dir.expanduser())
    settings, root_path = _settings(options), server.checked_root_path(options.root_path)
    outputs = Outputs(options.output_dir)
    host = "0.0.0.0" if options.listen else "127.0.0.1"
    server.free_port(options.port, host)

    uploads = server.own_upload_folder()
    gc.disable()  # of what an import makes nearly all stays: looking for garbage took a fifth of Gradio's
    with server.past_proxies():
        # Gradio takes seconds to import: what is wrong above is said at once.
        from . import app, compat
    gc.enable()
    from .models_forms import MOST_BYTES

    # Whoever reaches a page without a password is not asked who they are: they may draw, and change nothing.
    owned = auth is not None or not (options.listen or options.share)
    service = Service(lambda: settings, outputs, manages_classes=owned)
    page = app.build(service)
    try:
        address, public = server.open_page(
            page,
            css=app.style(),
            host=host,
            port=options.port,
            names=options.allowed_host,
            root_path=root_path,
            uploads=None if owned else server.STRANGERS_BYTES,
            programs=service,
            auth=auth,
            share=options.share,
            inbrowser=not options.no_browser,
            allowed_paths=outputs.served_folders,
            **({"max_file_size": MOST_BYTES} if owned else {}),
        )
        _tell(options, address, public)
        threading.Thread(target=service.warm_up, daemon=True).start()
        threading.Event().wait()
    except KeyboardInterrupt:
        print(text("server.stopped"), flush=True)
    finally:
        compat.close(page)
        service.class_jobs.close()
        outputs.forget_previews()
        shutil.rmtree(uploads, ignore_errors=True)


def _settings(options: argparse.Namespace) -> Settings:
    if options.release_after is not None and not 0 <= options.release_after <= LONGEST_IDLENESS:
        raise UserError(text("server.bad_release", most=LONGEST_IDLENESS))
    if not 1 <= options.api_megapixels <= LARGEST_MEGAPIXELS:
        raise UserError(text("server.bad_megapixels", most=LARGEST_MEGAPIXELS))
    return Settings(
        options.device, options.dtype, release_after=options.release_after, api_megapixels=options.api_megapixels
    )


def _tell(options: argparse.Namespace, address: str, public: str | None) -> None:
    """Prints where the page is, and who can reach it."""
    from .api.guard import PREFIX

    port = urlsplit(address).port
    if port != options.port:
        print(text("server.port_taken", taken=options.port, port=port), flush=True)
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
    try:
        serve(parser().parse_args(arguments))
    except UserError as error:
        print(f"l4f: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
