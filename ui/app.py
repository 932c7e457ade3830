"""The page: header and panels. The same function fills a page of its own and a tab of a web UI."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from . import compat
from .generate_panel import GeneratePanel
from .header import Header
from .swap_panel import SwapPanel
from .texts import text
from .workspace import Workspace


def style() -> str:
    """The style sheet; every rule in it is confined to our own classes."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


class Page:
    """Header and panels, built inside the current Blocks and wired to each other."""

    def __init__(self, workspace: Workspace):
        with gr.Column(elem_id="l4f", elem_classes="l4f"):
            self.header = Header(workspace)
            with gr.Tabs(elem_id="l4f_tabs") as self.tabs:
                with gr.Tab(text("generate.tab"), id="generate", elem_id="l4f_tab_generate"):
                    self.generate = GeneratePanel(workspace)
                with gr.Tab(text("swap.tab"), id="swap", elem_id="l4f_tab_swap") as swap_tab:
                    self.swap = SwapPanel(workspace)
        generate = self.generate
        brought = self.swap.open_with(
            generate.to_swap.click, generate.results, generate.picked, self.tabs, "swap"
        )
        opened = self.swap.open_on(swap_tab.select)
        for job in (generate.started, self.swap.started, brought, opened):
            compat.on(job.then, self.header.refresh, [], self.header.outputs, queue=False)


def build(workspace: Workspace) -> gr.Blocks:
    """The stand-alone page, not yet served."""
    with compat.blocks(text("app.title"), style()) as page:
        parts = Page(workspace)
        compat.on(page.load, parts.header.refresh, [], parts.header.outputs, queue=False)
        for choice in (parts.generate.choice, parts.swap.choice):
            compat.on(page.load, choice.refresh, [], [choice.dropdown], queue=False)
    page.l4f = parts
    return page
