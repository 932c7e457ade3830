"""The forms of the panel *Models*: a user's own photographs and files, any repository of the Hub, publishing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from l4f_plugin.bundles.catalogue import installed
from l4f_plugin.bundles.config import ObjectClass, plain_class_name
from l4f_plugin.bundles.fields import REPOSITORY_ID
from l4f_plugin.bundles.licences import NotAccepted
from l4f_plugin.errors import UserError
from l4f_plugin.hub.sharing.terms import Declared, NotDeclared
from l4f_plugin.jobs import Job

from . import compat, status
from .class_choice import Consent
from .class_jobs import discard
from .controls import Given, button, choices, named, segments
from .run_buttons import RunButtons, Running
from .service import Service
from .tasks import Watching
from .texts import text
from .trainings import ARCHIVES
from .words import size

if TYPE_CHECKING:
    from .models_panel import ModelsPanel

MOST_BYTES = 1 << 30
"""Larger than any published checkpoint; what is larger is not read."""
LICENCES = (
    *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "Apache-2.0", "MIT"),
    *("NVIDIA Source Code License-NC", "unknown"),
)
LONGEST_LICENCE = 200  # letters
LONGEST_ATTRIBUTION = 10_000
MASKS = ("own", "without")


def licence_field(key: str, licences: Sequence[str] = LICENCES, value: str | None = None, **looks: Any) -> gr.Dropdown:
    return gr.Dropdown(list(licences), value=value, allow_custom_value=True, **looks, **named(key))


def picture_fields(panel: str) -> tuple[gr.Textbox, Any]:
    """Where pictures to learn from are: a folder, an archive or a data set that is named, or uploads."""
    folder = gr.Textbox("", max_lines=1, **{**named("train.folder"), "elem_id": f"l4f_{panel}_folder"})
    shown = {**named("train.files"), "elem_id": f"l4f_{panel}_files"}
    return folder, compat.uploaded_file("image", *ARCHIVES, count="multiple", height=170, **shown)


@dataclass
class Visit(Watching):
    """What one visitor's page shows: the class picked, whose licence it asks about, and what it wants declared."""

    picked: str | None = None
    asked: str | None = None
    declaring: str | None = None
    declared: set[str] = field(default_factory=set)


class ImportForm:
    """Makes a class of a user's own files; the class that comes of it is then the one picked in the panel."""

    def __init__(self, service: Service, panel: ModelsPanel):
        self._service, self._panel = service, panel
        with gr.Accordion(text("import.section"), open=False, elem_id="l4f_import_section"):
            gr.Markdown(text("import.about"), elem_classes="l4f-aside")
            with gr.Row(elem_classes="l4f-panel"):
                with gr.Column(scale=5, min_width=260):
                    self.file, self.alpha = (
                        compat.uploaded_file(*endings, height=150, **named(f"import.{name}"))
                        for name, endings in (("file", (".pt", ".pth", ".pkl")), ("alpha", (".pt", ".pth")))
                    )
                with gr.Column(scale=5, min_width=260):
                    self.name = gr.Textbox("", max_lines=1, **named("import.name"))
                    self.title = gr.Textbox("", max_lines=1, **named("import.title"))
                    self.licence = licence_field("import.licence")
                    self.job = RunButtons(service, "import")
        self.inputs = {panel.visit, self.file, self.alpha, self.name, self.title, self.licence}
        outputs = [*panel.outputs, self.file, self.alpha, self.name, self.title]
        self.job.on(self.job.run.click, self.bring, self.inputs, outputs)

    def bring(self, running: Running, given: Given) -> Iterator[dict]:
        """Converts the files into a class; they are gone from the server then, unless another click may use them."""
        files = {part: _uploaded(given[part]) for part in (self.file, self.alpha)}
        task = self._start(*files.values(), given)  # where it refuses, the files stay for the next click
        try:
            yield from running.tell_of(task)
        except UserError:
            yield {part: None for part, path in files.items() if path is None or not path.exists()}
            raise
        except Exception:  # such as a click on Cancel, after which the job itself removes them
            yield dict.fromkeys(files)
            raise
        emptied = {**dict.fromkeys(files), self.name: "", self.title: ""}
        picked = self._panel.pick(given[self._panel.visit], task.name)
        yield {**emptied, **picked, self.job.status: status.finished(task.outcome)}

    def _start(self, checkpoint: Path | None, alpha: Path | None, given: Given) -> Job:
        """Starts the job. Raises `UserError` where something is missing, too large or under a wrong name."""
        from l4f_plugin.hub.own_checkpoints import demand_free_name

        name, title = given[self.name].strip(), given[self.title].strip()
        licence = (given[self.licence] or "").strip()
        present = [path for path in (checkpoint, alpha) if path is not None]
        if not present:
            raise UserError(text("import.nothing"))
        for path in present:
            if path.stat().st_size > MOST_BYTES:
                discard(path)
                raise UserError(text("import.too_large", file=path.name, limit=size(MOST_BYTES)))
        if checkpoint is None:
            name, title = name or given[self._panel.visit].picked or "", ""
            installed(name)
        else:
            if not licence:
                raise UserError(text("import.no_licence"))
            if not (_is_line(licence) and _is_line(title)):
                raise UserError(text("import.long_words"))
            name = name or plain_class_name(checkpoint.stem)
            demand_free_name(name)  # here already, since the files stay then
        return self._service.class_jobs.bring(name, checkpoint, alpha, title, licence)


class PhotographsForm:
    """Teaches the picked class the photographs of a person; the panel starts that and tells of it."""

    def __init__(self) -> None:
        with gr.Accordion(text("learn_own.section"), open=False, elem_id="l4f_learn_own_section"):
            self.about = gr.Markdown("", elem_classes="l4f-aside")
            with gr.Group():
                self.folder, self.files = picture_fields("learn_own")
            self.run = button("learn_own.run", variant="primary")

    def shown(self, entry: ObjectClass) -> dict:
        """Which class it is about, or why that cannot learn them."""
        key = "learn_own.about" if entry.installed and entry.photos else "learn_own.absent"
        return {self.about: text(key, title=entry.title)}


class RepositoryForm:
    """Fetches any class of the Hub by its repository; it is then the one picked in the panel."""

    def __init__(self, service: Service, panel: ModelsPanel):
        self._service, self._panel = service, panel
        with gr.Accordion(text("repository.section"), open=False, elem_id="l4f_repository_section"):
            self.name = gr.Textbox("", max_lines=1, **named("repository.name"))
            self.consent = Consent("repository")
            self.job = RunButtons(service, "repository")
        self.inputs = {panel.visit, self.name, self.consent.accept}
        outputs = [*panel.outputs, self.name, *self.consent.outputs]
        for trigger in (self.job.run.click, self.name.submit):
            self.job.on(trigger, self.fetch, self.inputs, outputs)

    def fetch(self, running: Running, given: Given) -> Iterator[dict]:
        """Downloads the class, once its licence is accepted where it restricts use."""
        visit, name = given[self._panel.visit], _repository(given[self.name])
        accepted = bool(given[self.consent.accept]) and visit.asked == name
        task = self._service.class_jobs.download(name, accepted=accepted)
        try:
            yield from running.tell_of(task)
        except NotAccepted as error:
            visit.asked = name
            asked = self.consent.ask(name, error.wanted.licence_in_words)
            yield {**asked, self.job.status: status.problem(text("repository.accept_first"))}
            return
        picked = {**self._panel.pick(visit, name), **self.consent.ask(name, None)}
        yield {**picked, self.name: "", self.job.status: status.finished(task.outcome)}


class ShareForm:
    """Publishes the picked class on the Hub, as a model repository or a Space. `outputs` are what `shown` updates.

    What a licence wants declared is asked only once the class turns out to need it, one thing at a time.
    """

    def __init__(self, service: Service, visit: gr.State):
        self._service, self._visit = service, visit
        with gr.Accordion(text("share.section"), open=False, elem_id="l4f_share_section"):
            self.about = gr.Markdown("", elem_id="l4f_share_about", elem_classes="l4f-aside")
            with gr.Row(elem_classes="l4f-panel"):
                with gr.Column(scale=5, min_width=260):
                    self.kind = segments("share.kind", "share_kind", ("model", "space"))
                    self.repository = gr.Textbox("", max_lines=1, **named("share.repository"))
                    self.private = gr.Checkbox(False, **named("share.private"))
                    self.dry = gr.Checkbox(False, **named("share.dry"))
                with gr.Column(scale=5, min_width=260):
                    with gr.Column(visible=False, elem_classes="l4f-confirm", elem_id="l4f_share_asks") as self.asks:
                        self.question = gr.Markdown("")
                        self.masks = segments("share.masks", "share_masks", MASKS, value=None, visible=False)
                        self.licence = licence_field("share.licence", LICENCES[:-1], visible=False)
                        self.attribution = gr.Textbox("", lines=2, visible=False, **named("share.attribution"))
                    self.job = RunButtons(service, "share")
        self.fields = {"masks": self.masks, "licence": self.licence, "attribution": self.attribution}
        asked = [self.asks, self.question, *self.fields.values()]
        self.outputs = [self.about, *asked]
        self.inputs = {visit, self.kind, self.repository, self.private, self.dry, *self.fields.values()}
        self.job.on(self.job.run.click, self.publish, self.inputs, asked)

    def shown(self, visit: Visit, entry: ObjectClass) -> dict:
        """Which class it is about; what was asked about another one goes."""
        about = {self.about: text("share.about" if entry.installed else "share.about_absent", title=entry.title)}
        if visit.declaring is None or visit.declaring == entry.name:
            return about
        visit.declaring, visit.declared = None, set()
        gone = {self.masks: None, self.licence: None, self.attribution: ""}
        hidden = {part: gr.update(visible=False, value=empty) for part, empty in gone.items()}
        return {**about, self.asks: gr.update(visible=False), **hidden}

    def publish(self, running: Running, given: Given) -> Iterator[dict]:
        """Publishes the picked class; where its licence wants something declared, asks for that instead."""
        visit = given[self._visit]
        entry, as_space = self._service.entry(visit.picked, on_offer=True), given[self.kind] == "space"
        if not entry.installed:
            raise UserError(text("share.absent", title=entry.title))
        if as_space and not entry.masks:
            raise UserError(text("share.no_masks", title=entry.title))
        repository = _repository(given[self.repository])
        said = {what: (given[part] or "").strip() for what, part in self.fields.items()}
        if not _is_line(said["licence"]) or len(said["attribution"]) > LONGEST_ATTRIBUTION:
            raise UserError(text("share.long_words"))
        asked = visit.declared if visit.declaring == entry.name else set()
        said = {what: words or None for what, words in said.items() if what in asked}
        masks = said.get("masks")
        declared = Declared(
            said.get("licence"), said.get("attribution"), without_masks=masks == "without", own_masks=masks == "own"
        )
        task = self._service.class_jobs.publish(
            entry.name, repository, declared, as_space, bool(given[self.private]), bool(given[self.dry])
        )
        try:
            # The upload itself cannot be stopped: what comes of it is told, also to whoever pressed Cancel.
            yield from running.tell_of(task, patient=True)
        except NotDeclared as error:
            yield self._ask(visit, entry, error)
            return
        yield {self.job.status: status.finished(task.outcome)}

    def _ask(self, visit: Visit, entry: ObjectClass, error: NotDeclared) -> dict:
        """Shows the field for what is to be declared, and says why it is asked."""
        what = "masks" if error.what == "foreign_masks" else error.what
        if visit.declaring != entry.name:
            visit.declaring, visit.declared = entry.name, set()
        visit.declared.add(what)
        shown = {part: gr.update(visible=name in visit.declared) for name, part in self.fields.items()}
        if what == "masks":
            kept = MASKS if error.what == "masks" else ("without",)
            shown[self.masks] = gr.update(visible=True, choices=choices("share_masks", kept))
        return {
            **shown,
            self.asks: gr.update(visible=True),
            self.question: text(f"share.ask_{error.what}", title=entry.title),
            self.job.status: status.problem(text("share.declare_first")),
        }


def _uploaded(value: object) -> Path | None:
    """The path of an uploaded file. Raises `UserError` for what was not uploaded: it is nobody's to remove."""
    path = compat.only_copy(value)
    if path is not None and not (compat.is_uploaded(path) and path.is_file()):
        raise UserError(text("import.not_uploaded"))
    return path


def _is_line(words: str) -> bool:
    return len(words) <= LONGEST_LICENCE and words.isprintable()


def _repository(written: str) -> str:
    """OWNER/NAME of what may be the address of a page of the Hub. Raises `UserError` for anything else."""
    name = re.sub(r"^https?://[^/]+/(spaces/)?", "", written.strip()).rstrip("/")
    if not REPOSITORY_ID.fullmatch(name):
        raise UserError(text("repository.bad_name"))
    return name
