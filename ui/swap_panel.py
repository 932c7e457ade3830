"""The panel *Swap background*: a subject, something to put behind it, an edge, a preview."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from l4f_plugin.errors import UserError

from . import compat, seeds, status
from .background_choice import BackgroundChoice, described
from .class_choice import ClassChoice
from .controls import button, choices, named
from .edge_choice import EdgeChoice
from .jobs import Job, complain
from .outputs import SavedSample, shown_path, slug
from .texts import text
from .workspace import Workspace

if TYPE_CHECKING:
    from l4f_plugin.pipeline import SwapResult

VIEWS = ("result", "mask", "compare")


@dataclass
class Shown:
    """The previews of a session: result, mask and the picture before. Empty while the first is on its way."""

    files: dict[str, Path] = field(default_factory=dict)


class SwapPanel:
    """Builds the panel inside the current Blocks and answers its events.

    Handlers return `{component: update}`. `shown` holds the session's `Shown`, None before the first preview.
    """

    def __init__(self, workspace: Workspace):
        self._workspace = workspace
        self.shown = gr.State(None)
        with gr.Row(elem_classes="l4f-panel"):
            with gr.Column(scale=4, min_width=300, elem_classes="l4f-controls"):
                self._build_controls()
            with gr.Column(scale=7, min_width=300, elem_classes="l4f-stage"):
                self._build_stage()
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._workspace.engine, "swap")
        with gr.Column(elem_classes="l4f-tight"):
            self.seed = gr.Textbox("0", max_lines=1, **named("swap.seed"))
            self.random = button("swap.random", icon="dice", size="sm")
        self.psi = gr.Slider(0, 1.5, 0.7, step=0.05, **named("swap.psi"))
        self.background = BackgroundChoice()
        self.edge = EdgeChoice()
        self.job = Job(self._workspace, "swap")

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
                self.download = compat.download_button(
                    text("swap.download"), size="sm", elem_id="l4f_swap_download"
                )
                self.save = button("swap.save", size="sm")

    def _wire(self) -> None:
        inputs = [
            self.choice.dropdown,
            self.seed,
            self.psi,
            *self.background.inputs,
            *self.edge.inputs,
            self.view,
        ]
        results = [self.empty, self.stage, self.seed, self.shown, *self._view_parts()]
        self.started = self.job.on(self.job.run.click, self.swap, inputs, results)
        self._inputs, self._results = inputs, results
        for field_ in (self.seed, self.background.seed):
            self.job.on(field_.submit, self.swap, inputs, results)
        drawn = compat.on(self.random.click, lambda: "-1", [], [self.seed], queue=False)
        self.job.on(drawn.then, self.swap, inputs, results)
        for trigger in (*self.background.settled, *self.edge.settled):
            self.job.on(trigger, self.follow, [self.shown, *inputs], results, latest=True, buttons=False)
        compat.on(self.view.input, self.switch_view, [self.view, self.shown], self._view_parts(), queue=False)
        compat.on(self.save.click, self.keep, [self.shown], [self.job.status], queue=False)

    def _view_parts(self) -> list:
        return [self.image, self.comparison.frame, *self.comparison.outputs, self.download]

    def open_with(self, trigger, results: gr.State, picked: gr.State, tabs: gr.Tabs, tab_id: str):
        """Wires an event of another panel that brings its picked picture here; returns its job's event."""
        outputs = [self.choice.dropdown, self.seed, self.psi, self.shown, tabs]

        def bring(samples: list[SavedSample], index: int | None) -> dict:
            if index is None:
                return {}
            sample = samples[index]
            return {
                self.choice.dropdown: sample.class_name,
                self.seed: str(sample.seed),
                self.psi: sample.truncation_psi,
                self.shown: Shown(),
                tabs: gr.update(selected=tab_id),
            }

        brought = compat.on(trigger, bring, [results, picked], outputs, queue=False)
        return self.job.on(brought.then, self.swap, self._inputs, self._results)

    def open_on(self, trigger):
        """Wires an event (the tab being opened) that draws a first subject where none is shown."""
        return self.job.on(trigger, self.first, [self.shown, *self._inputs], self._results)

    def first(self, token, shown: Shown | None, *values) -> Iterator[dict]:
        """Draws the first subject, unless there is one or there is no class for it."""
        if shown is None and self._workspace.engine.is_usable(values[0]):
            yield from self.swap(token, *values)

    def follow(self, token, shown: Shown | None, *values) -> Iterator[dict]:
        """Keeps the preview in step with the controls, once there is one and the background can be drawn."""
        if shown is not None and self.background.is_complete(*self._background_of(values)):
            yield from self.swap(token, *values)

    def _background_of(self, values: tuple) -> tuple:
        return values[3 : 3 + len(self.background.inputs)]

    def swap(self, token, class_name: str | None, written_seed: str, psi: float, *values) -> Iterator[dict]:
        """Draws the subject where it is not at hand, puts the background behind it and shows both."""
        background = self.background.read(*values[: len(self.background.inputs)])
        *edge_values, view = values[len(self.background.inputs) :]
        edge = self.edge.read(*edge_values)
        seed = seeds.wanted_seed(written_seed)
        entry = self._workspace.engine.entry(class_name)
        drawn = {self.seed: str(seed)} if str(seed) != written_seed else {}
        yield {**drawn, self.job.status: status.running(text("swap.working", seed=seed))}
        sample = self._workspace.engine.sample(entry.name, seed, psi, token)
        result = self._workspace.engine.swap(entry.name, sample, background, edge, token)
        shown = self._preview(f"{slug(entry.name)}_seed{seed:04d}", result)
        yield {
            self.empty: gr.update(visible=False),
            self.stage: gr.update(visible=True),
            self.shown: shown,
            **self.switch_view(view, shown),
            self.job.status: status.finished(text("swap.done", seed=seed, background=described(background))),
        }

    def _preview(self, stem: str, result: SwapResult) -> Shown:
        images = {
            f"{stem}_swapped.png": result.composite,
            f"{stem}_swapped_alpha.png": result.alpha,
            f"{stem}.png": result.sample.picture(),
        }
        files = self._workspace.outputs.preview(images, result.infotext)
        return Shown(dict(zip(("result", "mask", "before"), files, strict=True)))

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
            path = self._workspace.outputs.keep(shown.files["result"])
        except Exception as error:
            return {self.job.status: complain(error)}
        return {self.job.status: status.finished(text("swap.saved", path=shown_path(path)))}
