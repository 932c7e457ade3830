"""The form that makes a class of a user's own files, in the panel *Models*."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from l4f_plugin.errors import UserError

from . import compat, status
from .class_jobs import Import, discard
from .controls import named
from .models_visit import Picking, Visit
from .run_buttons import RunButtons, Running
from .service import Service
from .texts import text
from .words import pathless, size, standing

MOST_BYTES = 1 << 30
"""Larger than any published checkpoint; what is larger is not read."""
LICENCES = (
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "Apache-2.0",
    "MIT",
    "NVIDIA Source Code License-NC",
    "unknown",
)


class ImportForm:
    """Builds the form inside the current Blocks; the class that comes of it is then the one picked."""

    def __init__(self, service: Service, picking: Picking):
        self._service, self._picking = service, picking
        with gr.Accordion(text("import.section"), open=False, elem_id="l4f_import_section"):
            gr.Markdown(text("import.about"), elem_classes="l4f-aside")
            with gr.Row(elem_classes="l4f-panel"):
                with gr.Column(scale=5, min_width=260):
                    self.file = compat.uploaded_file(
                        ".pt", ".pth", ".pkl", label=text("import.file"), elem_id="l4f_import_file", height=150
                    )
                    self.alpha = compat.uploaded_file(
                        ".pt", ".pth", label=text("import.alpha"), elem_id="l4f_import_alpha", height=150
                    )
                with gr.Column(scale=5, min_width=260):
                    self.name = gr.Textbox("", max_lines=1, **named("import.name"))
                    self.title = gr.Textbox("", max_lines=1, **named("import.title"))
                    self.licence = gr.Dropdown(
                        list(LICENCES), value=None, allow_custom_value=True, **named("import.licence")
                    )
                    self.job = RunButtons(service, "import")
        inputs = [picking.visit, self.file, self.alpha, self.name, self.title, self.licence]
        outputs = [*picking.outputs, self.file, self.alpha, self.name, self.title]
        self.started = self.job.on(self.job.run.click, self.bring, inputs, outputs)

    def bring(
        self,
        running: Running,
        visit: Visit,
        checkpoint: object,
        alpha: object,
        name: str,
        title: str,
        licence: str | None,
    ) -> Iterator[dict]:
        """Converts the files into a class. Whatever comes of it, they are gone from the server afterwards."""
        files = [_uploaded(value) for value in (checkpoint, alpha)]
        gone = {self.file: None, self.alpha: None}
        try:
            wanted = self._read(files, visit, name, title, licence)
            task = self._service.class_jobs.bring(wanted)
        except Exception as error:
            for path in filter(None, files):
                discard(path)
            yield gone
            raise pathless(error) from None
        try:
            for progress in task.follow(running.token):
                yield {self.job.status: status.running(standing(progress, task.kind))}
        except Exception:
            yield gone
            raise
        visit.picked = wanted.name
        yield {
            **gone,
            self.name: "",
            self.title: "",
            **self._picking.pick(visit, wanted.name),
            self.job.status: status.finished(task.outcome),
        }

    def _read(self, files: list[Path | None], visit: Visit, name: str, title: str, licence: str | None) -> Import:
        """What the form asks for. Raises `UserError` where something is missing or too large."""
        from l4f_plugin.bundles.config import plain_class_name

        if not self._service.manages_classes:
            raise UserError(text("models.read_only"))
        present = [path for path in files if path is not None]
        if not present:
            raise UserError(text("import.nothing"))
        for path in present:
            if path.stat().st_size > MOST_BYTES:
                raise UserError(text("import.too_large", file=path.name, limit=size(MOST_BYTES)))
        label = ", ".join(path.name for path in present)
        if files[0] is None:
            return Import(name.strip() or visit.picked or "", None, _short(files[1]), label=label)
        licence, title = (licence or "").strip(), title.strip()
        if not licence:
            raise UserError(text("import.no_licence"))
        for words in (licence, title):
            if len(words) > 200 or not words.isprintable():
                raise UserError(text("import.long_words"))
        name = name.strip() or plain_class_name(files[0].stem)
        return Import(name, _short(files[0]), files[1] and _short(files[1]), licence, title or None, label)


def _uploaded(value: object) -> Path | None:
    """The path of an uploaded file. Raises `UserError` for what was not uploaded: it is nobody's to remove."""
    path = compat.only_copy(value)
    if path is not None and not (compat.is_uploaded(path) and path.is_file()):
        raise UserError(text("import.not_uploaded"))
    return path


def _short(path: Path) -> Path:
    """The file under a short name: sentences about a file name it, and cut long paths."""
    return path.rename(path.with_name(uuid.uuid4().hex[:8]))
