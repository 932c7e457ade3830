"""The panel *Export*: labelled sets of any size."""

from collections.abc import Callable, Iterator

import gradio as gr

from l4f_plugin.arguments import check_integer
from l4f_plugin.datasets.curation import Curation
from l4f_plugin.datasets.export_plan import DEFAULT_SPLIT, FORMATS, ExportSettings, shares
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import Job

from . import compat, status
from .class_choice import ClassChoice
from .controls import Given, button, choices, controls_column, named, note, psi_slider, segments, stage_column
from .exports import KIND, MOST_PICTURES, SHARD, Exports
from .run_buttons import Archive, Running, told_in
from .seeds import wanted_seed
from .service import Service
from .stage import empty_stage
from .tasks import TaskPanel, Watching
from .texts import text

EXAMPLE = 24  # pictures of the set that comes of one click
BACKGROUNDS = ("own", "seeds", "colours")
"""Kinds that a page may put behind subjects: folders of pictures are for the command line."""
CLASS_OWN = {"min_area": 0, "max_area": 1, "max_uncertainty": 1, "min_largest_piece": 0}
"""Ends of the sliders, where a limit is what is usual in the class."""


class ExportPanel(TaskPanel):
    """Without `service.manages_classes` no sets are made: they fill the disk of whoever runs the page."""

    kind = KIND

    def __init__(self, service: Service):
        super().__init__(service)
        self.exports, self.allowed = Exports(service), service.manages_classes
        with gr.Row(elem_classes="l4f-panel"):
            with controls_column():
                self.choice = ClassChoice(service, "export")
                if not self.allowed:
                    note("export.read_only")
                    return
                self.visit = gr.State(Watching())
                self._build_controls()
            with stage_column():
                self.activity = gr.HTML(status.quiet(), elem_id="l4f_export_activity", elem_classes="l4f-status-place")
                self.empty = empty_stage("export")
                self.sheet = compat.shown_image(show_label=False, visible=False, **named("export.sheet"))
                with gr.Row(visible=False, elem_classes="l4f-actions") as self.downloads:
                    self.archive = Archive("export.download")
                self.card = gr.Markdown("", visible=False, elem_id="l4f_export_card")
        self._wire()

    def _build_controls(self) -> None:
        with gr.Group():
            self.count = gr.Number(1000, **named("export.count"))
            self.format = segments("export.format", "format", FORMATS)
            self.size = gr.Number(0, **named("export.size"))
            self.psi = psi_slider("export.psi")
        with gr.Accordion(text("export.more"), open=False, elem_id="l4f_export_more"):
            kinds = choices("behind", BACKGROUNDS)
            self.backgrounds = gr.CheckboxGroup(kinds, value=["own"], **named("export.backgrounds"))
            self.split = gr.Textbox(",".join(map(str, DEFAULT_SPLIT)), max_lines=1, **named("export.split"))
            self.first = gr.Textbox("0", max_lines=1, **named("export.first"))
        with gr.Accordion(text("export.curation"), open=False, elem_id="l4f_export_curation"):
            self.curate = gr.Checkbox(True, **named("export.curate"))
            self.bounds = {
                name: gr.Slider(0, 1, end, step=0.01, **named(f"export.{name}")) for name, end in CLASS_OWN.items()
            }
        with gr.Row(elem_classes="l4f-run-row"):
            self.run = button("export.run", variant="primary", scale=3)
            self.measure = button("export.measure", scale=2, min_width=120)
            self.cancel = button("export.cancel", scale=1, min_width=90, interactive=False)
        self.example = button("export.example", size="sm")
        with gr.Row(visible=False, elem_classes="l4f-run-row", elem_id="l4f_export_resume") as self.resume:
            self.unfinished = gr.Dropdown([], scale=3, **named("export.unfinished"))
            self.go_on = button("export.go_on", scale=1, min_width=90)

    def _wire(self) -> None:
        self.inputs = {self.choice.dropdown, self.count, self.format, self.size, self.psi, self.backgrounds}
        self.inputs |= {self.split, self.first, self.curate, *self.bounds.values(), self.visit}
        self.outputs = [self.activity, self.empty, self.sheet, self.downloads, self.card, self.run, self.cancel]
        self.outputs += [self.resume, self.unfinished]
        self.archive.on(self.exports.pack, [], self.activity)
        chosen = compat.on(self.example.click, lambda: EXAMPLE, [], [self.count])
        for trigger, handler, given in (
            (self.run.click, self.start, self.inputs),
            (chosen.then, self.start, self.inputs),
            (self.go_on.click, self.start_again, {self.unfinished}),
        ):
            self._follow(trigger, self.answered(handler), {self.visit, *given})
        compat.on(self.cancel.click, self.stop, [], [self.cancel])
        self.estimate = told_in(self.activity, self._service, self.measure_time)
        self.started.append(compat.on(self.measure.click, self.estimate, self.inputs, [self.activity], queue=True))

    def open_on(self, trigger: Callable) -> None:
        if self.allowed:
            super().open_on(trigger)

    def show(self, visit: Watching) -> dict:
        """How exports stand, the card of the latest set, and what can be gone on with."""
        visit.ended, running = self._ended(), self._is_busy()
        card, unfinished = self.exports.card(), self.exports.unfinished()
        waiting = bool(unfinished) and not running
        return {
            **self._told(visit),
            self.downloads: gr.update(visible=card is not None),
            self.card: gr.update(value=card or "", visible=card is not None),
            self.run: gr.update(interactive=not running),
            self.cancel: gr.update(interactive=running),
            self.resume: gr.update(visible=waiting),
            self.unfinished: gr.update(choices=unfinished, value=unfinished[0] if waiting else None),
        }

    def _told(self, visit: Watching) -> dict:
        """Also the first pictures of the set."""
        sheet = self.exports.sheet()
        shown = gr.update(value=sheet and str(sheet), visible=sheet is not None)
        return {**super()._told(visit), self.sheet: shown, self.empty: gr.update(visible=sheet is None)}

    def answered(self, handler: Callable[[Given], object]) -> Callable[[Given], dict]:
        """A handler that starts an export."""
        return lambda given: self._begun(given[self.visit], lambda: handler(given))

    def start(self, given: Given) -> Job:
        """Begins the set, or goes on with it where the same was begun before."""
        return self.exports.start(self._service.entry(given[self.choice.dropdown]).name, self.settings(given))

    def start_again(self, given: Given) -> Job:
        return self.exports.go_on(given[self.unfinished] or "")

    def measure_time(self, running: Running, given: Given) -> Iterator[dict]:
        visit = given[self.visit]
        visit.note = ""
        settings, name = self.settings(given), self._service.entry(given[self.choice.dropdown]).name
        yield {self.activity: status.running(text("export.measuring"))}
        visit.note = status.finished(self.exports.estimate(name, settings, running.token))
        yield {self.activity: visit.note}

    def stop(self) -> dict:
        for job in self.exports.jobs.running(kind=KIND):
            job.token.cancel()
        return {self.cancel: gr.update(interactive=False)}

    def settings(self, given: Given) -> ExportSettings:
        """What the controls ask for. Raises `UserError` for what is out of bounds or missing."""
        count, side, backgrounds = _whole(given[self.count]), _whole(given[self.size]), given[self.backgrounds]
        check_integer(text("export.count"), count, 1, MOST_PICTURES)
        if not backgrounds or not set(backgrounds) <= set(BACKGROUNDS):
            raise UserError(text("export.no_backgrounds"))
        bounds = {name: given[part] for name, part in self.bounds.items() if given[part] != CLASS_OWN[name]}
        return ExportSettings(
            count=count,
            format=given[self.format],
            size=side or None,
            truncation_psi=given[self.psi],
            first_seed=wanted_seed(given[self.first]),
            split=shares(given[self.split]),
            backgrounds=tuple(kind for kind in BACKGROUNDS if kind in backgrounds),
            curation=Curation(**bounds) if given[self.curate] else None,
            shard_size=SHARD,
        )


def _whole(value: float | None) -> int | float | None:
    """A number field's value as a whole number where it is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
