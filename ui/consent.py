"""Reading a licence that restricts use, and accepting it: shown only for a class that asks for it."""

from __future__ import annotations

import gradio as gr

from . import status
from .controls import named
from .texts import text


class Consent:
    """Builds the words and the tick, hidden; `outputs` are what `ask` updates."""

    def __init__(self, panel: str):
        with gr.Column(visible=False, elem_classes="l4f-consent") as self.frame:
            self.words = gr.HTML("", elem_classes="l4f-flush")
            self.accept = gr.Checkbox(False, **named(f"{panel}.accept"))
        self.outputs = [self.frame, self.words, self.accept]

    def ask(self, title: str, terms: str | None) -> dict:
        """Shows what is to be accepted, not yet ticked; hides everything where that is nothing."""
        return {
            self.frame: gr.update(visible=terms is not None),
            self.words: _paragraph(text("consent.words", title=title, terms=terms)) if terms else "",
            self.accept: gr.update(value=False),
        }


def _paragraph(words: str) -> str:
    return f'<p class="l4f-licence">{status.linked(words)}</p>'
