"""How the mask's edge is cut: soft or hard, grown or shrunk, feathered."""

from __future__ import annotations

import gradio as gr

from l4f_plugin.arguments import EdgeOptions

from . import compat
from .controls import choices, named
from .texts import text

KINDS = ("soft", "hard")


class EdgeChoice:
    """Builds the controls; `panel` keeps labels and ids of several panels apart.

    `inputs` go to `read` in this order, `settled` are the events after which a preview may follow.
    """

    def __init__(self, panel: str = "swap") -> None:
        with gr.Accordion(text("swap.edge_section"), open=False, elem_id=f"l4f_{panel}_edge_section"):
            self.kind = gr.Radio(
                choices("edge", KINDS), value=KINDS[0], elem_classes="l4f-segments", **named(f"{panel}.edge")
            )
            self.threshold = gr.Slider(0.05, 0.95, 0.5, step=0.05, visible=False, **named(f"{panel}.threshold"))
            self.grow = gr.Slider(-16, 16, 0, step=1, **named(f"{panel}.grow"))
            self.feather = gr.Slider(0, 16, 0, step=0.5, **named(f"{panel}.feather"))
            self.keep_largest = gr.Checkbox(False, **named(f"{panel}.keep_largest"))
        self.inputs = [self.kind, self.threshold, self.grow, self.feather, self.keep_largest]
        compat.on(self.kind.input, self.show_threshold, [self.kind], [self.threshold], queue=False)
        self.settled = [compat.settled(control) for control in self.inputs]

    def show_threshold(self, kind: str) -> dict:
        """A soft edge needs no threshold."""
        return {self.threshold: gr.update(visible=kind == "hard")}

    def filled(self, edge: EdgeOptions) -> dict:
        """The controls as they are for an edge that an infotext tells of."""
        kind = "soft" if edge.threshold is None else "hard"
        return {
            self.kind: kind,
            self.threshold: gr.update(visible=kind == "hard", value=edge.threshold or 0.5),
            self.grow: edge.grow,
            self.feather: edge.feather,
            self.keep_largest: edge.keep_largest,
        }

    def read(self, kind: str, threshold: float, grow: float, feather: float, keep_largest: bool) -> EdgeOptions:
        """What the controls ask for. Raises `UserError` where they make no sense."""
        level = float(threshold) if kind == "hard" else None
        return EdgeOptions(level, int(grow), float(feather), bool(keep_largest))
