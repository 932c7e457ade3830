"""The panel *Models*: which classes there are, and fetching, checking, deleting and completing them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gradio as gr

from l4f_plugin.errors import UserError
from l4f_plugin.jobs import Job

from . import compat, models_table, status
from .class_jobs import MASKS
from .consent import Consent
from .controls import button, named
from .models_import import ImportForm
from .models_repository import RepositoryForm
from .models_share import ShareForm
from .models_visit import Picking, Visit
from .run_buttons import complain
from .service import Service
from .texts import text
from .words import duration, failure, pathless, size

if TYPE_CHECKING:
    from l4f_plugin.bundles.config import ObjectClass

LOOK_AGAIN = 0.3
"""Seconds between looks at the running tasks."""


class ModelsPanel:
    """Builds the panel inside the current Blocks and answers its events.

    Handlers return `{component: update}`. Without `service.manages_classes` it only shows what there is.
    `watched` is the event after which other parts of the page may look at the classes anew.
    """

    def __init__(self, service: Service):
        self._service, self._class_jobs = service, service.class_jobs
        self.visit = gr.State(Visit())
        self.table = gr.HTML("", elem_id="l4f_models_table", elem_classes="l4f-flush")
        with gr.Row(elem_classes="l4f-panel"):
            with gr.Column(scale=5, min_width=300, elem_classes="l4f-results"):
                self.choice = gr.Dropdown([], **named("models.class"))
                self.row = gr.Textbox(max_lines=1, elem_classes="l4f-hidden", **named("models.row"))
                self.card = gr.HTML("", elem_id="l4f_models_card", elem_classes="l4f-flush")
            with gr.Column(scale=5, min_width=300, elem_classes="l4f-results"):
                self._build_actions()
                self.activity = gr.HTML(status.quiet(), elem_id="l4f_models_activity", elem_classes="l4f-status-place")
        changes = service.manages_classes
        self.note = gr.Markdown(text("models.read_only"), visible=not changes, elem_classes="l4f-note")
        own_repositories = changes and service.own_repositories
        self.sharing = ShareForm(service) if own_repositories else None
        picking = Picking(self.visit, self.outputs, self.pick)
        self.imports = ImportForm(service, picking) if changes else None
        self.repository = RepositoryForm(service, picking) if own_repositories else None
        self._wire()

    def _build_actions(self) -> None:
        self.consent = Consent("models")
        with gr.Row(elem_classes="l4f-actions"):
            self.download = button("models.download", variant="primary", visible=False)
            self.learn = button("learn_masks.button", variant="primary", visible=False, elem_id="l4f_models_learn")
        self.about_learning = gr.Markdown("", visible=False, elem_classes="l4f-aside")
        with gr.Row(elem_classes="l4f-actions"):
            self.cancel = button("models.cancel", visible=False)
            self.verify = button("models.verify", visible=False)
            self.delete = button("models.delete", visible=False)
        with gr.Column(visible=False, elem_classes="l4f-confirm", elem_id="l4f_models_confirm") as self.confirm:
            self.question = gr.Markdown("")
            with gr.Row(elem_classes="l4f-actions"):
                self.really = button("models.really", variant="stop")
                self.keep = button("models.keep")

    @property
    def outputs(self) -> list:
        """What `show` and `watch` update."""
        return [
            self.table,
            self.choice,
            self.card,
            *self.consent.outputs,
            self.download,
            self.learn,
            self.about_learning,
            self.cancel,
            self.verify,
            self.delete,
            self.confirm,
            self.activity,
            *(self.sharing.outputs if self.sharing else []),
        ]

    def _wire(self) -> None:
        picked = [
            compat.on(self.choice.input, self.pick, [self.visit, self.choice], self.outputs, queue=False),
            compat.on(self.row.change, self.pick_row, [self.visit, self.row], self.outputs, queue=False),
        ]
        self.watched = [self.follow(event) for event in picked]
        accept = self.consent.accept
        for trigger, handler, inputs in (
            (self.download.click, self.start_download, [self.visit, accept]),
            (self.learn.click, self.start_learning, [self.visit]),
            (self.verify.click, self.start_verifying, [self.visit]),
            (self.really.click, self.start_deleting, [self.visit]),
        ):
            event = compat.on(trigger, self.answered(handler), inputs, self.outputs, queue=False)
            self.watched.append(self.follow(event))
        compat.on(self.cancel.click, self.stop, [self.visit], [self.cancel], queue=False)
        compat.on(self.delete.click, self.ask, [self.visit], [self.confirm, self.question], queue=False)
        compat.on(self.keep.click, lambda: gr.update(visible=False), [], [self.confirm], queue=False)
        if self.sharing:
            self.sharing.wire(self.visit)

    def open_on(self, trigger: Callable) -> Any:
        """Wires an event (the page or the tab being opened) that shows the classes as they are now."""
        event = self.follow(compat.on(trigger, self.show, [self.visit], self.outputs, queue=False))
        self.watched.append(event)
        return event

    def open_with(self, trigger: Callable, tabs: gr.Tabs, tab_id: str, inputs: list, name: Callable) -> Any:
        """Wires an event elsewhere that leads here, to the class which `name(*inputs)` gives."""

        def lead(visit: Visit, *values: Any) -> dict:
            return {**self.pick(visit, name(*values)), tabs: gr.update(selected=tab_id)}

        return self.follow(compat.on(trigger, lead, [self.visit, *inputs], [*self.outputs, tabs], queue=False))

    def follow(self, event: Any) -> Any:
        """Wires the watcher behind an event that may have started something."""
        return compat.on(event.then, self.watch, [self.visit], self.outputs)

    # What is shown

    def show(self, visit: Visit) -> dict:
        """The classes as they are now, and what can be done with the one that is picked."""
        visit.ended = self._class_jobs.ended()
        try:
            entries = self._service.all_classes()
        except UserError as error:
            return {self.activity: complain(pathless(error))}
        visit.picked = self._still_there(visit.picked, entries)
        picked = next((entry for entry in entries if entry.name == visit.picked), None)
        choices = compat.options([(entry.title, entry.name) for entry in entries])
        damaged = {entry.name for entry in entries if self._class_jobs.is_damaged(entry.name)}
        shown = {
            self.table: models_table.table(entries, visit.picked, damaged),
            self.choice: gr.update(choices=choices, value=visit.picked),
            self.confirm: gr.update(visible=False),
            self.activity: self._activity(),
        }
        if picked is None:
            return {**shown, self.card: ""}
        shown |= self.sharing.shown(visit, picked) if self.sharing else {}
        return {**shown, self.card: models_table.card(picked, picked.name in damaged), **self._actions(picked)}

    def _still_there(self, name: str | None, entries: list[ObjectClass]) -> str | None:
        from l4f_plugin.bundles.config import stand_in

        names = [entry.name for entry in entries]
        if name and name not in names and stand_in(name) in names:
            return stand_in(name)  # a repository's class that has got masks of its own
        return name if name in names else next(iter(names), None)

    def _actions(self, entry: ObjectClass) -> dict:
        """What can be done with a class now. Nothing else while something is being done."""
        class_jobs, changes = self._class_jobs, self._service.manages_classes
        damaged = bool(entry.problem) or class_jobs.is_damaged(entry.name)
        free = changes and not class_jobs.jobs.running(entry.name)
        fetchable = entry.repository and (damaged or not entry.installed)
        learnable = None if damaged else class_jobs.learnable(entry)
        return {
            **self.consent.ask(entry.title, entry.terms if changes else None),
            self.download: gr.update(
                value=self._fetching(entry, damaged), visible=changes and fetchable, interactive=free
            ),
            **self._learning(entry.name, learnable if changes else None, free),
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
        arrived = self._class_jobs.arrived(entry.name)
        if arrived:
            return text("models.download_on", done=size(arrived), total=size(entry.download_bytes))
        return text("models.download_size", size=size(entry.download_bytes))

    def _learning(self, name: str, kind: str | None, free: bool = True) -> dict:
        """The button that teaches a class what it lacks, with what is known about how long that takes."""
        if kind is None:
            return {self.learn: gr.update(visible=False), self.about_learning: gr.update(visible=False)}
        words = text(f"{kind}.button")
        seconds = self._class_jobs.seconds(name) if kind == MASKS else None
        if self._class_jobs.jobs.running(name, kind):
            words = text(f"{kind}.now")
        elif self._class_jobs.has_begun(name, kind):
            words = text(f"{kind}.go_on")
        elif seconds is not None:
            words = text("learn_masks.time", time=duration(seconds))
        elif kind == MASKS and self._class_jobs.estimates.running(name):
            words = text("learn_masks.measuring")
        return {
            self.learn: gr.update(value=words, visible=True, interactive=free),
            self.about_learning: gr.update(value=text(f"{kind}.about"), visible=True),
        }

    # What is done

    def pick(self, visit: Visit, name: str | None) -> dict:
        """Shows another class, and begins to measure how long masks would take where it has none."""
        visit.picked = name
        return {**self.show(visit), **self._estimate(visit)}

    def pick_row(self, visit: Visit, clicked: str) -> dict:
        """As `pick`, for what a click on the table wrote: the class and the time."""
        return self.pick(visit, clicked.partition(" ")[0])

    def _estimate(self, visit: Visit) -> dict:
        """Begins to measure how long masks would take, where that is of use; what the button says then."""
        with suppress(UserError):  # said once somebody wants to learn
            if self._service.manages_classes and self._class_jobs.wants_estimate(
                self._service.entry(visit.picked, on_offer=True)
            ):
                self._class_jobs.estimate(visit.picked)
                return self._learning(visit.picked, MASKS)
        return {}

    def _activity(self) -> str:
        return models_table.activity([task for task in self._class_jobs.jobs.recent() if not task.told])

    def answered(self, handler: Callable[..., Job]) -> Callable[..., dict]:
        """A handler that starts a task, with what the page shows then, or why it did not start."""

        def answer(visit: Visit, *values: Any) -> dict:
            try:
                if not self._service.manages_classes:
                    raise UserError(text("models.read_only"))
                handler(visit, *values)
            except Exception as error:
                return {**self.show(visit), self.activity: complain(pathless(error))}
            return self.show(visit)

        return answer

    def start_download(self, visit: Visit, accepted: bool) -> Job:
        """Fetches the class, or goes on with it."""
        entry = self._service.entry(visit.picked, on_offer=True)
        damaged = bool(entry.problem) or self._class_jobs.is_damaged(entry.name)
        return self._class_jobs.download(entry.name, bool(accepted), again=damaged)

    def start_learning(self, visit: Visit) -> Job:
        """Learns masks or photographs, whichever the class lacks, or goes on with it."""
        entry = self._service.entry(visit.picked, on_offer=True)
        kind = self._class_jobs.learnable(entry)
        if kind is None:
            raise UserError(text("learn.nothing", title=entry.title))
        return self._class_jobs.learn(entry.name, kind)

    def start_verifying(self, visit: Visit) -> Job:
        """Compares all files with their hashes."""
        return self._class_jobs.verify(self._service.entry(visit.picked, on_offer=True).name)

    def start_deleting(self, visit: Visit) -> Job:
        """Deletes the class, after the question."""
        return self._class_jobs.remove(self._service.entry(visit.picked, on_offer=True).name)

    def ask(self, visit: Visit) -> dict:
        """Asks before deleting, with what goes."""
        try:
            entry = self._service.entry(visit.picked, on_offer=True)
            planned = self._class_jobs.removal(entry.name)
        except Exception as error:
            complain(pathless(error))
            return {self.confirm: gr.update(visible=False)}
        key = "models.question_masks" if entry.masks_came_later else "models.question"
        return {
            self.confirm: gr.update(visible=True),
            self.question: text(key, title=entry.title, size=size(planned.bytes)),
        }

    def stop(self, visit: Visit) -> dict:
        """Stops what is being done with the class."""
        if self._service.manages_classes:
            self._class_jobs.jobs.cancel(visit.picked)
        return {self.cancel: gr.update(interactive=False)}

    def watch(self, visit: Visit) -> Iterator[dict]:
        """Follows everything that runs until it has ended, or a newer watcher of the same page takes over."""
        visit.watcher = me = object()
        html = self._activity()  # which is shown already, but for a refusal: that is to stay
        yield {}
        while visit.watcher is me:
            running, before = self._class_jobs.is_busy(), visit.ended
            if self._class_jobs.ended() != before:
                yield self._drawn_anew(visit)
                for task in visit.ended:
                    if task not in before and task.error is not None and not task.stopped and not task.told:
                        gr.Warning(failure(task))
                html = None
            elif (activity := self._activity()) != html:
                html = activity
                yield {self.activity: activity}
            if not running and not self._class_jobs.is_busy():
                return
            time.sleep(LOOK_AGAIN)

    def _drawn_anew(self, visit: Visit) -> dict:
        """As `show`, but what the visitor is about to confirm or to accept stays as it is."""
        shown = {**self.show(visit), **self._estimate(visit)}
        return {part: update for part, update in shown.items() if part not in (self.confirm, self.consent.accept)}
