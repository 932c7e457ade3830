"""The panel *Photographs*: one or many pictures of a class in, masks, cut-outs and new backgrounds out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from l4f_plugin.errors import UserError
from l4f_plugin.photo_batch import PhotoResult, pack

from . import compat, status
from .background_choice import BackgroundChoice
from .class_choice import ClassChoice
from .controls import button, choices, named, side_by_side
from .edge_choice import EdgeChoice
from .inversion_form import InversionForm
from .outputs import shown_path
from .page_pictures import reduced
from .run_buttons import RunButtons, Running, complain
from .service import Service
from .texts import text
from .words import without_paths

VIEWS = ("compare", "result", "mask")


@dataclass
class SegmentedPhotos:
    """A session's photographs: the folder of their files, and by name what is shown of each and the results."""

    folder: Path | None = None
    results: dict[str, PhotoResult] = field(default_factory=dict)
    before: dict[str, Path] = field(default_factory=dict)
    archive: Path | None = None


class PhotosPanel:
    """Builds the panel inside the current Blocks and answers its events.

    Handlers return `{component: update}`. `shown` holds the session's `SegmentedPhotos`.
    """

    def __init__(self, service: Service):
        self._service = service
        self.shown = gr.State(SegmentedPhotos())
        side_by_side(self._build_controls, self._build_stage)
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "photos", photographs=True)
        with gr.Group():
            self.files = compat.uploaded_file(
                "image", count="multiple", height=160, label=text("photos.files"), elem_id="l4f_photos_files"
            )
            gr.Markdown(text("photos.files_note"), elem_classes="l4f-note")
        self.background = BackgroundChoice("photos", "transparent")
        self.edge = EdgeChoice("photos")
        self.job = RunButtons(self._service, "photos")
        self.inversion = InversionForm(self._service, self.choice, self.files, self.background, self.edge)

    def _build_stage(self) -> None:
        self.empty = gr.HTML(status.empty_stage("photos"), elem_id="l4f_photos_empty", elem_classes="l4f-flush")
        with gr.Column(visible=False, elem_classes="l4f-results") as self.stage:
            self.pick = gr.Dropdown([], visible=False, **named("photos.pick"))
            self.view = gr.Radio(
                choices("preview", VIEWS),
                value=VIEWS[0],
                elem_classes=["l4f-segments", "l4f-view"],
                **named("photos.view"),
            )
            self.image = compat.shown_image(
                label=text("photos.result"),
                show_label=False,
                elem_id="l4f_photos_image",
                visible=False,
                elem_classes=["l4f-checker", "l4f-single"],
            )
            self.comparison = compat.Comparison(
                label=text("photos.compare"),
                before=text("photos.before"),
                after=text("photos.after"),
                elem_id="l4f_photos_compare",
            )
            with gr.Row(elem_classes="l4f-actions"):
                words = {
                    "composite": text("photos.download_composite"),
                    "mask": text("photos.download_mask"),
                    "zip": text("photos.download_zip"),
                }
                self.downloads = {
                    kind: compat.download_button(label, size="sm", elem_id=f"l4f_photos_download_{kind}")
                    for kind, label in words.items()
                }
                self.save = button("photos.save", size="sm")
        self.inversion.build_stage([self.empty, self.stage])

    def _wire(self) -> None:
        inputs = [self.choice.dropdown, self.files, *self.background.inputs, *self.edge.inputs, self.view, self.shown]
        view = [self.image, self.comparison.frame, *self.comparison.outputs, *self.downloads.values()]
        results = [self.empty, self.stage, self.inversion.stage, self.pick, self.shown, *view]
        self.started = self.job.on(self.job.run.click, self.segment, inputs, results)
        picked = [self.view, self.pick, self.shown]
        compat.on(self.view.input, self.show, picked, view, queue=False)
        compat.on(self.pick.input, self.show, picked, view, queue=False)
        compat.on(self.save.click, self.keep, [self.shown], [self.job.status], queue=False)

    def segment(self, running: Running, class_name: str | None, uploaded: object, *values) -> Iterator[dict]:
        """Segments one photograph after another; the first is shown as soon as it is there."""
        behind, rest = values[: len(self.background.inputs)], values[len(self.background.inputs) :]
        *edge_values, view, earlier = rest
        files = compat.file_paths(uploaded)
        if not files:
            raise UserError(text("photos.missing"))
        background, edge = self.background.read(*behind), self.edge.read(*edge_values)
        if background.kind == "transparent":
            background = None  # that is the cut-out, which is written anyway
        entry = self._service.entry(class_name)
        if not entry.photos:
            raise UserError(text("photos.no_student", title=entry.title))
        # The folder of the last time: what is done and asked for in the same way is not done again.
        shown = SegmentedPhotos(earlier.folder or self._service.outputs.preview_folder())
        yield {self.job.status: self._working(files, 0)}
        problems, notes = [], [background.note] if background and background.note else []
        done = self._service.segment_photos(
            entry.name, files, shown.folder, background, edge, running.token, running.on_wait
        )
        for number, result in enumerate(done, start=1):
            if result.problem:
                problems.append(f"{result.source.name} ({without_paths(result.problem)})")
            else:
                which = f"{result.name}: " if len(files) > 1 else ""
                notes += [which + without_paths(note) for note in result.notes]
                name = result.files["mask"].name.removesuffix("_alpha.png")
                shown.results[name], shown.before[name] = result, reduced(result.source, shown.folder)
            if number < len(files):
                first = self._stage(view, shown) if len(shown.results) == 1 and not result.problem else {}
                yield {**first, self.job.status: self._working(files, number)}
        if not shown.results:
            raise UserError(text("photos.problems", problems="; ".join(problems)))
        shown.archive = pack(shown.results.values(), shown.folder / f"{entry.name.replace('/', '-')}_photographs.zip")
        words = text("photos.done", done=len(shown.results), total=len(files))
        if problems:
            words += ". " + text("photos.problems", problems="; ".join(problems))
        if notes:
            words += ". " + " ".join(notes)
        yield {**self._stage(view, shown), self.job.status: status.finished(words)}

    def _working(self, files: list[Path], done: int) -> str:
        words = text("photos.working", done=done + 1, total=len(files), name=files[done].name)
        return status.running(words, done, len(files))

    def _stage(self, view: str, shown: SegmentedPhotos) -> dict:
        names = list(shown.results)
        return {
            self.empty: gr.update(visible=False),
            self.stage: gr.update(visible=True),
            self.inversion.stage: gr.update(visible=False),
            self.pick: gr.update(choices=names, value=names[0], visible=len(names) > 1),
            self.shown: shown,
            **self.show(view, names[0], shown),
        }

    def show(self, view: str, name: str | None, shown: SegmentedPhotos) -> dict:
        """Shows a photograph beside its result, the result or the mask; the downloads follow."""
        if name not in shown.results:
            return {self.image: gr.update()}
        files, comparing = shown.results[name].files, view == "compare"
        result = files.get("composite", files["cutout"])
        after = reduced(result, shown.folder)
        single = reduced(files["mask"], shown.folder) if view == "mask" else after
        return {
            self.image: gr.update(value=str(single), visible=not comparing),
            self.comparison.frame: gr.update(visible=comparing),
            **self.comparison.shown(shown.before[name], after),
            self.downloads["composite"]: compat.download_update(result),
            self.downloads["mask"]: compat.download_update(files["mask"]),
            self.downloads["zip"]: compat.download_update(shown.archive),
        }

    def keep(self, shown: SegmentedPhotos) -> dict:
        """Saves all files in today's folder."""
        try:
            if not shown.results:
                raise UserError(text("photos.nothing_to_save"))
            outputs = self._service.outputs
            kept = [outputs.keep(file) for result in shown.results.values() for file in result.files.values()]
        except Exception as error:
            return {self.job.status: complain(error)}
        return {
            self.job.status: status.finished(text("photos.saved", count=len(kept), folder=shown_path(kept[0].parent)))
        }
