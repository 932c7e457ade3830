"""The form that recovers a photographed subject as the class draws it, in the panel *Photographs*."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from l4f_plugin.arguments import PROJECTION_STEPS
from l4f_plugin.bundles.files import LONGEST_NAME, fitted
from l4f_plugin.errors import UserError
from l4f_plugin.images import first_frame_only, write_png
from l4f_plugin.subject import write_parts

from . import compat, status
from .background_choice import BackgroundChoice
from .class_choice import ClassChoice
from .controls import button, choices, named
from .edge_choice import EdgeChoice
from .outputs import shown_path
from .page_pictures import reduced
from .run_buttons import RunButtons, Running, complain
from .service import Service
from .texts import text
from .words import without_paths

if TYPE_CHECKING:
    import numpy as np

    from l4f_plugin.projection import Projection
    from l4f_plugin.subject import SwapResult

VIEWS = ("compare", "redrawn", "result", "mask")
KEPT = ("redrawn", "result", "mask", "cutout", "w_plus")
ROOM_FOR_ENDING = 24  # bytes of a name
_SECONDS_BETWEEN_WORDS = 0.2


@dataclass
class Recovered:
    """A session's recovered subject: its class and files, the photograph among them; empty before the first."""

    class_name: str = ""
    files: dict[str, Path] = field(default_factory=dict)


class InversionForm:
    """Builds the form inside the current Blocks, and with `build_stage` where the result is shown.

    The photograph is the first of `uploads`; `background` and `edge` say what comes behind it. `elsewhere` are what
    the stage of this form takes the place of. `shown` holds the session's `Recovered`; `to_swap` and `to_segment` are
    buttons that the page wires to the panels they name.
    """

    def __init__(
        self, service: Service, choice: ClassChoice, uploads: gr.File, background: BackgroundChoice, edge: EdgeChoice
    ):
        self._service, self._choice, self._uploads = service, choice, uploads
        self._background, self._edge = background, edge
        self.shown = gr.State(Recovered())
        with gr.Accordion(text("recover.section"), open=False, elem_id="l4f_recover_section"):
            gr.Markdown(text("recover.note"), elem_classes="l4f-note")
            self.steps = gr.Slider(50, 1000, PROJECTION_STEPS, step=50, **named("recover.steps"))
            self.job = RunButtons(service, "recover")

    def build_stage(self, elsewhere: Sequence) -> None:
        """Builds the place of the result, which hides `elsewhere`, and wires the form."""
        self._elsewhere = elsewhere
        with gr.Column(visible=False, elem_classes="l4f-results") as self.stage:
            self.view = gr.Radio(
                choices("recovered", VIEWS),
                value=VIEWS[0],
                elem_classes=["l4f-segments", "l4f-view"],
                **named("recover.view"),
            )
            self.image = compat.shown_image(
                label=text("recover.result"),
                show_label=False,
                visible=False,
                elem_id="l4f_recover_image",
                elem_classes=["l4f-checker", "l4f-single"],
            )
            self.comparison = compat.Comparison(
                label=text("recover.compare"),
                before=text("photos.before"),
                after=text("recover.after"),
                elem_id="l4f_recover_compare",
            )
            with gr.Row(elem_classes="l4f-actions"):
                self.downloads = {
                    kind: compat.download_button(
                        text(f"recover.download_{kind}"), size="sm", elem_id=f"l4f_recover_download_{kind}"
                    )
                    for kind in ("redrawn", "result", "mask", "w_plus")
                }
            with gr.Row(elem_classes="l4f-actions"):
                self.to_swap = button("recover.to_swap", size="sm")
                self.to_segment = button("recover.to_segment", size="sm")
                self.save = button("recover.save", size="sm")
        view = [self.image, self.comparison.frame, *self.comparison.outputs]
        inputs = [
            self._choice.dropdown,
            self._uploads,
            *self._background.inputs,
            *self._edge.inputs,
            self.steps,
            self.view,
        ]
        results = [*elsewhere, self.stage, self.shown, *view, *self.downloads.values()]
        self.started = self.job.on(self.job.run.click, self.recover, inputs, results)
        compat.on(self.view.input, self.show, [self.view, self.shown], view, queue=False)
        compat.on(self.save.click, self.keep, [self.shown], [self.job.status], queue=False)

    def recover(self, running: Running, class_name: str | None, uploaded: object, *values) -> Iterator[dict]:
        """Finds the codes of the first photograph, with pictures on the way, and shows what came of it."""
        behind, rest = values[: len(self._background.inputs)], values[len(self._background.inputs) :]
        *edge_values, steps, view = rest
        uploads = compat.file_paths(uploaded)
        if not uploads:
            raise UserError(text("photos.missing"))
        background, edge = self._background.read(*behind), self._edge.read(*edge_values)
        entry, photograph = self._service.entry(class_name), uploads[0]
        folder = self._service.outputs.preview_folder()
        yield {self.job.status: status.running(text("job.loading", title=entry.title))}
        progress, preview = self._telling(running, photograph.name, folder)
        try:
            found = self._service.project(
                entry.name, photograph, int(steps), running.token, running.on_wait, progress, preview
            )
        except UserError as error:
            raise UserError(f"{photograph.name}: {without_paths(str(error))}") from error
        placed = self._service.swap(entry.name, found.photo, background, edge, running.token, running.on_wait)
        words = text("recover.done", name=photograph.name, title=entry.title)
        if note := first_frame_only(photograph, photograph.name):
            words += ". " + note
        shown = Recovered(entry.name, _write(folder, photograph.stem, found, placed))
        yield {
            **self._shown_here(),
            self.shown: shown,
            **self.show(view, shown),
            **{part: compat.download_update(shown.files[kind]) for kind, part in self.downloads.items()},
            self.job.status: status.finished(words),
        }

    def _telling(self, running: Running, name: str, folder: Path) -> tuple[Callable, Callable]:
        """What is called after each step, and with each picture on the way."""
        told, pictures = 0.0, 0

        def progress(done: int, total: int, _: str) -> None:
            nonlocal told
            if time.monotonic() - told > _SECONDS_BETWEEN_WORDS or done == total:
                told = time.monotonic()
                words = text("recover.working" if done else "recover.starting", name=name, done=done, total=total)
                running.post({self.job.status: status.running(words, done, total)})

        def preview(picture: np.ndarray) -> None:
            nonlocal pictures
            pictures += 1
            file = folder / f"on-the-way-{pictures:03d}.png"
            write_png(file, picture)
            running.post(
                {
                    **self._shown_here(),
                    self.comparison.frame: gr.update(visible=False),
                    self.image: gr.update(value=str(file), visible=True),
                }
            )

        return progress, preview

    def _shown_here(self) -> dict:
        return {**{part: gr.update(visible=False) for part in self._elsewhere}, self.stage: gr.update(visible=True)}

    def show(self, view: str, shown: Recovered) -> dict:
        """Shows the photograph beside what the class draws, that alone, the photograph's result or its mask."""
        if not shown.files:
            return {}
        files, folder = shown.files, shown.files["mask"].parent
        comparing = view == "compare"
        single = files["redrawn"] if comparing else files[view]
        return {
            self.image: gr.update(value=str(reduced(single, folder)), visible=not comparing),
            self.comparison.frame: gr.update(visible=comparing),
            **self.comparison.shown(reduced(files["photograph"], folder), files["redrawn"]),
        }

    def keep(self, shown: Recovered) -> dict:
        """Saves all files in today's folder."""
        try:
            if not shown.files:
                raise UserError(text("recover.nothing_to_save"))
            kept = [self._service.outputs.keep(shown.files[kind]) for kind in KEPT]
        except Exception as error:
            return {self.job.status: complain(error)}
        return {
            self.job.status: status.finished(text("photos.saved", count=len(kept), folder=shown_path(kept[0].parent)))
        }


def _write(folder: Path, stem: str, found: Projection, placed: SwapResult) -> dict[str, Path]:
    """The files of a result, named after the photograph."""
    sample, stem = found.sample, fitted(stem, longest=LONGEST_NAME - ROOM_FOR_ENDING)
    parts = {"composite": placed.composite, "cutout": placed.cutout, "mask": placed.alpha}
    files = write_parts(folder, stem, parts, placed.infotext)
    files |= write_parts(folder, stem, {"redrawn": sample.picture, "w_plus": sample.w_plus}, sample.infotext())
    photograph = write_parts(folder, stem, {"picture": found.photo.picture}, found.photo.infotext())
    return {"photograph": photograph["picture"], "result": files.pop("composite"), **files}
