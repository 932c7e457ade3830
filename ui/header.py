"""The strip above the panels: name, device in use, what is in memory, the hint about an idle card."""

from __future__ import annotations

import re
from html import escape

import gradio as gr

from l4f_plugin import runtime

from . import compat
from .service import Service
from .texts import text


class Header:
    """Builds the strip inside the current Blocks. `outputs` are what `refresh` updates."""

    def __init__(self, service: Service):
        self._service = service
        with gr.Row(elem_classes="l4f-header"):
            with gr.Column(scale=6, min_width=240):
                title, subtitle = escape(text("app.title")), escape(text("app.subtitle"))
                gr.HTML(f'<div class="l4f-title"><h1>{title}</h1><p>{subtitle}</p></div>')
            with gr.Column(scale=4, min_width=200):
                self.state = gr.HTML(self._describe(), elem_id="l4f_state")
            self.unload = gr.Button(
                text("header.unload"), size="sm", scale=0, min_width=90, interactive=False, elem_id="l4f_unload"
            )
        hint = self._service.nvidia_hint()
        self.hint = gr.HTML(
            _as_hint(hint) if hint else "", visible=bool(hint), elem_id="l4f_hint", elem_classes="l4f-flush"
        )
        self.outputs = [self.state, self.unload]
        compat.on(self.unload.click, self.release, [], self.outputs)

    def refresh(self) -> dict:
        """Device and memory as they are now."""
        return {self.state: self._describe(), self.unload: gr.update(interactive=bool(self._service.loaded()))}

    def release(self) -> dict:
        """Takes the networks out of memory and tells what that freed."""
        if not self._service.loaded():
            gr.Info(text("header.nothing_to_unload"))
            return self.refresh()
        before, after = self._service.unload()
        told = text("header.unloaded", before=_megabytes(before), after=_megabytes(after))
        gr.Info(told)
        return {**self.refresh(), self.state: self._describe(told)}

    def _describe(self, told: str | None = None) -> str:
        """Device and memory; `told` in place of "nothing in memory"."""
        device = self._service.device()
        loaded = self._service.loaded()
        resident = runtime.resident_memory()
        where = text("header.device", device=device) if device else text("header.device_later")
        lines = [
            where if resident is None else text("header.resident", device=where, memory=_megabytes(resident)),
            text("header.loaded", title=", ".join(loaded), memory=_megabytes(self._service.memory()))
            if loaded
            else told or text("header.idle"),
        ]
        return f'<div class="l4f-state">{"<br>".join(map(escape, lines))}</div>'


def _megabytes(count: int) -> str:
    return text("header.megabytes", count=count / 2**20)


def _as_hint(words: str) -> str:
    """A hint, with what stands between backticks as a command to copy."""
    marked = re.sub("`([^`]*)`", r"<code>\1</code>", escape(words))
    return f'<div class="l4f-hint">{marked}</div>'
