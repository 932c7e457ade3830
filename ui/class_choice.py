"""The dropdown of object classes, which tells size and licence of the chosen one."""

from __future__ import annotations

import gradio as gr

from . import compat
from .controls import named
from .engine import Engine
from .texts import text


class ClassChoice:
    """Builds the dropdown; `panel` keeps labels and ids of several panels apart."""

    def __init__(self, engine: Engine, panel: str):
        self._engine = engine
        words = {**named(f"{panel}.class"), **self._offer()}
        self.dropdown = gr.Dropdown(allow_custom_value=False, **words)
        compat.on(self.dropdown.change, self.tell, [self.dropdown], [self.dropdown], queue=False)

    def refresh(self) -> dict:
        """Offers what has been added since the page was built."""
        return {self.dropdown: gr.update(**self._offer())}

    def _offer(self) -> dict:
        chosen = self._engine.default_class()
        choices = [(entry.title, entry.name) for entry in self._engine.classes()]
        return {"choices": choices, "value": chosen, "info": self.describe(chosen)}

    def tell(self, name: str | None) -> dict:
        """Explains the class that was chosen."""
        return gr.update(info=self.describe(name))

    def describe(self, name: str | None) -> str:
        """Size and licence of a class, or what is wrong with it."""
        entry = next((entry for entry in self._engine.classes() if entry.name == name), None)
        if entry is None:
            return text("class.none")
        if entry.problem:
            return entry.problem
        return text("class.details", resolution=entry.resolution, licence=entry.licence)
