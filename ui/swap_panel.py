"""The panel *Swap background*: a subject, something to put behind it, an edge, a preview."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from l4f_plugin.errors import UserError
from l4f_plugin.provenance import W_PLUS_ENDINGS, WPlus
from l4f_plugin.subject import write_parts

from . import compat, seeds, status
from .background_choice import BackgroundChoice, described
from .class_choice import ClassChoice
from .controls import button, choices, named, side_by_side
from .edge_choice import EdgeChoice
from .inversion_form import Recovered
from .neighbours import Handout, draw_buttons
from .outputs import SavedSample, shown_path, slug
from .restore_choice import LARGEST_PSI_SHOWN, RestoreChoice, shown_psi
from .run_buttons import RunButtons, Running, complain
from .seed_field import SeedField
from .service import Service
from .texts import text

if TYPE_CHECKING:
    from l4f_plugin.subject import SwapResult


VIEWS = ("result", "mask", "compare")


@dataclass
class Shown:
    """The previews of a session: result, mask, cut-out and the picture before. Empty while the first is on its way."""

    files: dict[str, Path] = field(default_factory=dict)


class SwapPanel:
    """Builds the panel inside the current Blocks and answers its events.

    Handlers return `{component: update}`. `shown` holds the session's `Shown`, None before the first preview.
    """

    def __init__(self, service: Service):
        self._service = service
        self.shown = gr.State(None)
        self.restored = gr.State(None)
        side_by_side(self._build_controls, self._build_stage)
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "swap")
        self.field = SeedField("swap.seed", "0")
        self.seed = self.field.box
        self.psi = gr.Slider(0, LARGEST_PSI_SHOWN, 0.7, step=0.05, **named("swap.psi"))
        section = gr.Accordion(text("swap.w_plus_section"), open=False, elem_id="l4f_swap_w_plus_section")
        with section as self.codes_frame:
            self.w_plus = compat.uploaded_file(*W_PLUS_ENDINGS, height=120, **named("swap.w_plus"))
            gr.Markdown(text("swap.w_plus_note"), elem_classes="l4f-note")
        self.background = BackgroundChoice()
        self.edge = EdgeChoice()
        self.restore = RestoreChoice(self._service, "swap")
        self.surprise = button("swap.surprise", icon="dice", size="sm")
        self.job = RunButtons(self._service, "swap")

    def _build_stage(self) -> None:
        self.empty = gr.HTML(status.empty_stage("swap"), elem_id="l4f_swap_empty", elem_classes="l4f-flush")
        with gr.Column(visible=False, elem_classes="l4f-results") as self.stage:
            self.view = gr.Radio(
                choices("preview", VIEWS),
                value=VIEWS[0],
                elem_classes=["l4f-segments", "l4f-view"],
                **named("swap.view"),
            )
            self.image = compat.shown_image(
                label=text("preview.result"),
                show_label=False,
                elem_id="l4f_swap_image",
                elem_classes=["l4f-checker", "l4f-single"],
            )
            self.comparison = compat.Comparison(
                label=text("preview.compare"),
                before=text("swap.before"),
                after=text("swap.after"),
                elem_id="l4f_swap_compare",
            )
            with gr.Row(elem_classes="l4f-actions"):
                self.download = compat.download_button(text("swap.download"), size="sm", elem_id="l4f_swap_download")
                self.save = button("swap.save", size="sm")
                handout = Handout("swap", self.image, [self.shown, self.view], _files)
                draw_buttons(self._service.neighbours, handout)

    def _wire(self) -> None:
        subject = [self.choice.dropdown, self.seed, self.psi]
        inputs = [*subject, *self.background.inputs, *self.edge.inputs, self.view, self.w_plus]
        results = [self.empty, self.stage, self.seed, self.background.seed, self.shown, *self._view_parts()]
        self.started = self.job.on(self.job.run.click, self.swap, inputs, results)
        self._inputs, self._results = inputs, results
        self.job.on(self.seed.submit, self.swap, inputs, results)
        self.job.on(self.field.drawn.then, self.swap, inputs, results)
        self.job.on(self.w_plus.upload, self.swap, inputs, results)
        surprising = [*subject, self.w_plus, *self.background.outputs]
        self._restorable = [*surprising, *self.edge.inputs, self.job.status, self.restored]
        surprised = compat.on(self.surprise.click, self.surprise_me, [], surprising, queue=False)
        self.job.on(surprised.then, self.swap, inputs, results)
        restored = compat.on(self.restore.dropped, self.fill, [self.restore.picture], self._restorable, queue=False)
        self.job.on(restored.then, self.draw_restored, [self.restored, *inputs], results)
        for trigger in (self.field.recycled.then, *self.background.settled, *self.edge.settled):
            self.job.on(trigger, self.follow, [self.shown, *inputs], results, latest=True, buttons=False)
        compat.on(self.view.input, self.switch_view, [self.view, self.shown], self._view_parts(), queue=False)
        compat.on(self.save.click, self.keep, [self.shown], [self.job.status], queue=False)

    def _view_parts(self) -> list:
        return [self.image, self.comparison.frame, *self.comparison.outputs, self.download]

    def open_with(self, trigger, results: gr.State, picked: gr.State, tabs: gr.Tabs, tab_id: str):
        """Wires an event of another panel that brings its picked picture here; returns its job's event."""
        outputs = [self.choice.dropdown, self.seed, self.psi, self.w_plus, self.shown, tabs]

        def bring(samples: list[SavedSample], index: int | None) -> dict:
            if index is None:
                return {}
            sample = samples[index]
            return {
                self.choice.dropdown: sample.class_name,
                self.seed: str(sample.seed),
                self.psi: sample.truncation_psi,
                self.w_plus: None,
                self.shown: Shown(),
                tabs: gr.update(selected=tab_id),
            }

        brought = compat.on(trigger, bring, [results, picked], outputs, queue=False)
        return self.job.on(brought.then, self.swap, self._inputs, self._results)

    def open_with_codes(self, trigger, recovered: gr.State, tabs: gr.Tabs, tab_id: str):
        """Wires an event that brings the W+ file of a `Recovered` here; returns its job's event."""

        def bring(recovered: Recovered) -> dict:
            if not recovered.files:
                return {}
            return {
                self.choice.dropdown: recovered.class_name,
                self.codes_frame: gr.update(open=True),
                self.w_plus: gr.update(value=str(recovered.files["w_plus"])),
                self.shown: Shown(),
                tabs: gr.update(selected=tab_id),
            }

        outputs = [self.choice.dropdown, self.codes_frame, self.w_plus, self.shown, tabs]
        brought = compat.on(trigger, bring, [recovered], outputs, queue=False)
        return self.job.on(brought.then, self.swap, self._inputs, self._results)

    def open_with_picture(self, trigger, picture: gr.State, tabs: gr.Tabs, tab_id: str):
        """Wires an event that brings a picture file to restore the controls from; returns its job's event."""

        def bring(path: str | None) -> dict:
            return {} if path is None else {**self.fill(path), tabs: gr.update(selected=tab_id)}

        brought = compat.on(trigger, bring, [picture], [*self._restorable, tabs], queue=False)
        return self.job.on(brought.then, self.draw_restored, [self.restored, *self._inputs], self._results)

    def open_with_background(self, trigger, picture: gr.State, tabs: gr.Tabs, tab_id: str):
        """Wires an event that brings a picture file to put behind the subject; returns its job's event."""
        outputs = [*self.background.outputs, self.background.picture, tabs]

        def bring(path: str | None) -> dict:
            if path is None:
                return {}
            return {**self.background.with_picture(path), tabs: gr.update(selected=tab_id)}

        brought = compat.on(trigger, bring, [picture], list(dict.fromkeys(outputs)), queue=False)
        return self.job.on(brought.then, self.swap, self._inputs, self._results)

    def surprise_me(self) -> dict:
        """The controls set at random: a class with masks, a subject of it, how daring it is, what is behind it."""
        usable = [entry.name for entry in self._service.classes() if not entry.problem]
        return {
            **({self.choice.dropdown: random.choice(usable)} if usable else {}),
            self.seed: "-1",
            self.w_plus: None,
            self.psi: random.choice((0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
            **self.background.surprise(),
        }

    def fill(self, picture: str | None) -> dict:
        """Sets the controls to what a picture says about itself."""
        try:
            recipe = self.restore.read(picture)
        except Exception as error:
            return {self.job.status: complain(error), self.restored: None}
        told = self.restore.told(recipe)
        behind = {} if recipe.background is None else self.background.filled(recipe.background)
        if behind.get(self.background.kind) == "picture":
            told += " " + text("restore.drop_background", name=recipe.background)
        return {
            self.choice.dropdown: recipe.class_name,
            self.seed: str(recipe.seed),
            self.w_plus: None,
            self.psi: shown_psi(recipe),
            **behind,
            **self.edge.filled(recipe.edge),
            self.job.status: status.finished(told),
            self.restored: told,
        }

    def draw_restored(self, running: Running, told: str | None, *values) -> Iterator[dict]:
        """Draws what was restored, where its background is at hand."""
        if told is not None and self.background.is_complete(*self._background_of(values)):
            yield from self.swap(running, *values)
            yield {self.job.status: status.finished(told)}

    def open_on(self, trigger):
        """Wires an event (the tab being opened) that draws a first subject where none is shown."""
        return self.job.on(trigger, self.first, [self.shown, *self._inputs], self._results)

    def first(self, running: Running, shown: Shown | None, *values) -> Iterator[dict]:
        """Draws the first subject, unless there is one or there is no class for it."""
        if shown is None and self._service.is_usable(values[0]):
            yield from self.swap(running, *values)

    def follow(self, running: Running, shown: Shown | None, *values) -> Iterator[dict]:
        """Keeps the preview in step with the controls, once there is one and the background can be drawn."""
        if shown is not None and self.background.is_complete(*self._background_of(values)):
            yield from self.swap(running, *values)

    def _background_of(self, values: tuple) -> tuple:
        return values[3 : 3 + len(self.background.inputs)]

    def swap(self, running: Running, class_name: str | None, written_seed: str, psi: float, *values) -> Iterator[dict]:
        """Draws the subject where it is not at hand, puts the background behind it and shows both."""
        written_background, *_ = self._background_of((class_name, written_seed, psi, *values))[1:]
        background = self.background.read(*values[: len(self.background.inputs)])
        *edge_values, view, uploaded = values[len(self.background.inputs) :]
        edge = self.edge.read(*edge_values)
        codes = compat.file_path(uploaded)
        seed = seeds.wanted_seed(written_seed) if codes is None else None
        entry = self._service.entry(class_name)
        drawn = {self.seed: str(seed)} if codes is None and str(seed) != written_seed else {}
        if background.kind == "seed" and str(background.seed) != written_background:
            drawn[self.background.seed] = str(background.seed)
        subject = text("swap.of_codes") if codes is not None else text("swap.of_seed", seed=seed)
        yield {**drawn, self.job.status: status.running(text("swap.working", subject=subject))}
        if codes is not None:
            sample = self._service.segment(entry.name, WPlus.load(codes), running.token, running.on_wait)
        else:
            sample = self._service.sample(entry.name, seed, psi, running.token, running.on_wait)
        result = self._service.swap(entry.name, sample, background, edge, running.token, running.on_wait)
        stem = slug(entry.name) + ("_w_plus" if codes is not None else f"_seed{seed:04d}")
        shown = self._preview(stem, result)
        words = text("swap.done", subject=subject, background=described(background))
        yield {
            self.empty: gr.update(visible=False),
            self.stage: gr.update(visible=True),
            self.shown: shown,
            **self.switch_view(view, shown),
            self.job.status: status.finished(f"{words}. {background.note}" if background.note else words),
        }

    def _preview(self, stem: str, result: SwapResult) -> Shown:
        parts = {"picture": result.composite, "mask": result.alpha, "cutout": result.cutout}
        files = self._service.outputs.preview(f"{stem}_swapped", parts, result.infotext)
        folder, before = files["picture"].parent, result.subject
        [files["before"]] = write_parts(folder, stem, {"picture": before.picture}, before.infotext()).values()
        return Shown({"result": files.pop("picture"), **files})

    def switch_view(self, view: str, shown: Shown | None) -> dict:
        """Shows the result, the mask or both pictures; the download button follows."""
        if shown is None or not shown.files:
            return {}
        comparing = view == "compare"
        single = shown.files["mask" if view == "mask" else "result"]
        return {
            self.image: gr.update(value=str(single), visible=not comparing),
            self.comparison.frame: gr.update(visible=comparing),
            **self.comparison.shown(shown.files["before"], shown.files["result"]),
            self.download: compat.download_update(single),
        }

    def keep(self, shown: Shown | None) -> dict:
        """Saves the result in today's folder."""
        try:
            if shown is None or not shown.files:
                raise UserError(text("swap.nothing_to_save"))
            path = self._service.outputs.keep(shown.files["result"])
        except Exception as error:
            return {self.job.status: complain(error)}
        return {self.job.status: status.finished(text("swap.saved", path=shown_path(path)))}


def _files(shown: Shown | None, view: str) -> dict[str, Path]:
    """What is shown, as a neighbour wants it."""
    if shown is None or not shown.files:
        return {}
    files = {"picture": shown.files["result"], "mask": shown.files["mask"], "cutout": shown.files["cutout"]}
    return {**files, "shown": files["mask" if view == "mask" else "picture"]}
