"""Starts the page of a Space from its folder."""

import json
import os
import tempfile
import threading
from pathlib import Path

UPLOADS = "16mb"
_OF_THE_HUB = ("huggingface.co", "*.huggingface.co", "*.hf.space")
"""Where a Space is shown; its owner names further ones in the variable LABELS4FREE_ALLOWED_HOSTS."""


def serve(folder: Path) -> None:
    """Serves the Space in `folder` until the process ends."""
    page, address = start(folder)
    print(address, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        page.close(verbose=False)


def start(folder: Path):
    """Serves without blocking; returns the page and its address. Raises `UserError` where the class is missing."""
    # Nothing but the class of this folder is known here, whatever the environment says.
    os.environ.pop("LABELS4FREE_CATALOGUE", None)
    os.environ["LABELS4FREE_MODELS"] = str(Path(tempfile.mkdtemp(prefix="labels4free-space-")) / "models")

    from . import zero_gpu

    zero_gpu.gpu_decorator()  # before anything imports torch

    from l4f_plugin.hub.download import resolve

    from .. import server, texts

    server.own_upload_folder()
    with server.past_proxies():  # imports Gradio
        from ..controls import style
        from .space_service import SpaceOutputs, SpaceService, build
    from .limits import Doorkeeper, Limits

    described = json.loads((folder / "space.json").read_text(encoding="utf-8"))
    name, limits = described["class"], Limits(**described["limits"])
    resolve(name, accept_licence=True)  # fetches pinned weights before the first visitor comes
    texts.use_table({key: texts.text(f"space.{key}") for key in ("generate.done", "generate.stopped")})
    outputs = SpaceOutputs(Path(tempfile.mkdtemp(prefix="labels4free-space-")))
    service = SpaceService(name, Doorkeeper(limits), outputs)
    page = build(service, limits.pictures_per_request)
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1")
    port = int(os.environ.get("GRADIO_SERVER_PORT") or 7860)
    names = (os.environ.get("SPACE_HOST", ""), *_OF_THE_HUB)
    address, _ = server.open_page(
        page,
        css=style(),
        host=host,
        port=port,
        names=names,
        uploads=server.STRANGERS_BYTES,
        embeddable=True,
        inbrowser=False,
        most_waiting=limits.waiting,
        max_file_size=UPLOADS,
    )
    threading.Thread(target=service.warm_up, daemon=True).start()
    return page, address
