"""A field for seeds with the two buttons that everybody knows: dice for new ones, recycle for the last ones."""

from __future__ import annotations

import gradio as gr

from . import compat
from .controls import button, element_id, named, unsaved
from .texts import text


class SeedField:
    """Builds the field; `box` holds what is written.

    `last` is what recycle brings back: what a panel that draws puts there, or what stood in the field before dice.
    `drawn` and `recycled` are events after which a panel may draw.
    """

    def __init__(self, key: str, value: str, *, visible: bool = True):
        with gr.Column(elem_classes="l4f-tight", visible=visible) as self.frame:
            self.box = unsaved(gr.Textbox(value, max_lines=1, **named(key)))
            with gr.Row():
                small = {"size": "sm", "min_width": 90}
                self.dice = button("seed.random", icon="dice", elem_id=f"{element_id(key)}_random", **small)
                self.recycle = button("seed.reuse", icon="recycle", elem_id=f"{element_id(key)}_reuse", **small)
        self.last = gr.State("")
        self.drawn = compat.on(self.dice.click, self.draw, [self.box], [self.box, self.last], queue=False)
        # Queued: Gradio shows the notices of such events only.
        self.recycled = compat.on(self.recycle.click, self.reuse, [self.last], [self.box])

    def draw(self, written: str) -> dict:
        """Asks for a new seed and keeps the one that stood here."""
        known = written.strip().replace("−", "-")
        return {self.box: "-1", **({self.last: known} if known not in ("", "-1") else {})}

    def reuse(self, last: str) -> dict:
        """Brings the last seeds back."""
        if not last:
            gr.Info(text("seed.nothing_to_reuse"))
            return {}
        return {self.box: last}
