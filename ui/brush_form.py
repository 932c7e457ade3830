"""The form that mends the mask of a photograph with a brush, in the panel *Photographs*, where Gradio can edit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from PIL import Image

from l4f_plugin.compositing import brushed
from l4f_plugin.errors import UserError
from l4f_plugin.subject import placed_fields, write_parts

from . import compat, status
from .controls import Given, button, note
from .run_buttons import Running, complain
from .service import Service
from .texts import text

if TYPE_CHECKING:
    from .photos_panel import PhotosPanel

EDITED_SIDE = 800  # pixels of what is painted on


class BrushForm:
    """Builds the form inside the current Blocks, hidden where there is no editor, and then is wired."""

    def __init__(self, service: Service):
        self._service = service
        with gr.Accordion(text("brush.section"), open=False, visible=compat.HAS_EDITOR, elem_id="l4f_brush_section"):
            note("brush.note")
            self.open = button("brush.open", size="sm")
            self.editor = compat.mask_editor(label=text("brush.editor"), height=520, elem_id="l4f_brush_editor")
            self.apply = button("brush.apply", size="sm")

    def wire(self, panel: PhotosPanel) -> None:
        if not compat.HAS_EDITOR:
            return
        self._panel, stage = panel, panel.stage
        compat.on(
            self.open.click, self.show, [stage.results, stage.picked], [self.editor, panel.job.status], queue=True
        )
        inputs = {*panel.inputs, self.editor, stage.picked}
        panel.job.on(self.apply.click, self.mend, inputs, [stage.results, *stage.looks])

    def show(self, results: list, picked: int | None) -> dict:
        """Puts the photograph that is looked at into the editor, what is not subject darkened."""
        try:
            result = self._panel.stage.chosen(results, picked)
            if result is None or result.photo is None:
                raise UserError(text("brush.nothing"))
            with Image.open(result.files["picture"]) as picture, Image.open(result.files["mask"]) as mask:
                # Of other proportions is a mask that was moved to a canvas.
                if abs(mask.width * picture.height / (mask.height * picture.width) - 1) < 0.01:
                    shade = mask.convert("L").resize(picture.size).point(lambda value: 80 + value * 175 // 255)
                    picture = Image.composite(picture.convert("RGB"), Image.new("RGB", picture.size), shade)
                picture.thumbnail((EDITED_SIDE, EDITED_SIDE), Image.Resampling.LANCZOS)
                return {self.editor: compat.editor_update(np.asarray(picture.convert("RGB")))}
        except Exception as error:
            return {self._panel.job.status: complain(error)}

    def mend(self, running: Running, given: Given) -> Iterator[dict]:
        """Adds and takes what was painted; mask, cut-out and composite follow."""
        panel, stage = self._panel, self._panel.stage
        results, picked = list(given[stage.results]), given[stage.picked]
        result, painted = stage.chosen(results, picked), compat.painted(given[self.editor])
        if result is None or result.photo is None or painted is None:
            raise UserError(text("brush.nothing"))
        background, edge, canvas = panel.background.read(given), panel.edge.read(given), panel.canvas.read(given)
        yield {panel.job.status: status.running(text("brush.working"))}
        source = result.photo.source()
        content = source.read_bytes() if isinstance(source, Path) else source
        options = {"keep_largest": edge.keep_largest}
        found = self._service.segment(result.class_name, content, running.token, **options)
        strokes = np.where(painted[..., 3] > 64, np.sign(painted[..., 1].astype(int) - painted[..., 0]), 0)
        found = replace(found, alpha=brushed(found.required_alpha(), strokes.astype(np.float32)))
        edge = replace(edge, keep_largest=False)  # done by now, and what was added stays
        placed = self._service.swap(result.class_name, found, background, edge, running.token, canvas)
        parts = {"mask": placed.alpha, "cutout": placed.cutout}
        parts |= {} if background.kind == "transparent" else {"composite": placed.composite}
        infotext = found.infotext(**placed_fields(background, edge, canvas), Brushed=True)
        files = write_parts(self._service.outputs.preview_folder(), result.name, parts, infotext)
        files |= {"picture": result.files["picture"], "result": files.get("composite", files["cutout"])}
        results[picked or 0] = replace(result, files=files)
        panel.pack(results)
        shown = {stage.results: results, **stage.look(given[stage.view], results, picked)}
        yield {**shown, panel.job.status: status.finished(text("brush.done", name=result.name))}
