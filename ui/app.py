"""The page: header and panels. The same class fills a page of its own and a tab of a web UI.

A panel builds itself inside the current Blocks and answers its own events; `Page` wires panels to each other.
"""

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from l4f_plugin import runtime

from . import compat
from .controls import style
from .endpoints import Endpoints
from .explore_panel import ExplorePanel
from .export_panel import ExportPanel
from .generate_panel import GeneratePanel
from .models_panel import ModelsPanel
from .photos_panel import PhotosPanel
from .run_buttons import seen_by
from .service import Service
from .swap_panel import SwapPanel
from .texts import text
from .train_panel import TrainPanel

PANELS = {
    "generate": GeneratePanel,
    "explore": ExplorePanel,
    "swap": SwapPanel,
    "photos": PhotosPanel,
    "export": ExportPanel,
    "train": TrainPanel,
    "models": ModelsPanel,
}


def script() -> str:
    """What the browser does by itself, as a function of JavaScript."""
    words = json.dumps({"controls": text("page.controls")})
    return (Path(__file__).parent / "page.js").read_text(encoding="utf-8").replace("WORDS", words)


class Header:
    """The strip above the panels: name, device in use, what is in memory, the hint about an idle card."""

    def __init__(self, service: Service, titled: bool = True):
        self._service = service
        with gr.Row(elem_classes="l4f-header"):
            with gr.Column(scale=6, min_width=240):
                title = f"<h1>{escape(text('app.title'))}</h1>" if titled else ""
                gr.HTML(f'<div class="l4f-title">{title}<p>{escape(text("app.subtitle"))}</p></div>')
            with gr.Column(scale=4, min_width=200):
                self.state = gr.HTML(self._describe(), elem_id="l4f_state")
            self.unload = gr.Button(
                text("header.unload"), size="sm", scale=0, min_width=90, interactive=False, elem_id="l4f_unload"
            )
        # What stands between backticks is a command to copy.
        hint = re.sub("`([^`]*)`", r"<code>\1</code>", escape(runtime.nvidia_hint() or ""))
        shown = {"visible": bool(hint), "elem_id": "l4f_hint", "elem_classes": "l4f-flush"}
        self.hint = gr.HTML(hint and f'<div class="l4f-hint">{hint}</div>', **shown)
        self.outputs = [self.state, self.unload]
        compat.on(self.unload.click, self.release, [], self.outputs, queue=True)

    def refresh(self) -> dict:
        return {self.state: self._describe(), self.unload: gr.update(interactive=bool(self._service.loaded()))}

    def release(self) -> dict:
        if not self._service.loaded():
            gr.Info(text("header.nothing_to_unload"))
            return self.refresh()
        before, after = self._service.unload()
        told = text("header.unloaded", before=_megabytes(before), after=_megabytes(after))
        gr.Info(told)
        return {**self.refresh(), self.state: self._describe(told)}

    def _describe(self, told: str | None = None) -> str:
        """Device and memory; `told` in place of "nothing in memory"."""
        loaded, memory = self._service.loaded(), runtime.resident_memory()
        device = self._service.device()
        where = text("header.device", device=device) if device else text("header.device_later")
        if memory is not None:
            where = text("header.resident", device=where, memory=_megabytes(memory))
        what = told or text("header.idle")
        if loaded:
            what = text("header.loaded", title=", ".join(loaded), memory=_megabytes(self._service.memory()))
        return f'<div class="l4f-state">{escape(where)}<br>{escape(what)}</div>'


def _megabytes(count: int) -> str:
    return text("header.megabytes", count=count / 2**20)


class Page:
    """Header and panels. At the end of what runs the header and the `watchers` look at the engine anew.

    `endpoint_prefix` goes before the names of endpoints in a host, which shows our name already.
    """

    def __init__(self, service: Service, endpoint_prefix: str = "", watchers: Sequence[Any] = ()):
        opened = {}
        with gr.Column(elem_id="l4f", elem_classes="l4f"):
            self.header = Header(service, titled=not endpoint_prefix)
            service.watchers = watchers = [self.header, *watchers]
            # In a second row where one is too narrow, instead of behind three dots.
            with compat.make(gr.Tabs, overflow_behavior="wrap", elem_id="l4f_tabs") as self.tabs:
                for name, panel in PANELS.items():
                    with gr.Tab(text(f"{name}.tab"), id=name, elem_id=f"l4f_tab_{name}") as tab:
                        setattr(self, name, panel(service))
                    opened[name] = tab.select
            self.endpoints = Endpoints(service, endpoint_prefix)
        stage, tabs = self.generate.stage, self.tabs
        for sender in (stage, self.photos.inversion.stage, self.explore.stage):
            self.swap.open_with(sender, tabs)
        for panel in ("explore", "models", "export", "train"):
            getattr(self, panel).open_on(opened[panel])
        self.explore.open_with(stage, tabs)
        self.explore.send_to(self.generate, tabs)
        self.models.open_with(stage, tabs)
        # What was fetched, completed or deleted meanwhile shows when its list is next looked at.
        self.choices = {name: getattr(self, name).choice for name in PANELS if name not in ("train", "models")}
        for name, choice in self.choices.items():
            choice.refresh_on(opened[name])
        for opening in opened.values():  # of which Gradio 3 also builds the tab, see javascript/
            compat.on(opening, self.header.refresh, [], self.header.outputs)
        outputs = [part for watcher in watchers for part in watcher.outputs]
        for event in [*self.export.started, *self.train.started, *self.models.started]:
            compat.on(event.then, lambda: seen_by(watchers), [], outputs)


def build(service: Service) -> gr.Blocks:
    """The stand-alone page, not yet served."""
    with compat.blocks(text("app.title"), style()) as page:
        parts = Page(service)
        compat.on(page.load, None, js=script())
        parts.generate.open_on(page.load)
        parts.generate.live_in_address(page.load)
        parts.swap.live_in_address(page.load)
        compat.on(page.load, parts.header.refresh, [], parts.header.outputs)
        for choice in parts.choices.values():
            choice.refresh_on(page.load)
        parts.models.open_on(page.load)
    page.l4f = parts
    return page
