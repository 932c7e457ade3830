"""The page: header and panels. The same function fills a page of its own and a tab of a web UI."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from . import compat
from .endpoints import Endpoints
from .export_panel import ExportPanel
from .generate_panel import GeneratePanel
from .header import Header
from .models_panel import ModelsPanel
from .outputs import SavedSample
from .photos_panel import PhotosPanel
from .segment_panel import SegmentPanel
from .service import Service
from .swap_panel import SwapPanel
from .texts import text


def style() -> str:
    """The style sheet; every rule in it is confined to our own classes."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


class Page:
    """Header and panels, built inside the current Blocks and wired to each other.

    `endpoint_prefix` goes before the names under which programs call it, where it is not alone.
    """

    def __init__(self, service: Service, endpoint_prefix: str = ""):
        with gr.Column(elem_id="l4f", elem_classes="l4f"):
            self.header = Header(service)
            with compat.tabs(elem_id="l4f_tabs") as self.tabs:
                with gr.Tab(text("generate.tab"), id="generate", elem_id="l4f_tab_generate") as generate_tab:
                    self.generate = GeneratePanel(service)
                with gr.Tab(text("swap.tab"), id="swap", elem_id="l4f_tab_swap") as swap_tab:
                    self.swap = SwapPanel(service)
                with gr.Tab(text("segment.tab"), id="segment", elem_id="l4f_tab_segment") as segment_tab:
                    self.segment = SegmentPanel(service)
                with gr.Tab(text("photos.tab"), id="photos", elem_id="l4f_tab_photos") as photos_tab:
                    self.photos = PhotosPanel(service)
                with gr.Tab(text("export.tab"), id="export", elem_id="l4f_tab_export") as export_tab:
                    self.export = ExportPanel(service)
                with gr.Tab(text("models.tab"), id="models", elem_id="l4f_tab_models") as models_tab:
                    self.models = ModelsPanel(service)
            self.endpoints = Endpoints(service, endpoint_prefix)
        generate = self.generate
        brought = self.swap.open_with(generate.to_swap.click, generate.results, generate.picked, self.tabs, "swap")
        opened = self.swap.open_on(swap_tab.select)
        inversion = self.photos.inversion
        recovered = [
            panel.open_with_codes(sent.click, inversion.shown, self.tabs, tab)
            for panel, sent, tab in (
                (self.swap, inversion.to_swap, "swap"),
                (self.segment, inversion.to_segment, "segment"),
            )
        ]
        self.models.open_on(models_tab.select)
        self.export.open_on(export_tab.select)
        self.models.open_with(generate.to_models.click, self.tabs, "models", [generate.results], _class_shown)
        # What was fetched, completed or deleted meanwhile shows when its list is next looked at.
        drawing = [(generate_tab, generate), (swap_tab, self.swap), (segment_tab, self.segment)]
        drawing.append((photos_tab, self.photos))
        for tab, panel in (*drawing, (export_tab, self.export)):
            choice = panel.choice
            compat.on(tab.select, choice.refresh, [choice.dropdown], [choice.dropdown], queue=False)
        started = [panel.started for _, panel in drawing]
        for job in (
            *started,
            inversion.started,
            *recovered,
            brought,
            opened,
            *self.models.watched,
            *self.export.watched,
        ):
            compat.on(job.then, self.header.refresh, [], self.header.outputs, queue=False)


def _class_shown(samples: list[SavedSample]) -> str | None:
    return samples[0].class_name if samples else None


def build(service: Service) -> gr.Blocks:
    """The stand-alone page, not yet served."""
    with compat.blocks(text("app.title"), style()) as page:
        parts = Page(service)
        compat.on(page.load, parts.header.refresh, [], parts.header.outputs, queue=False)
        panels = (parts.generate, parts.swap, parts.segment, parts.photos, parts.export)
        for choice in (panel.choice for panel in panels):
            compat.on(page.load, choice.refresh, [], [choice.dropdown], queue=False)
        parts.models.open_on(page.load)
    page.l4f = parts
    return page
