"""The form that mends the mask of a subject with a brush, where Gradio can edit."""

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from l4f_plugin.errors import UserError
from l4f_plugin.subject import Subject

from . import compat, status
from .controls import Given, button, note
from .run_buttons import Running
from .texts import text

EDITED_SIDE = 800  # pixels of what is painted on


class BrushForm:
    """Builds the form below the results of a panel, and then is wired; nothing where there is no editor.

    The panel has a `stage`, a `job` and `inputs`. Its `subject(given, token)` is what is looked at, as it was mended
    before, None for nothing; its `mended(running, given, subject)` shows that with another mask, and all that follows.
    """

    def __init__(self, panel: Any, name: str):
        self._panel = panel
        if not compat.HAS_EDITOR:
            return
        self.taken = gr.State(None)  # what the editor shows, in the words of its infotext
        with panel.stage.frame, gr.Accordion(text("brush.section"), open=False, elem_id=f"l4f_{name}_brush_section"):
            note("brush.note")
            self.open = button("brush.open", size="sm", elem_id=f"l4f_{name}_brush_open")
            self.editor = compat.mask_editor(label=text("brush.editor"), height=520, elem_id=f"l4f_{name}_brush_editor")
            self.apply = button("brush.apply", size="sm", elem_id=f"l4f_{name}_brush_apply")

    def wire(self, outputs: Sequence[Any]) -> None:
        """`outputs` are what the panel's `mended` updates."""
        if compat.HAS_EDITOR:
            panel, own = self._panel, [self.editor, self.taken]
            inputs = {*panel.inputs, panel.stage.results, panel.stage.picked}
            panel.job.on(self.open.click, self.show, inputs, own)
            self.inputs = {*inputs, *own}
            panel.job.on(self.apply.click, self.mend, self.inputs, [*outputs, self.editor])

    def show(self, running: Running, given: Given) -> Iterator[dict]:
        """Puts what is looked at into the editor, what is not subject darkened."""
        yield {self._panel.job.status: status.running(text("brush.opening"))}
        subject = self._subject(running, given)
        shade = subject.mask().point(lambda value: 80 + value * 175 // 255)
        picture = Image.composite(subject.picture(), Image.new("RGB", shade.size), shade)
        picture = ImageOps.contain(picture, (EDITED_SIDE, EDITED_SIDE), Image.Resampling.LANCZOS)
        shown = {self.editor: compat.editor_update(np.asarray(picture)), self.taken: subject.infotext()}
        yield {**shown, self._panel.job.status: status.quiet()}

    def mend(self, running: Running, given: Given) -> Iterator[dict]:
        """Adds and takes what was painted, and closes the editor, which would go on drawing itself."""
        painted = compat.painted(given[self.editor])
        if painted is None:
            raise UserError(text("brush.nothing"))
        yield {self._panel.job.status: status.running(text("brush.working"))}
        subject = self._subject(running, given)
        if subject.infotext() != given[self.taken]:
            raise UserError(text("brush.another"))
        red, green, _, opacity = np.moveaxis(painted.astype(np.float32), 2, 0)
        subject = subject.mended(np.sign(green - red) * opacity / 255)
        for update in self._panel.mended(running, given, subject):
            yield {**update, self.editor: gr.update(visible=False)}

    def _subject(self, running: Running, given: Given) -> Subject:
        subject = self._panel.subject(given, running.token)
        if subject is None:
            raise UserError(text("brush.nothing"))
        return subject
