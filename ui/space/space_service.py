"""The service of a Space: one class, limits for each visitor, on ZeroGPU a card that is only lent. And its page."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from l4f_plugin.bundles.config import ObjectClass
from l4f_plugin.errors import UserError

from .. import compat
from ..controls import style
from ..generate_panel import GeneratePanel
from ..outputs import Outputs
from ..service import Service, Settings
from ..swap_panel import SwapPanel
from ..texts import text
from . import zero_gpu
from .limits import Doorkeeper


class SpaceOutputs(Outputs):
    """Keeps what visitors make in temporary folders of which the oldest make room."""

    def today(self) -> Path:
        """A folder of its own for each picture; nobody else can guess its name."""
        return self.preview_folder()


class SpaceService(Service):
    """Knows the class `name` only, and asks `doorkeeper` about every visitor's request."""

    follows_drags = False

    def __init__(self, name: str, doorkeeper: Doorkeeper, outputs: Outputs):
        self._name, self._doorkeeper = name, doorkeeper
        decorator = zero_gpu.gpu_decorator()
        self._lender = zero_gpu.Lender(decorator) if decorator else None
        # A card that is only lent cannot hold the networks between jobs.
        settings = Settings(device="cpu" if decorator else None, default_class=name)
        super().__init__(lambda: settings, outputs)

    def all_classes(self) -> list[ObjectClass]:
        return [entry for entry in super().all_classes() if entry.name == self._name]

    @contextmanager
    def admit(self, name: str, pictures: int) -> Iterator[None]:
        if name != self._name:
            raise UserError(text("problem.no_class"))
        with self._doorkeeper.admitted(visitor(), pictures):
            yield

    def lend(self, pipeline: Any) -> Any:
        if self._lender is None:
            return pipeline
        self._lender.pipeline = pipeline
        return self._lender


def visitor() -> tuple[str, str]:
    """Session and address of whoever asks; strangers of whom nothing is known share one record."""
    request = LocalContext.request.get(None)
    session = getattr(request, "session_hash", None)
    address = getattr(getattr(request, "client", None), "host", None)
    return f"session {session}", f"address {address}"


def build(service: Service, pictures: int) -> gr.Blocks:
    """The page, not yet served. `pictures` is the most that one request may draw."""
    with compat.blocks(text("app.title"), style()) as page, gr.Column(elem_id="l4f", elem_classes="l4f"):
        title, subtitle = escape(text("app.title")), escape(text("app.subtitle"))
        gr.HTML(f'<div class="l4f-header"><div class="l4f-title"><h1>{title}</h1><p>{subtitle}</p></div></div>')
        gr.Markdown(text("space.about", pictures=pictures), elem_id="l4f_space_about", elem_classes="l4f-note")
        with gr.Tabs(elem_id="l4f_tabs") as tabs:
            with gr.Tab(text("generate.tab"), id="generate", elem_id="l4f_tab_generate"):
                generate = GeneratePanel(service)
            with gr.Tab(text("swap.tab"), id="swap", elem_id="l4f_tab_swap"):
                swap = SwapPanel(service)
        generate.count.maximum = pictures
        generate.count.value = min(4, pictures)
        swap.stage.save.visible = False  # it saves where the page runs, which is nobody's computer here
        swap.open_with(generate.stage, tabs)
    return page
