"""The page as it is served, in this process, and ports that nobody else takes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l4f_ui import app, compat, server
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings


def unused_port() -> int:
    """One of the system's own choice: tests run side by side, and would find the same first port of a range."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(service: Service, **arguments: Any) -> Iterator[SimpleNamespace]:
    """The page over a service as `l4f app` serves it. `address` ends with a slash; `blocks` is Gradio's page."""
    page = app.build(service)
    address, _ = server.open_page(
        page,
        css=app.style(),
        host="127.0.0.1",
        port=unused_port(),
        share=False,
        inbrowser=False,
        allowed_paths=service.outputs.served_folders,
        **arguments,
    )
    try:
        yield SimpleNamespace(address=address, blocks=page, outputs=service.outputs, service=service)
    finally:
        compat.close(page)
        service.class_jobs.close()
        service.outputs.forget_previews()


@contextmanager
def site_of(models: Path, pictures: Path, default_class: str = "tiny", **rights: bool) -> Iterator[SimpleNamespace]:
    """The page over the classes in `models`, for the fixtures of `test_browser`, none of whose jobs it holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELS4FREE_MODELS", str(models))
        settings = Settings(device="cpu", default_class=default_class)
        with served(Service(lambda: settings, Outputs(pictures), **rights)) as site:
            yield SimpleNamespace(**vars(site), gate=SimpleNamespace(set=lambda: None))
