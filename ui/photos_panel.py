"""The panel *Photographs*: one or many pictures of a class in, masks, cut-outs and new backgrounds out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from l4f_plugin.errors import UserError
from l4f_plugin.photo_batch import PhotoResult, pack

from . import compat, status
from .class_choice import ClassChoice
from .controls import BackgroundChoice, CanvasChoice, EdgeChoice, Given, controls_column, note, stage_column
from .inversion_form import InversionForm
from .run_buttons import RunButtons, Running
from .service import Service
from .stage import Result, Stage, reduced
from .texts import text
from .words import without_paths

VIEWS = ("compare", "result", "mask")
DOWNLOADS = ("result", "mask", "zip")


class PhotosPanel:
    """Builds the panel inside the current Blocks and answers its events.

    Each `Result` of the stage is named after its photograph and holds `picture` (as the page shows it), `mask`,
    `cutout`, `composite` where a background was chosen, `result` (one of the two) and in the end `zip` of all.
    """

    def __init__(self, service: Service):
        self._service = service
        with gr.Row(elem_classes="l4f-panel"):
            with controls_column():
                self.choice = ClassChoice(service, "photos", photographs=True)
                with gr.Group():
                    words = {"label": text("photos.files"), "elem_id": "l4f_photos_files"}
                    self.files = compat.uploaded_file("image", count="multiple", height=160, **words)
                    note("photos.files_note")
                self.background = BackgroundChoice("photos", "transparent")
                self.canvas = CanvasChoice()
                self.edge = EdgeChoice("photos", keep_largest=True)
                self.job = RunButtons(service, "photos")
                self.inversion = InversionForm(service)
            with stage_column():
                given = {"downloads": DOWNLOADS, "kept": ("mask", "cutout", "composite"), "several": True}
                self.stage = Stage(service, "photos", self.job.status, VIEWS, words="preview", **given)
                self.inversion.build_stage()
        asked = {self.choice.dropdown, self.files, *self.background.inputs, *self.edge.inputs, *self.canvas.inputs}
        self.inputs = {*asked, self.stage.view, self.stage.results}
        outputs = [*self.stage.outputs, self.inversion.stage.frame]
        self.started = [self.job.on(self.job.run.click, self.segment, self.inputs, outputs)]
        self.started += self.inversion.wire(self, asked)

    def segment(self, running: Running, given: Given) -> Iterator[dict]:
        """Segments one photograph after another; the first is shown as soon as it is there."""
        files, earlier = self.uploads(given), given[self.stage.results]
        background, edge, canvas = self.background.read(given), self.edge.read(given), self.canvas.read(given)
        if background.kind == "transparent":
            background = None  # that is the cut-out, which is written anyway
        entry = self._service.entry(given[self.choice.dropdown])
        if not entry.photos:
            raise UserError(text("photos.no_student", title=entry.title))
        # The folder of the last time: what is done and asked for in the same way is not done again.
        folder = earlier[0].files["mask"].parent if earlier else self._service.outputs.preview_folder()
        yield {self.job.status: self._working(files, 0)}
        results, segmented, problems = [], [], []
        notes = [background.note] if background and background.note else []
        token, on_wait = running.token, running.on_wait
        done = self._service.segment_photos(entry.name, files, folder, background, edge, token, on_wait, canvas)
        for number, found in enumerate(done, start=1):
            if found.problem:
                problems.append(f"{found.source.name} ({without_paths(found.problem)})")
            else:
                which = f"{found.name}: " if len(files) > 1 else ""
                notes += [which + without_paths(told) for told in found.notes]
                segmented.append(found)
                results.append(_result(found, folder))
            if number < len(files):
                first = self._shown(results, given) if len(results) == 1 and not found.problem else {}
                yield {**first, self.job.status: self._working(files, number)}
        trouble = text("photos.problems", problems="; ".join(problems))
        if not results:
            raise UserError(trouble)
        archive = pack(segmented, folder / f"{entry.name.replace('/', '-')}_photographs.zip")
        for result in results:
            result.files["zip"] = archive
        words = [text("photos.done", done=len(results), total=len(files)), *([trouble] if problems else [])]
        words += [" ".join(notes)] if notes else []
        yield {**self._shown(results, given), self.job.status: status.finished(". ".join(words))}

    def uploads(self, given: Given) -> list[Path]:
        """The photographs. Raises `UserError` where there are none."""
        files = compat.file_paths(given[self.files])
        if not files:
            raise UserError(text("photos.missing"))
        return files

    def _shown(self, results: list[Result], given: Given) -> dict:
        return {**self.inversion.stage.appear(False), **self.stage.show(results, given[self.stage.view])}

    def _working(self, files: list[Path], done: int) -> str:
        words = text("photos.working", done=done + 1, total=len(files), name=files[done].name)
        return status.running(words, done, len(files))


def _result(found: PhotoResult, folder: Path) -> Result:
    files = {**found.files, "picture": reduced(found.source, folder)}
    files["result"] = files.get("composite", files["cutout"])
    return Result(files, files["mask"].name.removesuffix("_alpha.png"))
