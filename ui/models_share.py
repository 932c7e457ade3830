"""The form that publishes the picked class on the Hub, as a model repository or a Space, in the panel *Models*."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import gradio as gr

from l4f_plugin.errors import UserError

from . import status
from .class_jobs import Sharing
from .controls import choices, named
from .models_import import LICENCES
from .models_visit import Visit
from .run_buttons import RunButtons, Running
from .service import Service
from .texts import text
from .words import pathless, standing

if TYPE_CHECKING:
    from l4f_plugin.bundles.config import ObjectClass
    from l4f_plugin.hub.sharing.terms import NotDeclared

MASKS = ("own", "without")
MOST_LETTERS = 10_000


class ShareForm:
    """Builds the form inside the current Blocks; `outputs` are what `shown` updates.

    What a licence wants declared is asked only once the class turns out to need it, one thing at a time.
    """

    def __init__(self, service: Service):
        self._service = service
        with gr.Accordion(text("share.section"), open=False, elem_id="l4f_share_section"):
            self.about = gr.Markdown("", elem_id="l4f_share_about", elem_classes="l4f-aside")
            with gr.Row(elem_classes="l4f-panel"):
                with gr.Column(scale=5, min_width=260):
                    self.kind = gr.Radio(
                        choices("share_kind", ("model", "space")),
                        value="model",
                        elem_classes="l4f-segments",
                        **named("share.kind"),
                    )
                    self.repository = gr.Textbox("", max_lines=1, **named("share.repository"))
                    self.private = gr.Checkbox(False, **named("share.private"))
                with gr.Column(scale=5, min_width=260):
                    with gr.Column(visible=False, elem_classes="l4f-confirm", elem_id="l4f_share_asks") as self.asks:
                        self.question = gr.Markdown("")
                        self.masks = gr.Radio(
                            choices("share_masks", MASKS),
                            value=None,
                            visible=False,
                            elem_classes="l4f-segments",
                            **named("share.masks"),
                        )
                        self.licence = gr.Dropdown(
                            [name for name in LICENCES if name != "unknown"],
                            value=None,
                            allow_custom_value=True,
                            visible=False,
                            **named("share.licence"),
                        )
                        self.attribution = gr.Textbox("", lines=2, visible=False, **named("share.attribution"))
                    self.job = RunButtons(service, "share")
        self._fields = {"masks": self.masks, "licence": self.licence, "attribution": self.attribution}
        self.outputs = [self.about, self.asks, self.question, *self._fields.values()]

    def wire(self, visit: gr.State) -> None:
        """Wires the button, for the page's `Visit`."""
        inputs = [visit, self.kind, self.repository, self.private, *self._fields.values()]
        outputs = [self.asks, self.question, *self._fields.values()]
        self.job.on(self.job.run.click, self.publish, inputs, outputs)

    def shown(self, visit: Visit, entry: ObjectClass) -> dict:
        """Which class it is about; what was asked about another one goes."""
        about = {self.about: text("share.about" if entry.installed else "share.about_absent", title=entry.title)}
        if visit.declaring is None or visit.declaring == entry.name:
            return about
        visit.declaring, visit.declared = None, set()
        gone = {self.masks: None, self.licence: None, self.attribution: ""}
        return {
            **about,
            self.asks: gr.update(visible=False),
            **{field: gr.update(visible=False, value=empty) for field, empty in gone.items()},
        }

    def publish(
        self,
        running: Running,
        visit: Visit,
        kind: str,
        repository: str,
        private: bool,
        masks: str | None,
        licence: str | None,
        attribution: str | None,
    ) -> Iterator[dict]:
        """Publishes the picked class; where its licence wants something declared, asks for that instead."""
        from l4f_plugin.hub.sharing.terms import NotDeclared

        if not self._service.manages_classes:
            raise UserError(text("models.read_only"))
        entry = self._service.entry(visit.picked, on_offer=True)
        if not entry.installed:
            raise UserError(text("share.absent", title=entry.title))
        if kind == "space" and not entry.masks:
            raise UserError(text("share.no_masks", title=entry.title))
        said = {"masks": masks, "licence": (licence or "").strip(), "attribution": (attribution or "").strip()}
        if len(said["licence"]) > 200 or not said["licence"].isprintable() or len(said["attribution"]) > MOST_LETTERS:
            raise UserError(text("share.long_words"))
        asked = visit.declared if visit.declaring == entry.name else set()
        wanted = Sharing(
            _plain(repository),
            kind == "space",
            bool(private),
            **{what: words or None for what, words in said.items() if what in asked},
        )
        task = self._service.class_jobs.publish(entry.name, wanted)
        try:
            # The upload itself cannot be stopped: what comes of it is told, also to whoever pressed Cancel.
            for progress in task.follow(running.token, patient=True):
                yield {self.job.status: status.running(standing(progress, task.kind))}
        except NotDeclared as error:
            yield self._ask(visit, entry, error)
            return
        except UserError as error:
            raise pathless(error) from None
        yield {self.job.status: status.finished(task.outcome)}

    def _ask(self, visit: Visit, entry: ObjectClass, error: NotDeclared) -> dict:
        """Shows the field for what is to be declared, and says why it is asked."""
        what = "masks" if error.what == "foreign_masks" else error.what
        if visit.declaring != entry.name:
            visit.declaring, visit.declared = entry.name, set()
        visit.declared.add(what)
        shown = {field: gr.update(visible=name in visit.declared) for name, field in self._fields.items()}
        if what == "masks":
            kept = MASKS if error.what == "masks" else ("without",)
            shown[self.masks] = gr.update(visible=True, choices=choices("share_masks", kept))
        return {
            **shown,
            self.asks: gr.update(visible=True),
            self.question: text(f"share.ask_{error.what}", title=entry.title),
            self.job.status: status.problem(text("share.declare_first")),
        }


def _plain(repository: str) -> str:
    """OWNER/NAME of what may be the address of a page of the Hub."""
    return re.sub(r"^https?://[^/]+/(spaces/)?", "", repository.strip()).rstrip("/")
