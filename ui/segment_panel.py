"""The panel *Segment*: a seed, a picture of ours or W+ codes in, mask and cut-out out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from l4f_plugin.bundles.likeness import stranger
from l4f_plugin.errors import UserError
from l4f_plugin.images import first_frame_only
from l4f_plugin.provenance import W_PLUS_ENDINGS, Recipe, WPlus, recipe_of
from l4f_plugin.subject import dropped_in_words, write_parts

from . import compat, seeds, status
from .class_choice import ClassChoice
from .controls import Given, SeedField, controls_column, named, note, psi_slider, segments, stage_column
from .outputs import slug
from .run_buttons import RunButtons, Running
from .service import Service
from .stage import Result, Stage
from .texts import text

if TYPE_CHECKING:
    from l4f_plugin.subject import Subject

SOURCES = ("seed", "picture", "w_plus")
VIEWS = ("cutout", "mask", "picture")


class SegmentPanel:
    """Builds the panel inside the current Blocks and answers its events.

    The one `Result` of the stage holds `picture`, `mask`, `cutout` and, but for photographs, `w_plus`. `started` are
    the events of jobs; what others bring here adds to them.
    """

    def __init__(self, service: Service):
        self._service = service
        with gr.Row(elem_classes="l4f-panel"):
            with controls_column():
                self._build_controls()
            with stage_column():
                downloads = ("cutout", "mask", "w_plus")
                self.stage = Stage(
                    service, "segment", self.job.status, VIEWS,
                    downloads=downloads, kept=("mask", "cutout"), sends=True,
                )  # fmt: skip
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "segment")
        with gr.Group():
            self.source = segments("segment.source", "source", SOURCES)
            with gr.Column(elem_classes="l4f-tight") as self.by_seed:
                self.field = SeedField("segment.seed", "0")
                self.psi = psi_slider("segment.psi")
            self.picture = compat.uploaded_image(visible=False, height=220, **named("segment.picture"))
            self.w_plus = compat.uploaded_file(*W_PLUS_ENDINGS, visible=False, height=120, **named("segment.w_plus"))
            self.notes = {kind: note(f"segment.{kind}_note", visible=False) for kind in ("picture", "w_plus")}
        self.seed = self.field.box
        self.job = RunButtons(self._service, "segment")

    def _wire(self) -> None:
        self.inputs = {self.choice.dropdown, self.source, self.seed, self.psi, self.picture, self.w_plus}
        self.inputs.add(self.stage.view)
        self._controls = [self.source, self.by_seed, self.picture, self.w_plus, *self.notes.values()]
        compat.on(self.source.input, self.show_source, [self.source], self._controls)
        self.started: list = []
        for trigger in (
            self.job.run.click, self.seed.submit, self.field.drawn.then, self.picture.upload, self.w_plus.upload
        ):  # fmt: skip
            self._start(trigger)

    def _start(self, trigger: Callable) -> None:
        outputs = [self.choice.dropdown, self.seed, *self.stage.outputs]
        self.started.append(self.job.on(trigger, self.segment, self.inputs, outputs))

    def open_with_picture(self, trigger: Callable, picture: gr.State, tabs: gr.Tabs) -> None:
        """Wires an event that brings a picture file to segment."""

        def bring(path: str | None) -> dict:
            if path is None:
                return {}
            shown = {**self.show_source("picture"), self.picture: gr.update(value=path, visible=True)}
            return {self.source: "picture", **shown, tabs: gr.update(selected="segment")}

        self._start(compat.on(trigger, bring, [picture], [*self._controls, tabs]).then)

    def open_with_codes(self, trigger: Callable, recovered: gr.State, tabs: gr.Tabs) -> None:
        """Wires an event that brings the W+ file of a recovered subject here."""

        def bring(results: list[Result]) -> dict:
            if not results:
                return {}
            codes = gr.update(value=str(results[0].files["w_plus"]), visible=True)
            return {
                self.choice.dropdown: results[0].name,
                self.source: "w_plus",
                **self.show_source("w_plus"),
                self.w_plus: codes,
                tabs: gr.update(selected="segment"),
            }

        self._start(compat.on(trigger, bring, [recovered], [self.choice.dropdown, *self._controls, tabs]).then)

    def show_source(self, source: str) -> dict:
        """Shows the controls of the kind of source that was chosen."""
        parts = {self.by_seed: "seed", self.picture: "picture", self.w_plus: "w_plus"}
        parts |= {part: kind for kind, part in self.notes.items()}
        return {part: gr.update(visible=kind == source) for part, kind in parts.items()}

    def segment(self, running: Running, given: Given) -> Iterator[dict]:
        """Draws what the source stands for once more and shows its mask and cut-out."""
        entry = self._service.entry(given[self.choice.dropdown])
        subject = self._subject(given)
        if isinstance(subject, Recipe) and self._service.is_usable(subject.class_name):
            entry = self._service.entry(subject.class_name)  # the picture knows best
        drawn = {self.seed: str(subject)} if isinstance(subject, int) else {}
        yield {**drawn, self.job.status: status.running(text("segment.working"))}
        sample = self._service.segment(
            entry.name, subject, running.token, running.on_wait, truncation_psi=given[self.psi]
        )
        what = text("segment.of_photo") if sample.photo else text("segment.of_codes")
        what = what if sample.seed is None else text("segment.of_seed", seed=sample.seed)
        area = 100 * float(sample.required_alpha().mean())
        words = text("segment.done", title=entry.title, subject=what, area=area)
        if isinstance(subject, bytes) and (told := first_frame_only(subject, text("api.the_picture"))):
            words += ". " + told
        for told in filter(None, (stranger(entry.title, sample.confidence), dropped_in_words(sample.dropped))):
            words += ". " + told
        yield {
            self.choice.dropdown: entry.name,
            **self.stage.show([Result(self._write(slug(entry.name), sample))], given[self.stage.view]),
            self.job.status: status.finished(words),
        }

    def _subject(self, given: Given) -> int | WPlus | Recipe | bytes:
        if given[self.source] == "seed":
            return seeds.wanted_seed(given[self.seed])
        if given[self.source] == "picture":
            if given[self.picture] is None:
                raise UserError(text("segment.picture_missing"))
            # Read here: the engine's sentences would name the server's folder.
            content = Path(given[self.picture]).read_bytes()
            return recipe_of(content) or content
        path = compat.file_path(given[self.w_plus])
        if path is None:
            raise UserError(text("segment.w_plus_missing"))
        return WPlus.load(path)

    def _write(self, name: str, sample: Subject) -> dict[str, Path]:
        stem = f"{name}_{sample.stem}"
        files = self._service.outputs.preview(stem, sample.parts(), sample.infotext())
        if sample.w_plus is not None:
            folder, stem = files["picture"].parent, stem.removesuffix("_w_plus")
            files |= write_parts(folder, stem, {"w_plus": sample.w_plus}, sample.infotext())
        return files
