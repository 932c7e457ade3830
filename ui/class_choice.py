"""The dropdown of object classes, which tells size and licence of the chosen one, and fetches it at its first use."""

from collections.abc import Iterator

import gradio as gr

from l4f_plugin.bundles.config import ObjectClass
from l4f_plugin.errors import UserError

from . import compat, status
from .controls import named
from .run_buttons import Running
from .service import Service
from .texts import text
from .words import size, without_paths


class Consent:
    """Reading a licence that restricts use, and accepting it: hidden but for a class that asks for it."""

    def __init__(self, panel: str):
        with gr.Column(visible=False, elem_classes="l4f-consent") as self.frame:
            self.words = gr.HTML("", elem_classes="l4f-flush")
            self.accept = gr.Checkbox(False, **named(f"{panel}.accept"))
        self.outputs = [self.frame, self.words, self.accept]

    def ask(self, title: str, terms: str | None) -> dict:
        """Shows what is to be accepted, not yet ticked; hides everything where that is nothing."""
        words = status.linked(text("consent.words", title=title, terms=terms)) if terms else ""
        return {
            self.frame: gr.update(visible=terms is not None),
            self.words: words and f'<p class="l4f-licence">{words}</p>',
            self.accept: gr.update(value=False),
        }


class ClassChoice:
    """Builds the dropdown; `panel` keeps labels and ids of several panels apart.

    With `fetches` it also offers classes that are yet to be fetched, and those without masks; `outputs` are what
    `ready` updates. Where it is about `photographs`, a class that cannot segment them says so.
    """

    def __init__(self, service: Service, panel: str, *, fetches: bool = False, photographs: bool = False):
        self._service, self._fetches, self._photographs = service, fetches, photographs
        words = {**named(f"{panel}.class"), **self._offer(None)}
        self.dropdown = gr.Dropdown(allow_custom_value=False, **words)
        self.consent = Consent(panel) if fetches else None
        self.outputs = [self.dropdown, *(self.consent.outputs if self.consent else [])]
        compat.on(self.dropdown.change, self.tell, [self.dropdown], self.outputs)

    def refresh_on(self, trigger) -> None:
        compat.on(trigger, self.refresh, [self.dropdown], [self.dropdown])

    def refresh(self, chosen: str | None = None) -> dict:
        """Offers what has been added since; `chosen` stays where it is still there."""
        return {self.dropdown: gr.update(**self._offer(chosen))}

    def _find(self, name: str | None) -> ObjectClass | None:
        return self._service.find(name, on_offer=self._fetches)

    def _offer(self, chosen: str | None) -> dict:
        entries = self._service.all_classes() if self._fetches else self._service.classes()
        if chosen not in [entry.name for entry in entries]:
            chosen = self._service.default_class(self._photographs)
        offered = compat.options([(_label(entry), entry.name) for entry in entries])
        return {"choices": offered, "value": chosen, "info": self.describe(chosen)}

    def tell(self, name: str | None) -> dict:
        """Explains the class that was chosen, and asks for its licence where that is needed."""
        told = {self.dropdown: gr.update(info=self.describe(name))}
        entry = self._find(name)
        if self.consent and entry is not None:
            told |= self.consent.ask(entry.title, entry.terms)
        return told

    def describe(self, name: str | None) -> str:
        """Size and licence of a class, or what is wrong with it."""
        entry = self._find(name)
        if entry is None:
            return text("class.none")
        if entry.problem:
            return without_paths(entry.problem)
        width, height = entry.picture_size
        words = text("class.details", width=width, height=height, licence=entry.licence)
        if not entry.installed:
            return text("class.fetched_first", details=words)
        if not entry.masks:
            return text("class.maskless", details=words)
        return text("class.no_photos", details=words) if self._photographs and not entry.photos else words

    def ready(self, running: Running, name: str | None, accepted: bool = False) -> Iterator[dict]:
        """Fetches the class where it is not here; returns what is known about it. Raises `UserError` if it cannot."""
        entry = self._find(name)
        if entry is None:
            raise UserError(text("problem.no_class"))
        if not self._fetches or entry.installed or entry.problem:
            return entry
        yield from running.tell_of(self._service.class_jobs.download(entry.name, accepted))
        entry = self._service.entry(name, on_offer=True)
        yield {**self.refresh(name), **self.consent.ask(entry.title, None)}
        return entry


def _label(entry: ObjectClass) -> str:
    """The class in the list: what is still to be fetched says so."""
    if entry.problem or entry.installed:
        return entry.title
    amount = size(entry.download_bytes) if entry.download_bytes else ""
    return text("class.to_fetch", title=entry.title, size=amount).strip()
