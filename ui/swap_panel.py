"""The panel *Swap background*: a subject, something to put behind it, an edge, a preview."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from l4f_plugin.errors import UserError
from l4f_plugin.images import parse_infotext, read_infotext
from l4f_plugin.jobs import CancelToken
from l4f_plugin.provenance import W_PLUS_ENDINGS, Recipe, WPlus, read_recipe
from l4f_plugin.subject import Subject, SwapResult, write_parts

from . import address, compat, seeds, status
from .brush_form import BrushForm
from .class_choice import ClassChoice
from .controls import (
    BackgroundChoice,
    EdgeChoice,
    Given,
    RestoreChoice,
    SeedField,
    button,
    controls_column,
    described,
    named,
    note,
    psi_slider,
    stage_column,
)
from .outputs import Result, slug
from .run_buttons import RunButtons, Running, complain
from .service import Service
from .stage import GridStage, Stage
from .texts import text
from .words import without_paths

VIEWS = ("result", "mask", "compare")
PACKED = ("picture", "result", "mask", "cutout")
FIRST_SEED = 32  # one that came out well in the class that comes along


class SwapPanel:
    """Each `Result` of the stage, one a background, holds `picture` (as drawn), `result`, `mask` and `cutout`."""

    def __init__(self, service: Service):
        self._service = service
        self.restored = gr.State(None)
        self.kept = gr.Textbox(elem_classes="l4f-hidden", **named("swap.address"))
        self.wanted = gr.State(False)  # whether a preview is there or on its way, which then follows the controls
        self.drawn = gr.State(None)  # the subject of the preview, whose mask may be mended
        with gr.Row(elem_classes="l4f-panel"):
            with controls_column():
                self._build_controls()
            with stage_column():
                given = {"kept": ("result",), "packs": PACKED, "buttons": {"another": {}}, "sends": True}
                self.stage = GridStage(service, "swap", self.job.status, VIEWS, words="preview", **given)
                self.brush = BrushForm(self, "swap")
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "swap")
        self.field = SeedField("swap.seed", str(FIRST_SEED))
        self.seed = self.field.box
        self.psi = psi_slider("swap.psi")
        section = gr.Accordion(text("swap.w_plus_section"), open=False, elem_id="l4f_swap_w_plus_section")
        with section as self.codes_frame:
            self.w_plus = compat.uploaded_file(*W_PLUS_ENDINGS, height=150, **named("swap.w_plus"))
            note("swap.w_plus_note")
        self.samples = self._service.outputs.served(sorted((Path(__file__).parent / "backgrounds").glob("*.webp")))
        self.background = BackgroundChoice("swap", "colour", self.samples)
        self.edge = EdgeChoice()
        self.restore = RestoreChoice(self._service, "swap")
        with gr.Row():
            self.example = button("swap.example", size="sm")
            self.all_samples = button("swap.all_samples", size="sm")
            self.surprise = button("swap.surprise", icon="dice", size="sm")
        self.job = RunButtons(self._service, "swap")

    def _wire(self) -> None:
        subject = [self.choice.dropdown, self.seed, self.psi, self.w_plus]
        self.inputs = {*subject, *self.background.inputs, *self.edge.inputs}
        self.inputs |= {self.stage.view, self.wanted, self.drawn, self.restored}
        self._shown = [*self.stage.outputs, self.kept, self.wanted, self.drawn, self.seed, self.background.seed]
        self.brush.wire(self._shown)
        self._controls = [*subject, self.codes_frame, *self.background.outputs, self.background.picture]
        self._controls += [*self.edge.inputs, self.job.status, self.restored]
        surprised = compat.on(self.surprise.click, self.surprise_me, [], self._controls)
        tried = compat.on(self.example.click, self.try_example, [], self._controls)
        before_all = compat.on(self.all_samples.click, self.background.with_samples, [], self._controls)
        restored = compat.on(self.restore.dropped, self.fill, [self.restore.picture], self._controls)
        given = [self.stage.results, self.stage.picked, self.background.spot.centre]
        another = compat.on(self.stage.buttons["another"].click, self.add_another, given, self._controls)
        self._start(self.job.run.click, self.draw)
        brought = [event.then for event in (surprised, tried, before_all, another)]
        for trigger in (self.seed.submit, self.field.drawn.then, self.w_plus.upload, *brought):
            self._start(trigger, self.swap)
        self._start(restored.then, self.draw_restored)
        for trigger in (self.field.recycled.then, *self.background.settled, *self.edge.settled):
            self.job.on(trigger, self.follow, self.inputs, self._shown, latest=True, buttons=False)

    def add_another(self, results: list[Result], picked: int | None, centre: float) -> dict:
        """The result becomes the background of a further subject, which stands beside the last one."""
        beside = {self.background.spot.size: "picture", self.background.spot.centre: round((centre + 0.3) % 1, 2)}
        chosen = {self.seed: "-1", self.w_plus: None, **beside}
        result = self.stage.chosen(results, picked)
        return {} if result is None else {**chosen, **self.background.with_picture(str(result.files["result"]))}

    def _start(self, trigger: Callable, work: Callable) -> None:
        self.job.on(trigger, work, self.inputs, self._shown)

    def _open(self, trigger: Callable, bring: Callable, given: list, tabs: gr.Tabs, work: Callable) -> None:
        """Wires an event elsewhere that brings something here, opens this tab and draws."""

        def lead(*values: Any) -> dict:
            brought = bring(*values)
            return brought and {**brought, tabs: gr.update(selected="swap")}

        opened = compat.on(trigger, lead, given, [*self._controls, self.drawn, self.wanted, tabs])
        self._start(opened.then, work)

    def open_with(self, stage: Stage, tabs: gr.Tabs) -> None:
        """Wires the button of another panel's stage that brings what is looked at there."""

        def bring(results: list[Result], picked: int | None) -> dict:
            sample, mended = stage.chosen(results, picked), None
            if sample is None:
                return {}
            with suppress(UserError):  # of files that are gone
                told = read_infotext(sample.files["picture"]) or ""
                mended = sample.subject() if "Brushed" in parse_infotext(told) else None
            codes = sample.files["w_plus"] if sample.seed is None else None
            subject = self._subject(sample.class_name, sample.seed, sample.truncation_psi, codes)
            return {**subject, self.drawn: mended, self.wanted: True}

        self._open(stage.buttons["to_swap"].click, bring, [stage.results, stage.picked], tabs, self.swap)

    def open_with_picture(self, trigger: Callable, picture: gr.State, tabs: gr.Tabs) -> None:
        self._open(trigger, self.fill, [picture], tabs, self.draw_restored)

    def open_with_background(self, trigger: Callable, picture: gr.State, tabs: gr.Tabs) -> None:
        self._open(trigger, self.background.with_picture, [picture], tabs, self.swap)

    def try_example(self) -> dict:
        subject = self._subject(self._service.default_class(), FIRST_SEED, 0.7)
        return {**subject, **self.background.with_picture(str(self.samples[0]))}

    def surprise_me(self) -> dict:
        """The controls set at random: a class with masks, a subject of it, how daring it is, what is behind it."""
        usable = [entry.name for entry in self._service.classes() if not entry.problem]
        psi = random.choice((0.5, 0.6, 0.7, 0.8, 0.9, 1.0))
        subject = self._subject(random.choice(usable) if usable else None, -1, psi)
        return {**subject, **self.background.surprise()}

    def live_in_address(self, opened: Callable) -> None:
        """Writes the text of the first result into the address, from which a reload or a link sets the controls."""
        address.keep(self.kept.change, {"swap": self.kept})
        address.bring(opened, self.read_address, self.kept, self._controls, "swap")

    def read_address(self, written: str | None) -> dict:
        """The controls as the address says; what makes no sense there changes nothing."""
        recipe = read_recipe(written or "")
        with suppress(UserError):
            if recipe is not None:
                filled = self._filled(*self.restore.told(recipe))
                return {part: filled[part] for part in filled if part not in (self.job.status, self.restored)}
        return {}

    def fill(self, picture: str | None) -> dict:
        try:
            return self._filled(*self.restore.read(picture))
        except Exception as error:
            return {self.job.status: complain(error), self.restored: None}

    def _filled(self, recipe: Recipe, psi: float, words: str) -> dict:
        behind = {} if recipe.background is None else self.background.filled(recipe.background)
        if behind.get(self.background.kind) == "picture":
            if self.background.picture not in behind:
                words += " " + text("restore.drop_background", name=recipe.background)
            behind |= self.background.spot.filled(recipe.where)
        file = None
        if recipe.w_plus is not None:
            file = self._service.outputs.preview(slug(recipe.class_name), {"w_plus": recipe.w_plus}, "")["w_plus"]
        return {
            **self._subject(recipe.class_name, recipe.seed, psi, file),
            **behind,
            **self.edge.filled(recipe.edge),
            self.job.status: status.finished(words),
            self.restored: words,
        }

    def _subject(self, name: str | None, seed: int | None, psi: float, codes: Path | None = None) -> dict:
        """The controls as they are for a seed, or for a file of codes where there is one."""
        chosen = {self.choice.dropdown: name}
        if codes is not None:
            return {**chosen, self.w_plus: gr.update(value=str(codes)), self.codes_frame: gr.update(open=True)}
        return {**chosen, self.seed: str(seed), self.psi: psi, self.w_plus: None}

    def draw_restored(self, running: Running, given: Given) -> Iterator[dict]:
        """Draws what was restored, where its background is at hand."""
        if given[self.restored] is not None and self.background.is_complete(given):
            yield from self.swap(running, given)
            yield {self.job.status: status.finished(given[self.restored])}

    def follow(self, running: Running, given: Given) -> Iterator[dict]:
        """Keeps the preview in step with the controls, once there is one and the background can be drawn."""
        if given[self.wanted] and self.background.is_complete(given):
            yield from self.swap(running, given)

    def draw(self, running: Running, given: Given) -> Iterator[dict]:
        """As `swap`, with the mask as it is drawn."""
        yield from self.swap(running, {**given, self.drawn: None})

    def subject(self, given: Given, token: CancelToken) -> Subject | None:
        return given[self.drawn]

    def mended(self, running: Running, given: Given, subject: Subject) -> Iterator[dict]:
        """Every result follows, and those to come of the same subject."""
        yield from self.swap(running, {**given, self.drawn: subject})

    def swap(self, running: Running, given: Given) -> Iterator[dict]:
        """Draws the subject where it is not at hand, and puts one background after the other behind it; the first
        result is shown as soon as it is there. A mask of the same subject that was mended is kept."""
        wanted, edge, where = self.background.read_all(given), self.edge.read(given), self.background.where(given)
        codes = compat.file_path(given[self.w_plus])
        entry, drawn = self._service.entry(given[self.choice.dropdown]), {}
        if given[self.background.kind] == "seed":
            drawn[self.background.seed] = seeds.as_text([read().seed for _, read in wanted])
        if codes is None:
            seed = seeds.wanted_seed(given[self.seed])
            drawn[self.seed], subject = str(seed), text("swap.of_seed", seed=seed)
        else:
            subject = text("swap.of_codes")
        drawn = {field: written for field, written in drawn.items() if written != given[field]}
        yield {**drawn, self.job.status: status.running(text("swap.working", subject=subject))}
        if codes is None:
            sample = self._service.sample(entry.name, seed, given[self.psi], running.token)
        else:
            sample = self._service.segment(entry.name, WPlus.load(codes), running.token)
        stem, before = f"{slug(entry.name)}_{sample.stem}", given[self.drawn]
        if before is not None and before.brushed and _plain(before) == _plain(sample):
            sample = before
        results, problems = [], []
        for number, (name, read) in enumerate(wanted, start=1):
            try:
                background = read()
                result = self._service.swap(entry.name, sample, background, edge, running.token, where)
            except UserError as error:
                if len(wanted) == 1:
                    raise
                problems.append(f"{name} ({without_paths(str(error))})")
                continue
            own, behind = (stem, "") if len(wanted) == 1 else (f"{stem}_{number:02d}", name)
            results.append(self._written(entry.name, own, behind, result))
            if number < len(wanted):
                first = self.stage.show(results, given[self.stage.view]) if len(results) == 1 else {}
                words = text("swap.working_many", subject=subject, done=number, total=len(wanted), name=name)
                yield {**first, self.job.status: status.running(words, number, len(wanted))}
        trouble = [text("swap.problems", problems="; ".join(problems))] if problems else []
        if not results:
            raise UserError(trouble[0])
        words = text("swap.done_many", subject=subject, done=len(results), total=len(wanted))
        if len(wanted) == 1:
            words = text("swap.done", subject=subject, background=described(background))
            trouble = [background.note] if background.note else []
        yield {
            **self.stage.show(results, given[self.stage.view]),
            self.wanted: True,
            self.drawn: sample,
            self.kept: read_infotext(results[0].files["result"]),
            self.job.status: status.finished(". ".join([words, *trouble])),
        }

    def _written(self, class_name: str, stem: str, name: str, result: SwapResult) -> Result:
        parts = {"picture": result.composite, "mask": result.alpha, "cutout": result.cutout}
        files = self._service.outputs.preview(f"{stem}_swapped", parts, result.infotext)
        files["result"], drawn = files["picture"], {"picture": result.subject.picture}
        files |= write_parts(files["mask"].parent, stem, drawn, result.subject.infotext())
        return Result(files, name, class_name)


def _plain(subject: Subject) -> str:
    """What it was drawn from, whatever became of its mask and size."""
    return replace(subject, brushed=False, times=1).infotext()
