"""The panel *Train*: from a folder of pictures to a class, in three steps: pictures, plan, run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from l4f_plugin.bundles.config import plain_class_name
from l4f_plugin.errors import UserError

from . import compat, status
from .controls import Given, button, controls_column, named, note, segments, stage_column
from .models_forms import licence_field, picture_fields
from .run_buttons import Running, complain, told_in
from .service import Service
from .stage import empty_stage
from .texts import text
from .trainings import ACTIVE
from .words import duration, without_paths

if TYPE_CHECKING:
    from l4f_plugin.training.class_plan import ClassPlan
    from l4f_plugin.training.class_run import ClassRun
    from l4f_plugin.training.picture_survey import Survey

LOOK_AGAIN = 1.0
"""Seconds between looks at a training."""
RESOLUTIONS, QUALITIES, FITS = ("32", "64", "128", "256"), ("quick", "good", "long"), ("crop", "letterbox", "squash")
CURVES = {
    "losses": ("discriminator_loss", "generator_loss"),
    "verdicts": ("real_logits", "fake_logits"),
    "distance": ("random_feature_distance",),
    "masks": ("area", "undecided"),
    "speed": ("pictures_per_second",),
}
"""The plots, and what the log calls their curves."""
POINTS = 200  # of a curve
FROZEN = 2  # finest blocks of a discriminator, where a person wants FreezeD
BUTTONS = ("mend", "pause", "resume", "stop", "use", "delete")
_ALONE = {"show_label": False, "elem_classes": "l4f-single"}


@dataclass
class TrainVisit:
    """What a visitor's page knows. `sheets` and `curves` remember what it shows, by what that was made from."""

    folder: Path | None = None
    found: Survey | None = None
    picked: str | None = None
    watcher: object = None
    sheets: dict[Path, str] = field(default_factory=dict)
    curves: dict[tuple, dict] = field(default_factory=dict)


class TrainPanel:
    """Without `service.manages_classes` nothing is trained: it takes the computer of whoever runs the page. `started`
    are the events after which other parts of the page may look at the engine anew."""

    def __init__(self, service: Service):
        self._service, self.trainings = service, service.trainings
        self.allowed = service.manages_classes
        self.started: list = []
        if not self.allowed:
            note("train.read_only")
            return
        self.visit = gr.State(TrainVisit())
        with gr.Row(elem_classes="l4f-panel"):
            with controls_column():
                self._build_pictures()
                self._build_plan()
            with stage_column():
                self.activity = gr.HTML(status.quiet(), elem_id="l4f_train_activity", elem_classes="l4f-status-place")
                self.empty = empty_stage("train")
                self.about = gr.Markdown("", visible=False, elem_id="l4f_train_about")
                self.preview = compat.shown_image(visible=False, **_ALONE, **named("train.preview"))
                self._build_run()
        self.follow = partial(told_in, self.activity, service)
        self._wire()

    def _build_pictures(self) -> None:
        gr.Markdown(text("train.step_pictures"), elem_classes="l4f-aside")
        with gr.Group():
            self.folder, self.files = picture_fields("train")
        self.look = button("train.look", variant="primary")

    def _build_plan(self) -> None:
        with gr.Column(visible=False, elem_classes="l4f-controls", elem_id="l4f_train_plan") as self.plan_frame:
            gr.Markdown(text("train.step_plan"), elem_classes="l4f-aside")
            with gr.Group():
                self.name = gr.Textbox("", max_lines=1, **named("train.name"))
                self.resolution = segments("train.resolution", "train_resolution", RESOLUTIONS, value="64")
                self.quality = segments("train.quality", "train_quality", QUALITIES)
                self.fit = segments("train.fit", "train_fit", FITS)
                self.start = gr.Dropdown([], **named("train.start"))
                self.freeze = gr.Checkbox(False, visible=False, **named("train.freeze"))
                self.licence = licence_field("train.licence", value="unknown")
            with gr.Row(elem_classes="l4f-run-row"):
                self.begin = button("train.begin", variant="primary", scale=2)
                self.measure = button("train.measure", scale=1, min_width=120)

    def _build_run(self) -> None:
        with gr.Column(visible=False, elem_classes="l4f-results", elem_id="l4f_train_run") as self.run_frame:
            gr.Markdown(text("train.step_run"), elem_classes="l4f-aside")
            self.choice = gr.Dropdown([], **named("train.choice"))
            self.standing = gr.HTML("", elem_id="l4f_train_standing", elem_classes="l4f-status-place")
            with gr.Row(elem_classes="l4f-actions"):
                self.buttons = {name: button(f"train.{name}", visible=False) for name in BUTTONS}
            with gr.Column(visible=False, elem_classes="l4f-confirm", elem_id="l4f_train_confirm") as self.confirm:
                gr.Markdown(text("train.question"))
                with gr.Row(elem_classes="l4f-actions"):
                    self.really = button("train.really", variant="stop")
                    self.keep = button("train.keep")
            self.samples = compat.shown_image(**_ALONE, **named("train.samples"))
            with gr.Row(elem_classes=["l4f-panel", "l4f-plots"]):
                axes = {"x_title": text("train.axis"), "y_title": " "}
                plots = {name: compat.line_plot(label=text(f"train.{name}"), **axes) for name in CURVES}
            self.plots = {name: plot for name, plot in plots.items() if plot is not None}
            self.log = gr.HTML("", elem_id="l4f_train_log", elem_classes=["l4f-flush", "l4f-log"])

    def _wire(self) -> None:
        self.inputs = {self.visit, self.folder, self.files, self.name, self.resolution, self.quality, self.fit}
        self.inputs |= {self.start, self.freeze, self.licence}
        shown = [self.activity, self.empty, self.about, self.preview, self.plan_frame, self.name, self.resolution]
        shown += [self.fit, self.start, self.freeze, self.run_frame, self.choice, self.standing, self.confirm]
        shown += [*self.buttons.values(), self.samples, *self.plots.values(), self.log]
        self.outputs = shown
        compat.on(self.look.click, self.follow(self.look_at), self.inputs, shown, queue=True)
        compat.on(self.start.input, self.choose_start, [self.start], shown)
        compat.on(self.fit.input, self.follow(self.show_fit), self.inputs, shown, queue=True)
        compat.on(self.measure.click, self.follow(self.estimate), self.inputs, shown, queue=True)
        self._watch(compat.on(self.begin.click, self.follow(self.start_run), self.inputs, shown, queue=True))
        self._watch(compat.on(self.choice.input, self.pick, [self.visit, self.choice], shown))
        for name in ("mend", "pause", "resume", "stop"):
            self._watch(compat.on(self.buttons[name].click, self.pressed(name), [self.visit], shown, queue=True))
        used = compat.on(self.buttons["use"].click, self.follow(self.use), {self.visit}, shown, queue=True)
        self.started.append(used)
        compat.on(self.buttons["delete"].click, lambda: gr.update(visible=True), [], [self.confirm])
        compat.on(self.keep.click, lambda: gr.update(visible=False), [], [self.confirm])
        compat.on(self.really.click, self.pressed("delete"), [self.visit], shown, queue=True)

    def _watch(self, event: Any) -> None:
        """Wires the watcher behind an event that may have started something."""
        compat.on(event.then, self.watch, [self.visit], self.outputs, queue=True)

    def open_on(self, trigger: Callable) -> None:
        """Wires an event (the page or the tab being opened) that shows how trainings stand."""
        if self.allowed:
            self._watch(compat.on(trigger, self.show, [self.visit], self.outputs))

    # 1. Pictures

    def look_at(self, job: Running, given: Given) -> Iterator[dict]:
        """Looks at the pictures, and fills the plan with what they ask for."""
        visit, words = given[self.visit], text("train.looking")
        yield {self.activity: status.running(words)}
        uploaded, typed = compat.file_paths(given[self.files]), (given[self.folder] or "").strip()
        progress = job.now_and_then(lambda done, total: words)
        visit.folder, found = self.trainings.look(uploaded, typed, progress, job.token)
        visit.found = found
        nothing = text("train.nothing")  # also its value, which Gradio 3 shows
        starts = [(nothing, nothing)]
        starts += [(e.title, e.name) for e in self._service.all_classes() if e.installed and not e.problem]
        yield {
            self.activity: status.finished(text("train.looked", count=found.usable)),
            self.empty: gr.update(visible=False),
            self.about: gr.update(value="\n".join(f"- {words}" for words in found.in_words()), visible=True),
            self.preview: self._sheet(visit, found.fit),
            self.plan_frame: gr.update(visible=True),
            self.name: plain_class_name(Path(typed).stem) if typed and not uploaded else given[self.name],
            self.resolution: str(min(found.resolution, 64)),
            self.fit: found.fit,
            self.start: gr.update(choices=compat.options(starts), value=nothing),
            self.freeze: gr.update(value=False, visible=False),
        }

    def show_fit(self, job: Running, given: Given) -> Iterator[dict]:
        if given[self.visit].found:
            yield {self.preview: self._sheet(given[self.visit], given[self.fit])}

    def _sheet(self, visit: TrainVisit, fit: str) -> dict:
        from l4f_plugin.training.picture_survey import contact_sheet

        path = self._service.outputs.preview_folder() / "pictures.png"
        contact_sheet(visit.folder, fit, visit.found.aspects[1]).save(path)
        return gr.update(value=str(path), visible=True)

    # 2. Plan

    def plan(self, given: Given) -> ClassPlan:
        """What the controls ask for. Raises `UserError`."""
        from l4f_plugin.training.class_plan import plan_for

        visit, started = given[self.visit], self._service.find(given[self.start], on_offer=True)
        if visit.found is None:
            raise UserError(text("train.look_first"))
        chosen = {"resolution": int(given[self.resolution]), "quality": given[self.quality], "fit": given[self.fit]}
        chosen["frozen_blocks"] = FROZEN if started and given[self.freeze] else 0
        chosen |= {"start": started and started.name, "licence": (given[self.licence] or "unknown")[:200]}
        chosen["device"] = self._service.settings().device
        return plan_for(visit.found, (given[self.name] or "").strip(), visit.folder, **chosen)

    def choose_start(self, name: str | None) -> dict:
        """The resolution of a class to start from; what its discriminator knows can be kept where it has one."""
        start = self._service.find(name, on_offer=True)
        size = {self.resolution: str(start.resolution)} if start and str(start.resolution) in RESOLUTIONS else {}
        return {**size, self.freeze: gr.update(value=False, visible=bool(start and start.discriminator))}

    def estimate(self, job: Running, given: Given) -> Iterator[dict]:
        plan = self.plan(given)
        yield {self.activity: status.running(text("train.measuring"))}
        told = self.trainings.measured(plan, job.token).in_words()
        words = "\n".join(f"- {without_paths(line.strip())}" for line in told)
        yield {self.about: gr.update(value=words, visible=True), self.activity: status.finished(text("train.measured"))}

    def start_run(self, job: Running, given: Given) -> Iterator[dict]:
        """Starts the process, which measures and shows samples first."""
        plan, visit = self.plan(given), given[self.visit]
        visit.picked = self.trainings.begin(plan).name
        hidden = {part: gr.update(visible=False) for part in (self.preview, self.about)}
        yield {**hidden, **self.show(visit), self.activity: status.finished(text("train.begun", name=plan.name))}

    # 3. Run

    def show(self, visit: TrainVisit) -> dict:
        """How the training stands that is picked, or the latest one."""
        names = self.trainings.names()
        visit.picked = visit.picked if visit.picked in names else next(iter(names), None)
        shown = {
            self.run_frame: gr.update(visible=bool(names)),
            self.choice: gr.update(choices=names, value=visit.picked),
            self.confirm: gr.update(visible=False),
            self.empty: gr.update(visible=not names and visit.found is None),
        }
        looked_at = {part: gr.update(visible=visit.found is not None) for part in (self.preview, self.about)}
        return {**shown, **(self._standing(visit) if names else looked_at)}

    def _standing(self, visit: TrainVisit) -> dict:
        run = self.trainings.run(visit.picked)
        told = run.status()
        active, works = told.state in ACTIVE, told.state in ("running", "waiting", "away")
        offered = {
            "pause": works,
            "resume": not works and told.state not in ("starting", "done") and not told.trouble,
            "stop": active,
            "use": told.state != "done" and run.latest_sheet() is not None,
            "delete": not active,
        }
        mend = f"train_mend.{told.trouble}" if told.trouble else "train.mend"
        return {
            self.standing: _in_words(told),
            **{self.buttons[name]: gr.update(visible=visible) for name, visible in offered.items()},
            self.buttons["mend"]: gr.update(visible=bool(told.trouble), value=text(mend)),
            self.samples: self._latest(visit, run),
            **self._curves(visit, run),
            self.log: f"<pre>{escape(chr(10).join(map(without_paths, run.log())))}</pre>",
        }

    def _latest(self, visit: TrainVisit, run: ClassRun) -> dict:
        """The newest sheet, as a copy that the page may serve."""
        sheet = run.latest_sheet()
        if sheet is None:
            return gr.update(value=None, visible=False)
        if sheet not in visit.sheets:
            copy = self._service.outputs.preview_folder() / sheet.name
            copy.write_bytes(sheet.read_bytes())
            visit.sheets = {sheet: str(copy)}
        return gr.update(value=visit.sheets[sheet], visible=True)

    def _curves(self, visit: TrainVisit, run: ClassRun) -> dict:
        """The plots; the very same updates as long as nothing was logged, since tables cannot be compared."""
        logged = run.curves() if self.plots else []
        drawn = (run.name, len(logged))
        if drawn not in visit.curves:
            points = {name: _points(logged, keys) for name, keys in CURVES.items()}
            visit.curves = {drawn: {plot: compat.line_plot_update(points[name]) for name, plot in self.plots.items()}}
        return visit.curves[drawn]

    def pick(self, visit: TrainVisit, name: str | None) -> dict:
        visit.picked = name
        return self.show(visit)

    def pressed(self, name: str) -> Callable[[TrainVisit], dict]:
        """The handler of a button that answers at once."""

        def answer(visit: TrainVisit) -> dict:
            try:
                if name == "delete":
                    self.trainings.delete(visit.picked)
                    return {**self.show(visit), self.activity: status.finished(text("train.deleted"))}
                run = self.trainings.run(visit.picked)
                do = {"mend": run.mend, "resume": run.start_process}
                do[name]() if name in do else run.wish(name)
            except Exception as error:
                return {**self.show(visit), self.activity: complain(error)}
            return {**self.show(visit), self.activity: status.quiet()}

        return answer

    def use(self, job: Running, given: Given) -> Iterator[dict]:
        visit = given[self.visit]
        yield {self.activity: status.running(text("train.using"))}
        self.trainings.use_best(visit.picked, job.token)
        yield {self.activity: status.finished(text("train.used", name=visit.picked))}

    def watch(self, visit: TrainVisit) -> Iterator[dict]:
        """Follows the training until no process is there, or a newer watcher of the same page takes over."""
        visit.watcher = me = object()
        shown, plots = {}, self.plots.values()
        yield {}
        while visit.watcher is me and visit.picked in self.trainings.names():
            active = self.trainings.run(visit.picked).status().state in ACTIVE
            before, shown = shown, self._standing(visit)
            told = {part: new for part, new in shown.items() if new is not before.get(part)}
            if changed := {part: told[part] for part in told if part in plots or told[part] != before.get(part)}:
                yield changed
            if not active:
                return
            time.sleep(LOOK_AGAIN)


def _points(logged: list[dict[str, float]], keys: tuple[str, ...]) -> list[tuple[float, float, str]]:
    """What the log tells of these curves, evenly thinned."""
    lines = [line for line in logged if any(key in line for key in keys)]
    kept = lines[:: -(-len(lines) // POINTS) or 1]
    return [(line["pictures"], line[key], text(f"train.{key}")) for line in kept for key in keys if key in line]


def _in_words(told: Any) -> str:
    """Where a training stands, over a bar while it runs."""
    words = text(f"train_state.{told.state}")
    problem = without_paths(told.problem)
    if told.state not in ACTIVE:
        return status.problem(f"{words}. {problem}") if problem else status.finished(words)
    parts = [words, *([text("train.stage", stage=told.stage)] if told.stage else [])]
    if told.seconds_left is not None:
        parts.append(text("models.left", time=duration(told.seconds_left)))
    return status.running(" · ".join(parts), told.done, told.total) + (status.problem(problem) if problem else "")
