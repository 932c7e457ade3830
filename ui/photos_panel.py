"""The panel *Photographs*: pictures of a class, or style codes, in; masks, cut-outs and new backgrounds out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
from PIL import Image

from l4f_plugin.bundles.config import ObjectClass
from l4f_plugin.bundles.files import fitted
from l4f_plugin.bundles.likeness import is_strange
from l4f_plugin.compositing import to_float
from l4f_plugin.errors import UserError
from l4f_plugin.images import bytes_of, load_picture, write_png
from l4f_plugin.jobs import CancelToken
from l4f_plugin.photo_batch import PhotoResult
from l4f_plugin.picture_files import PHOTO_ENDINGS, PictureFile, PictureSet, find_photos
from l4f_plugin.provenance import W_PLUS_ENDINGS, Recipe, WPlus, required_recipe
from l4f_plugin.subject import Subject, write_parts

from . import compat, status
from .brush_form import BrushForm
from .class_choice import ClassChoice
from .controls import (
    BackgroundChoice,
    CanvasChoice,
    EdgeChoice,
    Given,
    controls_column,
    named,
    note,
    stage_column,
    thumbnails,
)
from .inversion_form import InversionForm
from .outputs import Result, slug
from .run_buttons import RunButtons, Running, complain
from .service import Service
from .stage import SHOWN_SIDE, GridStage
from .texts import text
from .words import without_paths

VIEWS = ("compare", "result", "mask")
DOWNLOADS = ("result", "mask", "w_plus")
KEPT = ("mask", "cutout", "composite")


class PhotosPanel:
    """Each `Result` of the stage is named after its photograph and holds `picture` (as the page shows it), `mask`,
    `cutout`, `composite` where a background was chosen, and `result`, one of the two; of codes also `w_plus`."""

    def __init__(self, service: Service):
        self._service = service
        with gr.Row(elem_classes="l4f-panel"):
            with controls_column():
                self._build_controls()
            with stage_column():
                given = {"words": "preview", "downloads": DOWNLOADS, "kept": KEPT, "packs": KEPT}
                self.stage = GridStage(service, "photos", self.job.status, VIEWS, **given, sends=True)
                self.brush = BrushForm(self, "photos")
                self.inversion.build_stage()
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "photos", photographs=True)
        with gr.Group():
            many = {"count": "multiple", "height": 160}
            self.files = compat.uploaded_file("image", *PHOTO_ENDINGS, **many, **named("photos.files"))
            note("photos.files_note")
        self.folder = compat.folder_button(text("photos.folder"), elem_id="l4f_photos_folder")
        found = self._examples(self.choice.dropdown.value)[1]
        self.examples = thumbnails("photos.examples", "l4f-examples", **found)
        self.background = BackgroundChoice("photos", "transparent", colour="#ffffff")
        self.canvas = CanvasChoice()
        self.edge = EdgeChoice("photos", keep_largest=True)
        self.job = RunButtons(self._service, "photos")
        with gr.Accordion(text("photos.advanced"), open=False, elem_id="l4f_photos_advanced"):
            self.codes = compat.uploaded_file(*W_PLUS_ENDINGS, ".png", height=150, **named("photos.codes"))
            note("photos.codes_note")
            self.inversion = InversionForm(self._service)

    def _wire(self) -> None:
        asked = {self.choice.dropdown, self.files, *self.background.inputs, *self.edge.inputs, *self.canvas.inputs}
        self.inputs = {*asked, self.codes, self.stage.view, self.stage.results}
        dropdown, examples = self.choice.dropdown, self.examples
        compat.on(dropdown.change, lambda name: gr.update(**self._examples(name)[1]), [dropdown], [examples])
        tried = compat.on(examples.select, self.try_example, [dropdown], [dropdown, self.files, self.codes, examples])
        added = [self.files, self.job.status]
        compat.on(self.folder.upload, self.add_folder, [self.folder, self.files], added, queue=True)
        stage = self.stage
        used = compat.on(stage.use_better.click, self.use_better, [stage.results, stage.picked], [self.choice.dropdown])
        for trigger in (self.job.run.click, self.codes.upload, used.then, tried.then):
            self._start(trigger)
        self.inversion.wire(self, asked)
        self.brush.wire([stage.results, *stage.looks])

    def _start(self, trigger: Callable) -> None:
        outputs = [self.choice.dropdown, *self.stage.outputs, self.inversion.stage.frame]
        self.job.on(trigger, self.segment, self.inputs, outputs)

    def open_with_picture(self, trigger: Callable, picture: gr.State, tabs: gr.Tabs) -> None:

        def bring(path: str) -> dict:
            given = {self.files: gr.update(value=[path]), self.codes: gr.update(value=None)}
            return {**given, tabs: gr.update(selected="photos")}

        self._start(compat.on(trigger, bring, [picture], [self.files, self.codes, tabs]).then)

    def _examples(self, name: str | None) -> tuple[str | None, dict]:
        """The class whose examples are shown, and what shows them: that of this name, or else the first with any."""
        entries = sorted(self._service.classes(), key=lambda entry: entry.name != name)
        entry = next((entry for entry in entries if entry.photos and entry.examples), None)
        files = self._service.outputs.served(entry.examples) if entry else []
        return entry and entry.name, {"value": [(str(file), None) for file in files], "visible": bool(files)}

    def try_example(self, name: str | None, event: gr.SelectData) -> dict:
        fitting, shown = self._examples(name)
        file = shown["value"][compat.selected(event)][0]
        chosen = {self.choice.dropdown: fitting, self.files: gr.update(value=[file]), self.codes: gr.update(value=None)}
        return {**chosen, self.examples: compat.gallery_update(shown["value"])}

    def add_folder(self, folder: list | None, files: list | None) -> dict:
        """Adds the photographs of a folder to those that are there; what else lies in it is told."""
        try:
            found = find_photos(compat.file_paths(folder), chosen=False)
        except UserError as error:
            return {self.job.status: complain(error)}
        added = [*compat.file_paths(files), *(photo.path for photo in found)]
        return {self.files: list(map(str, added)), self.job.status: status.finished(found.in_words())}

    def use_better(self, results: list[Result], picked: int | None) -> dict:
        result = self.stage.chosen(results, picked)
        return {self.choice.dropdown: result.better.name} if result and result.better else {}

    def segment(self, running: Running, given: Given) -> Iterator[dict]:
        """Segments what codes draw, or photograph after photograph; strange ones are compared with other classes."""
        if given[self.codes] is not None:
            yield from self._segment_codes(running, given)
            return
        photos, earlier = self.uploads(given), given[self.stage.results]
        background, edge, canvas = self.background.read(given), self.edge.read(given), self.canvas.read(given)
        if background.kind == "transparent":
            background = None  # that is the cut-out, which is written anyway
        entry = self._service.entry(given[self.choice.dropdown])
        if not entry.photos:
            raise UserError(text("photos.no_student", title=entry.title))
        # The folder of the last time: what is done and asked for in the same way is not done again.
        folder = earlier[0].files["mask"].parent if earlier else self._service.outputs.preview_folder()
        yield {self.job.status: self._working(photos, 0)}
        results, strange, problems, along_edge = [], [], [], 0
        notes = [background.note] if background and background.note else []
        notes += [photos.in_words()] if photos.passed_over else []
        how = {"folder": folder, "background": background, "edge": edge, "canvas": canvas}
        how["jpeg"] = given[self.canvas.jpeg] and background is not None
        done = self._service.segment_photos(entry.name, photos, running.token, **how)
        for number, (photo, found) in enumerate(zip(photos, done, strict=True), start=1):
            if found.problem:
                told = without_paths(found.problem).rstrip(".")
                problems.append(told if told.startswith(found.name) else f"{found.name} ({told})")
            else:
                notes += map(without_paths, found.notes) if len(photos) == 1 else ()  # else beside each
                results.append(_result(photo, found, folder, entry))
                along_edge += found.along_edge
                strange += results[-1:] if is_strange(found.confidence) else []
            if number < len(photos):
                first = self._shown(results, given) if len(results) == 1 and not found.problem else {}
                yield {**first, self.job.status: self._working(photos, number)}
        trouble = text("photos.problems", problems="; ".join(problems))
        if not results:
            raise UserError(trouble)
        if strange:
            yield {**self._shown(results, given), self.job.status: status.running(text("photos.comparing"))}
            fits = self._service.best_fits(entry.name, [one.photo.source for one in strange], running.token)
            for result, fit in zip(strange, fits, strict=True):
                if fit is not None:
                    result.better = fit[0]
                    result.told += " " + text("photos.better", title=fit[0].title, confidence=fit[1])
        results = [self._again_mended(running, given, result) for result in results]
        words = [text("photos.done", done=len(results), total=len(photos)), *([trouble] if problems else [])]
        if strange and len(results) > 1:
            words.append(text("photos.strangers", count=len(strange), title=entry.title))
        if along_edge and len(results) > 1:
            words.append(text("photos.along_edge", count=along_edge))
        words += [" ".join(notes)] if notes else []
        yield {**self._shown(results, given), self.job.status: status.finished(". ".join(words))}

    def subject(self, given: Given, token: CancelToken) -> Subject | None:
        result = self.stage.chosen(given[self.stage.results], given[self.stage.picked])
        return None if result is None else self._subject(result, given, token)

    def _subject(self, result: Result, given: Given, token: CancelToken) -> Subject:
        source = bytes_of(result.photo.source()) if result.photo else result.codes()
        keep_largest = bool(given[self.edge.keep_largest])
        found = self._service.segment(result.class_name, source, token, keep_largest=keep_largest)
        if "mended" not in result.files:
            return found
        return replace(found, alpha=to_float(load_picture(result.files["mended"])[..., 0]), brushed=True)

    def mended(self, running: Running, given: Given, subject: Subject) -> Iterator[dict]:
        """Mask, cut-out and composite follow."""
        results, picked = list(given[self.stage.results]), given[self.stage.picked] or 0
        results[picked] = self._mended(running, given, results[picked], subject)
        shown = {self.stage.results: results, **self.stage.look(given[self.stage.view], results, picked)}
        yield {**shown, self.job.status: status.finished(text("brush.done", name=results[picked].name))}

    def _mended(self, running: Running, given: Given, result: Result, subject: Subject) -> Result:
        files = self._placed(running, given, subject, result.files["mask"].name.removesuffix("_alpha.png"))
        files["mended"] = files["mask"].parent / "mended.png"
        write_png(files["mended"], subject.mask())
        kept = {kind: file for kind, file in result.files.items() if kind not in KEPT}
        return replace(result, files=kept | files)

    def _again_mended(self, running: Running, given: Given, result: Result) -> Result:
        """The result with the mask that was mended before, where the same class cut the same photograph."""
        for before in given[self.stage.results] or []:
            if "mended" in before.files and (before.photo, before.class_name) == (result.photo, result.class_name):
                result = replace(result, files=result.files | {"mended": before.files["mended"]})
                return self._mended(running, given, result, self._subject(result, given, running.token))
        return result

    def _placed(self, running: Running, given: Given, subject: Subject, stem: str) -> dict[str, Path]:
        """The files of one subject, as the controls ask for. Smaller pieces of its mask were left out before."""
        background, edge = self.background.read(given), replace(self.edge.read(given), keep_largest=False)
        canvas = self.canvas.read(given)
        placed = self._service.swap(subject.class_name, subject, background, edge, running.token, canvas)
        parts = {"mask": placed.alpha, "cutout": placed.cutout}
        parts |= {} if background.kind == "transparent" else {"composite": placed.composite}
        files = self._service.outputs.preview(stem, parts, placed.infotext, jpeg=given[self.canvas.jpeg])
        return files | {"result": files.get("composite", files["cutout"])}

    def _segment_codes(self, running: Running, given: Given) -> Iterator[dict]:
        """Draws what a file of style codes, or a picture that was saved here, stands for."""
        entry, path = self._service.entry(given[self.choice.dropdown]), compat.file_path(given[self.codes])
        # Read here: the engine's sentences would name the server's folder.
        drawn = path.suffix.lower() == ".png"
        subject = required_recipe(path.read_bytes(), entry.title) if drawn else WPlus.load(path)
        if isinstance(subject, Recipe) and self._service.is_usable(subject.class_name):
            entry = self._service.entry(subject.class_name)  # the picture knows best
        yield {self.job.status: status.running(text("photos.drawing"))}
        sample = self._service.segment(entry.name, subject, running.token)
        stem = f"{slug(entry.name)}_{sample.stem}"
        files = self._placed(running, given, sample, stem)
        stem, folder = stem.removesuffix("_w_plus"), files["mask"].parent
        files |= write_parts(folder, stem, {"picture": sample.picture, "w_plus": sample.w_plus}, sample.infotext())
        name = text("photos.of_codes") if sample.seed is None else text("photos.of_seed", seed=sample.seed)
        area = 100 * float(sample.required_alpha().mean())
        yield {
            self.choice.dropdown: entry.name,
            **self._shown([Result(files, name, entry.name)], given),
            self.job.status: status.finished(text("photos.drawn", title=entry.title, subject=name, area=area)),
        }

    def uploads(self, given: Given) -> PictureSet:
        """The photographs. Raises `UserError` where there are none."""
        files = compat.file_paths(given[self.files])
        if not files:
            raise UserError(text("photos.missing"))
        return find_photos(files)

    def _shown(self, results: list[Result], given: Given) -> dict:
        return {**self.inversion.stage.appear(False), **self.stage.show(results, given[self.stage.view])}

    def _working(self, photos: PictureSet, done: int) -> str:
        words = text("photos.working", done=done + 1, total=len(photos), name=photos.pictures[done].name)
        return status.running(words, done, len(photos))


def _result(photo: PictureFile, found: PhotoResult, folder: Path, entry: ObjectClass) -> Result:
    name = found.files["mask"].name.removesuffix("_alpha.png")
    shown = folder / "shown" / fitted(name, "-photograph.png")
    picture = Image.fromarray(load_picture(photo.source()))
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    write_png(shown, picture)
    files = {**found.files, "picture": shown, "result": found.files.get("composite", found.files["cutout"])}
    caption = text("photos.strange", name=name, title=entry.title) if is_strange(found.confidence) else name
    told = " ".join(map(without_paths, found.notes))
    return Result(files, name, entry.name, caption=caption, told=told, photo=photo)
