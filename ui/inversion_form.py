"""The form that recovers a photographed subject as the class draws it, in the panel *Photographs*."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np

from l4f_plugin.arguments import PROJECTION_STEPS
from l4f_plugin.bundles.files import LONGEST_NAME, fitted
from l4f_plugin.errors import UserError
from l4f_plugin.images import first_frame_only, write_png
from l4f_plugin.subject import SwapResult, write_parts

from . import status
from .controls import Given, named, note
from .outputs import Result
from .run_buttons import RunButtons, Running
from .service import Service
from .stage import Stage
from .texts import text

if TYPE_CHECKING:
    from l4f_plugin.projection import Projection

    from .photos_panel import PhotosPanel

VIEWS = ("compare", "redrawn", "result", "mask")
DOWNLOADS = ("redrawn", "result", "mask", "w_plus")
KEPT = ("redrawn", "result", "mask", "cutout", "w_plus")
ROOM_FOR_ENDING = 24  # bytes of a name


class InversionForm:
    """`build_stage` builds the stage elsewhere. The page wires its button to the panel *Swap background*."""

    def __init__(self, service: Service):
        self._service = service
        note("recover.note")
        self.steps = gr.Slider(50, 1000, PROJECTION_STEPS, step=50, **named("recover.steps"))
        self.job = RunButtons(service, "recover")

    def build_stage(self) -> None:
        self.stage = Stage(
            self._service,
            "recover",
            self.job.status,
            VIEWS,
            words="recovered",
            compared=("picture", "redrawn"),
            downloads=DOWNLOADS,
            kept=KEPT,
            buttons={"to_swap": {}},
        )

    def wire(self, panel: PhotosPanel, inputs: set) -> None:
        self._panel = panel
        self.inputs = {*inputs, self.steps, self.stage.view}
        outputs = [*panel.stage.places, *self.stage.outputs]
        self.job.on(self.job.run.click, self.recover, self.inputs, outputs)

    def recover(self, running: Running, given: Given) -> Iterator[dict]:
        """Finds the codes of the first photograph, with pictures on the way, and shows what came of it."""
        panel = self._panel
        photograph = panel.uploads(given).pictures[0]
        background, edge = panel.background.read(given), panel.edge.read(given)
        entry = self._service.entry(given[panel.choice.dropdown])
        folder = self._service.outputs.preview_folder()
        yield {self.job.status: status.running(text("job.loading", title=entry.title))}
        numbers = itertools.count(1)

        def said(done: int, total: int) -> str:
            key = "recover.working" if done else "recover.starting"
            return text(key, name=photograph.name, done=done, total=total)

        def preview(picture: np.ndarray) -> None:
            file = folder / f"on-the-way-{next(numbers):03d}.png"
            write_png(file, picture)
            picture_alone = {
                self.stage.comparison.frame: gr.update(visible=False),
                self.stage.image: gr.update(value=str(file), visible=True),
            }
            running.post({**panel.stage.appear(False), **self.stage.appear(), **picture_alone})

        how = {"steps": int(given[self.steps]), "progress": running.now_and_then(said), "preview": preview}
        try:
            found = self._service.project(entry.name, photograph.source(), running.token, **how)
        except UserError as error:
            raise UserError(f"{photograph.name}: {error}") from error
        placed = self._service.swap(entry.name, found.photo, background, edge, running.token)
        words = text("recover.done", name=photograph.name, title=entry.title)
        if told := first_frame_only(photograph.source(), photograph.name):
            words += ". " + told
        result = Result(_write(folder, photograph.stem, found, placed), class_name=entry.name)
        yield {
            **panel.stage.appear(False),
            **self.stage.show([result], given[self.stage.view]),
            self.job.status: status.finished(words),
        }


def _write(folder: Path, stem: str, found: Projection, placed: SwapResult) -> dict[str, Path]:
    sample, stem = found.sample, fitted(stem, longest=LONGEST_NAME - ROOM_FOR_ENDING)
    parts = {"composite": placed.composite, "cutout": placed.cutout, "mask": placed.alpha}
    files = write_parts(folder, stem, parts, placed.infotext)
    files |= write_parts(folder, stem, {"redrawn": sample.picture, "w_plus": sample.w_plus}, sample.infotext())
    files |= write_parts(folder, stem, {"picture": found.photo.picture}, found.photo.infotext())
    return {**files, "result": files["composite"]}
