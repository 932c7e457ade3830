"""The field for any class of the Hub by its repository, in the panel *Models* of a page that allows that."""

from __future__ import annotations

import re
from collections.abc import Iterator

import gradio as gr

from l4f_plugin.errors import UserError

from . import status
from .consent import Consent
from .controls import named
from .models_visit import Picking, Visit
from .run_buttons import RunButtons, Running
from .service import Service
from .texts import text
from .words import pathless, standing


class RepositoryForm:
    """Builds the field inside the current Blocks; the class that comes of it is then the one picked."""

    def __init__(self, service: Service, picking: Picking):
        self._service, self._picking = service, picking
        with gr.Accordion(text("repository.section"), open=False, elem_id="l4f_repository_section"):
            self.name = gr.Textbox("", max_lines=1, **named("repository.name"))
            self.consent = Consent("repository")
            self.job = RunButtons(service, "repository")
        inputs = [picking.visit, self.name, self.consent.accept]
        outputs = [*picking.outputs, self.name, *self.consent.outputs]
        self.started = self.job.on(self.job.run.click, self.fetch, inputs, outputs)
        self.job.on(self.name.submit, self.fetch, inputs, outputs)

    def fetch(self, running: Running, visit: Visit, written: str, accepted: bool) -> Iterator[dict]:
        """Downloads the class, once its licence is accepted where it restricts use."""
        from l4f_plugin.bundles.fields import REPOSITORY_ID
        from l4f_plugin.bundles.licences import NotAccepted

        if not (self._service.manages_classes and self._service.own_repositories):
            raise UserError(text("models.read_only"))
        name = re.sub(r"^https?://[^/]+/", "", written.strip()).rstrip("/")
        if not REPOSITORY_ID.fullmatch(name):
            raise UserError(text("repository.bad_name"))
        task = self._service.class_jobs.download(name, accepted=bool(accepted) and visit.asked == name)
        try:
            for progress in task.follow(running.token):
                yield {self.job.status: status.running(standing(progress, task.kind), progress.done, progress.total)}
        except NotAccepted as error:
            visit.asked = name
            yield {
                **self.consent.ask(name, error.wanted.licence_in_words),
                self.job.status: status.problem(text("repository.accept_first")),
            }
            return
        except UserError as error:
            raise pathless(error) from None
        yield {
            **self._picking.pick(visit, name),
            self.name: "",
            **self.consent.ask(name, None),
            self.job.status: status.finished(task.outcome),
        }
