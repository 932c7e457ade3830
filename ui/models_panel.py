"""The panel *Models*: which classes there are, and fetching, checking, deleting and completing them."""

from collections.abc import Callable
from contextlib import suppress

import gradio as gr

from l4f_plugin.bundles.config import ObjectClass, stand_in
from l4f_plugin.errors import UserError
from l4f_plugin.hub import removal
from l4f_plugin.jobs import Job

from . import compat, models_table, status
from .class_choice import Consent
from .class_jobs import MASKS, QUALITIES
from .controls import button, named, segments
from .models_forms import ImportForm, PhotographsForm, RepositoryForm, ShareForm, Visit
from .outputs import Result
from .run_buttons import complain
from .service import Service
from .stage import Stage
from .tasks import TaskPanel
from .texts import text
from .words import duration, failure, size


class ModelsPanel(TaskPanel):
    """Without `service.manages_classes` it only shows what there is."""

    def __init__(self, service: Service):
        super().__init__(service)
        self._class_jobs, changes = service.class_jobs, service.manages_classes
        self._followed.append(self._class_jobs.estimates)
        self.visit = gr.State(Visit())
        self.table = gr.HTML("", elem_id="l4f_models_table", elem_classes="l4f-flush")
        with gr.Row(elem_classes="l4f-panel"):
            with gr.Column(scale=5, min_width=300, elem_classes="l4f-results"):
                self.choice = gr.Dropdown([], **named("models.class"))
                self.row = gr.Textbox(max_lines=1, elem_classes="l4f-hidden", **named("models.row"))
                self.card = gr.HTML("", elem_id="l4f_models_card", elem_classes="l4f-flush")
                self.worst = compat.shown_image(visible=False, **named("models.worst"))
            with gr.Column(scale=5, min_width=300, elem_classes="l4f-results"):
                self._build_actions()
                self.activity = gr.HTML(status.quiet(), elem_id="l4f_models_activity", elem_classes="l4f-status-place")
                self.photographs = PhotographsForm() if changes else None
        self.sharing = ShareForm(service, self.visit) if changes else None
        self.outputs = [self.table, self.choice, self.card, *self.consent.outputs, self.download, self.learn]
        self.outputs += [self.quality, self.about_learning, self.worst, self.cancel, self.verify, self.delete]
        self.outputs += [self.confirm, self.activity]
        self.outputs += [*self.sharing.outputs, self.photographs.about] if self.sharing else []
        self.imports = ImportForm(service, self) if changes else None
        self.repository = RepositoryForm(service, self) if changes else None
        self._wire()

    def _build_actions(self) -> None:
        self.consent = Consent("models")
        with gr.Row(elem_classes="l4f-actions"):
            self.download = button("models.download", variant="primary", visible=False)
            self.learn = button("learn_masks.button", variant="primary", visible=False, elem_id="l4f_models_learn")
        self.quality = segments("learn_masks.quality", "learn_masks", QUALITIES, visible=False)
        self.about_learning = gr.Markdown("", visible=False, elem_classes="l4f-aside")
        with gr.Row(elem_classes="l4f-actions"):
            self.cancel, self.verify, self.delete = (
                button(f"models.{name}", size="sm", visible=False) for name in ("cancel", "verify", "delete")
            )
        with gr.Column(visible=False, elem_classes="l4f-confirm", elem_id="l4f_models_confirm") as self.confirm:
            self.question = gr.Markdown("")
            with gr.Row(elem_classes="l4f-actions"):
                self.really = button("models.really", variant="stop")
                self.keep = button("models.keep")

    def _wire(self) -> None:
        for trigger, handler, values in (
            (self.choice.input, self.pick, [self.choice]),
            # A click on the table writes the class and the time.
            (self.row.change, lambda visit, clicked: self.pick(visit, clicked.partition(" ")[0]), [self.row]),
            (self.download.click, self.answered(self.start_download), [self.consent.accept]),
            (self.learn.click, self.answered(self.start_learning), [self.quality]),
            (self.verify.click, self.answered(self.start_verifying), []),
            (self.really.click, self.answered(self.start_deleting), []),
        ):
            self._follow(trigger, handler, [self.visit, *values])
        if (own := self.photographs) is not None:
            values = [self.visit, own.folder, own.files]
            self._follow(own.run.click, self.answered(self.start_learning_own), values)
        compat.on(self.cancel.click, self.stop, [self.visit], [self.cancel])
        compat.on(self.delete.click, self.ask, [self.visit], [self.confirm, self.question])
        compat.on(self.keep.click, lambda: gr.update(visible=False), [], [self.confirm])

    def open_with(self, stage: Stage, tabs: gr.Tabs) -> None:
        """Wires the button of another panel's stage that leads here, to the class of its first result."""

        def lead(visit: Visit, results: list[Result]) -> dict:
            picked = results[0].class_name if results else None
            return {**self.pick(visit, picked), tabs: gr.update(selected="models")}

        self._follow(stage.buttons["to_models"].click, lead, [self.visit, stage.results], [tabs])

    # What is shown

    def show(self, visit: Visit) -> dict:
        """The classes as they are now, and what can be done with the one that is picked."""
        visit.ended = self._ended()
        try:
            entries = {entry.name: entry for entry in self._service.all_classes()}
        except UserError as error:
            return {self.activity: complain(error)}
        if visit.picked not in entries and stand_in(visit.picked or "") in entries:
            visit.picked = stand_in(visit.picked)  # a repository's class that has got masks of its own
        picked = entries.get(visit.picked) or next(iter(entries.values()), None)
        visit.picked = picked and picked.name
        damaged = {entry.name for entry in entries.values() if self._class_jobs.is_damaged(entry)}
        choices = compat.options([(entry.title, entry.name) for entry in entries.values()])
        shown = {
            self.table: models_table.table(entries.values(), visit.picked, damaged, self.sharing is not None),
            self.choice: gr.update(choices=choices, value=visit.picked),
            self.confirm: gr.update(visible=False),
            **self._told(visit),
        }
        if picked is None:
            return {**shown, self.card: "", self.worst: gr.update(visible=False)}
        if self.sharing:
            shown |= self.sharing.shown(visit, picked) | self.photographs.shown(picked)
        worst = self._class_jobs.worst_masks(picked)
        shown[self.worst] = gr.update(value=worst, visible=worst is not None)
        shown[self.card] = models_table.card(picked, picked.name in damaged)
        return {**shown, **self._actions(picked, picked.name in damaged)}

    def _actions(self, entry: ObjectClass, damaged: bool) -> dict:
        """What can be done with a class now. Nothing else while something is being done."""
        class_jobs, changes = self._class_jobs, self._service.manages_classes
        free = changes and not class_jobs.jobs.running(entry.name)
        fetchable = changes and bool(entry.repository) and (damaged or not entry.installed)
        learnable = class_jobs.learnable(entry) if changes and not damaged else None
        fetching = self._fetching(entry, damaged)
        return {
            **self.consent.ask(entry.title, entry.terms if changes else None),
            self.download: gr.update(value=fetching, visible=fetchable, interactive=free),
            **self._learning(entry.name, learnable, free),
            self.cancel: gr.update(visible=changes and not free, interactive=True),
            self.verify: gr.update(visible=changes and entry.installed, interactive=free),
            self.delete: gr.update(visible=changes and class_jobs.can_remove(entry), interactive=free),
        }

    def _fetching(self, entry: ObjectClass, damaged: bool) -> str:
        if self._class_jobs.jobs.running(entry.name, "download"):
            return text("models.downloading")
        if damaged:
            return text("models.download_again")
        if not entry.download_bytes:
            return text("models.download")
        if arrived := self._class_jobs.arrived(entry):
            return text("models.download_on", done=size(arrived), total=size(entry.download_bytes))
        return text("models.download_size", size=size(entry.download_bytes))

    def _learning(self, name: str, kind: str | None, free: bool = True) -> dict:
        """The button that teaches a class what it lacks, with what is known about how long that takes."""
        if kind is None:
            return {part: gr.update(visible=False) for part in (self.learn, self.quality, self.about_learning)}
        words = text(f"{kind}.button")
        if self._class_jobs.jobs.running(name, kind):
            words = text(f"{kind}.now")
        elif self._class_jobs.has_begun(name, kind):
            words = text(f"{kind}.go_on")
        return {
            self.learn: gr.update(value=words, visible=True, interactive=free),
            self.quality: self._qualities(name, free) if kind == MASKS else gr.update(visible=False),
            self.about_learning: gr.update(value=text(f"{kind}.about"), visible=True),
        }

    def _qualities(self, name: str, free: bool) -> dict:
        """The choice of how thoroughly to learn masks, each with its time on this device once that is measured."""
        seconds, measuring = self._class_jobs.seconds(name), self._class_jobs.estimates.running(name)
        words = {key: text("learn_masks.measuring") if measuring else "" for key in QUALITIES}
        words |= {key: text("learn_masks.time", time=duration(value)) for key, value in seconds.items()}
        options = [(f"{text(f'learn_masks.{key}')} {words[key]}".rstrip(), key) for key in QUALITIES]
        return gr.update(choices=options, visible=True, interactive=free)

    # What is done

    def pick(self, visit: Visit, name: str | None) -> dict:
        """Shows another class, and begins to measure how long masks would take where it has none."""
        visit.picked = name
        return {**self.show(visit), **self._estimate(visit)}

    def _estimate(self, visit: Visit) -> dict:
        """Begins to measure how long masks would take, where that is of use; what the button says then."""
        with suppress(UserError):  # said once somebody wants to learn
            if self._class_jobs.wants_estimate(self._service.entry(visit.picked, on_offer=True)):
                self._class_jobs.estimate(visit.picked)
                return self._learning(visit.picked, MASKS)
        return {}

    def answered(self, handler: Callable[..., Job]) -> Callable[..., dict]:
        """A handler that starts a job of the picked class."""

        def begin(visit: Visit, *values: object) -> Job:
            if not self._service.manages_classes:
                raise UserError(text("models.read_only"))
            return handler(self._service.entry(visit.picked, on_offer=True), *values)

        return lambda visit, *values: self._begun(visit, lambda: begin(visit, *values))

    def start_download(self, entry: ObjectClass, accepted: bool) -> Job:
        return self._class_jobs.download(entry.name, bool(accepted), again=self._class_jobs.is_damaged(entry))

    def start_learning(self, entry: ObjectClass, quality: str = "quick") -> Job:
        """Learns masks or photographs, whichever the class lacks, or goes on with it."""
        kind = self._class_jobs.learnable(entry)
        if kind is None:
            raise UserError(text("learn.nothing", title=entry.title))
        return self._class_jobs.learn(entry.name, kind, quality)

    def start_learning_own(self, entry: ObjectClass, folder: str | None, files: object) -> Job:
        """Teaches a class that has a photo segmenter the photographs that a person names or uploads."""
        if not (entry.installed and entry.photos):
            raise UserError(text("learn_own.absent", title=entry.title))
        return self._class_jobs.learn_own(entry.name, compat.file_paths(files), (folder or "").strip())

    def start_verifying(self, entry: ObjectClass) -> Job:
        return self._class_jobs.verify(entry.name)

    def start_deleting(self, entry: ObjectClass) -> Job:
        return self._class_jobs.remove(entry.name)

    def ask(self, visit: Visit) -> dict:
        try:
            entry = self._service.entry(visit.picked, on_offer=True)
            planned = removal.removal(entry.name)
        except Exception as error:
            complain(error)
            return {self.confirm: gr.update(visible=False)}
        key = "models.question_masks" if entry.masks_came_later else "models.question"
        question = text(key, title=entry.title, size=size(planned.bytes))
        return {self.confirm: gr.update(visible=True), self.question: question}

    def stop(self, visit: Visit) -> dict:
        if self._service.manages_classes:
            self._class_jobs.jobs.cancel(visit.picked)
        return {self.cancel: gr.update(interactive=False)}

    def _at_end(self, visit: Visit) -> dict:
        """What the visitor is about to confirm or to accept stays as it is; failures of their own are told."""
        before, shown = visit.ended, {**self.show(visit), **self._estimate(visit)}
        for task in visit.ended:
            if task not in before and task in visit.own and task.error is not None and not task.stopped:
                gr.Warning(failure(task))
        return {part: shown[part] for part in shown if part not in (self.confirm, self.consent.accept)}
