"""The panel *Segment*: a seed, a picture of ours or W+ codes in, mask and cut-out out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from l4f_plugin.bundles.likeness import stranger
from l4f_plugin.errors import UserError
from l4f_plugin.images import first_frame_only
from l4f_plugin.provenance import W_PLUS_ENDINGS, Recipe, WPlus, recipe_of
from l4f_plugin.subject import write_parts

from . import compat, seeds, status
from .class_choice import ClassChoice
from .controls import button, choices, named, side_by_side
from .inversion_form import Recovered
from .neighbours import Handout, draw_buttons
from .outputs import shown_path, slug
from .restore_choice import LARGEST_PSI_SHOWN
from .run_buttons import RunButtons, Running, complain
from .seed_field import SeedField
from .service import Service
from .texts import text

if TYPE_CHECKING:
    from l4f_plugin.subject import Subject


SOURCES = ("seed", "picture", "w_plus")
VIEWS = ("cutout", "mask", "picture")


@dataclass
class SegmentResult:
    """The files of a session's result: picture, mask, cut-out and W+ codes; empty before the first."""

    files: dict[str, Path] = field(default_factory=dict)


class SegmentPanel:
    """Builds the panel inside the current Blocks and answers its events.

    Handlers return `{component: update}`. `shown` holds the session's `SegmentResult`.
    """

    def __init__(self, service: Service):
        self._service = service
        self.shown = gr.State(SegmentResult())
        side_by_side(self._build_controls, self._build_stage)
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "segment")
        with gr.Group():
            self.source = gr.Radio(
                choices("source", SOURCES), value=SOURCES[0], elem_classes="l4f-segments", **named("segment.source")
            )
            with gr.Column(elem_classes="l4f-tight") as self.by_seed:
                self.field = SeedField("segment.seed", "0")
                self.psi = gr.Slider(0, LARGEST_PSI_SHOWN, 0.7, step=0.05, **named("segment.psi"))
            self.picture = compat.uploaded_image(visible=False, height=220, **named("segment.picture"))
            self.w_plus = compat.uploaded_file(*W_PLUS_ENDINGS, visible=False, height=120, **named("segment.w_plus"))
            self.notes = {
                kind: gr.Markdown(text(f"segment.{kind}_note"), visible=False, elem_classes="l4f-note")
                for kind in ("picture", "w_plus")
            }
        self.seed = self.field.box
        self.job = RunButtons(self._service, "segment")

    def _build_stage(self) -> None:
        self.empty = gr.HTML(status.empty_stage("segment"), elem_id="l4f_segment_empty", elem_classes="l4f-flush")
        with gr.Column(visible=False, elem_classes="l4f-results") as self.stage:
            self.view = gr.Radio(
                choices("view", VIEWS),
                value=VIEWS[0],
                elem_classes=["l4f-segments", "l4f-view"],
                **named("segment.view"),
            )
            self.image = compat.shown_image(
                label=text("segment.result"),
                show_label=False,
                elem_id="l4f_segment_image",
                elem_classes=["l4f-checker", "l4f-single"],
            )
            with gr.Row(elem_classes="l4f-actions"):
                self.downloads = {
                    kind: compat.download_button(
                        text(f"segment.download_{kind}"), size="sm", elem_id=f"l4f_segment_download_{kind}"
                    )
                    for kind in ("cutout", "mask", "w_plus")
                }
                self.save = button("segment.save", size="sm")
                draw_buttons(self._service.neighbours, Handout("segment", self.image, [self.shown, self.view], _files))

    def _wire(self) -> None:
        sources = [self.seed, self.psi, self.picture, self.w_plus]
        inputs = [self.choice.dropdown, self.source, *sources, self.view]
        self._inputs = inputs
        results = [self.choice.dropdown, self.empty, self.stage, self.seed, self.shown, self.image]
        results += self.downloads.values()
        self._results = results
        self.started = self.job.on(self.job.run.click, self.segment, inputs, results)
        self.job.on(self.seed.submit, self.segment, inputs, results)
        self.job.on(self.field.drawn.then, self.segment, inputs, results)
        for dropped in (self.picture.upload, self.w_plus.upload):
            self.job.on(dropped, self.segment, inputs, results)
        self._controls = [self.by_seed, self.picture, self.w_plus, *self.notes.values()]
        compat.on(self.source.input, self.show_source, [self.source], self._controls, queue=False)
        compat.on(self.view.input, self.switch_view, [self.view, self.shown], [self.image], queue=False)
        compat.on(self.save.click, self.keep, [self.shown], [self.job.status], queue=False)

    def open_with_picture(self, trigger, picture: gr.State, tabs: gr.Tabs, tab_id: str):
        """Wires an event that brings a picture file to segment; returns its job's event."""

        def bring(path: str | None) -> dict:
            if path is None:
                return {}
            shown = {**self.show_source("picture"), self.picture: gr.update(value=path, visible=True)}
            return {self.source: "picture", **shown, tabs: gr.update(selected=tab_id)}

        brought = compat.on(trigger, bring, [picture], [self.source, *self._controls, tabs], queue=False)
        return self.job.on(brought.then, self.segment, self._inputs, self._results)

    def open_with_codes(self, trigger, recovered: gr.State, tabs: gr.Tabs, tab_id: str):
        """Wires an event that brings the W+ file of a `Recovered` here; returns its job's event."""

        def bring(recovered: Recovered) -> dict:
            if not recovered.files:
                return {}
            shown = {
                **self.show_source("w_plus"),
                self.w_plus: gr.update(value=str(recovered.files["w_plus"]), visible=True),
            }
            return {
                self.choice.dropdown: recovered.class_name,
                self.source: "w_plus",
                **shown,
                tabs: gr.update(selected=tab_id),
            }

        outputs = [self.choice.dropdown, self.source, *self._controls, tabs]
        brought = compat.on(trigger, bring, [recovered], outputs, queue=False)
        return self.job.on(brought.then, self.segment, self._inputs, self._results)

    def show_source(self, source: str) -> dict:
        """Shows the controls of the kind of source that was chosen."""
        parts = {self.by_seed: "seed", self.picture: "picture", self.w_plus: "w_plus"}
        parts |= {note: kind for kind, note in self.notes.items()}
        return {part: gr.update(visible=kind == source) for part, kind in parts.items()}

    def segment(
        self,
        running: Running,
        class_name: str | None,
        source: str,
        written_seed: str,
        psi: float,
        picture: str | None,
        w_plus: object,
        view: str,
    ) -> Iterator[dict]:
        """Draws what the source stands for once more and shows its mask and cut-out."""
        entry = self._service.entry(class_name)
        subject = self._subject(source, written_seed, picture, w_plus)
        if isinstance(subject, Recipe) and self._service.is_usable(subject.class_name):
            entry = self._service.entry(subject.class_name)  # the picture knows best
        drawn = {self.seed: str(subject)} if isinstance(subject, int) else {}
        yield {**drawn, self.job.status: status.running(text("segment.working"))}
        sample = self._service.segment(entry.name, subject, running.token, running.on_wait, truncation_psi=psi)
        files = self._write(slug(entry.name), sample)
        shown = SegmentResult(files)
        area = 100 * float(sample.required_alpha().mean())
        what = text("segment.of_photo") if sample.photo else text("segment.of_codes")
        what = what if sample.seed is None else text("segment.of_seed", seed=sample.seed)
        words = text("segment.done", title=entry.title, subject=what, area=area)
        if isinstance(subject, bytes) and (note := first_frame_only(subject, text("api.the_picture"))):
            words += ". " + note
        if note := stranger(entry.title, sample.confidence):
            words += ". " + note
        yield {
            self.choice.dropdown: entry.name,
            self.empty: gr.update(visible=False),
            self.stage: gr.update(visible=True),
            self.shown: shown,
            **self.switch_view(view, shown),
            **{part: compat.download_update(files.get(kind)) for kind, part in self.downloads.items()},
            self.job.status: status.finished(words),
        }

    def _subject(
        self, source: str, written_seed: str, picture: str | None, w_plus: object
    ) -> int | WPlus | Recipe | bytes:
        if source == "seed":
            return seeds.wanted_seed(written_seed)
        if source == "picture":
            if picture is None:
                raise UserError(text("segment.picture_missing"))
            content = Path(picture).read_bytes()  # read here: the engine's sentences would name the server's folder
            return recipe_of(content) or content
        path = compat.file_path(w_plus)
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

    def switch_view(self, view: str, shown: SegmentResult) -> dict:
        """Shows the cut-out, the mask or the picture."""
        return {self.image: compat.picture_update(shown.files[view])} if shown.files else {}

    def keep(self, shown: SegmentResult) -> dict:
        """Saves mask and cut-out in today's folder."""
        try:
            if not shown.files:
                raise UserError(text("segment.nothing_to_save"))
            kept = [self._service.outputs.keep(shown.files[kind]) for kind in ("mask", "cutout")]
        except Exception as error:
            return {self.job.status: complain(error)}
        names = ", ".join(path.name for path in kept)
        return {self.job.status: status.finished(text("segment.saved", names=names, folder=shown_path(kept[0].parent)))}


def _files(shown: SegmentResult, view: str) -> dict[str, Path]:
    """What is shown, as a neighbour wants it."""
    return {**shown.files, "shown": shown.files[view]} if shown.files else {}
