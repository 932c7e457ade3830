"""The panel *Generate*: seeds in, pictures with masks out."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from urllib.parse import parse_qsl

import gradio as gr

from l4f_plugin.arguments import ENLARGED
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.jobs import CancelToken
from l4f_plugin.subject import Subject

from . import address, compat, seeds, status
from .brush_form import BrushForm
from .class_choice import ClassChoice
from .controls import Given, RestoreChoice, SeedField, controls_column, named, psi_slider, segments, stage_column
from .history import FAVOURITE, HIDDEN, History
from .outputs import VIEWS, Result, shown_path
from .run_buttons import RunButtons, Running, complain
from .service import Service
from .stage import GalleryStage
from .texts import text

MARKS = (FAVOURITE, HIDDEN, "delete")
WHICH = ("now", "earlier", "favourites")
WELCOME, LARGEST_WELCOME = range(8), 256
"""Seeds that a class is shown by, and the pixels up to which nobody waits long for them."""
LONGEST_SEEDS_TOLD = 60  # characters of seeds in the status line


class GeneratePanel:
    """`stage.results` holds the shown results of a session. `started` are the events of jobs."""

    def __init__(self, service: Service):
        self._service, self.history = service, History(service)
        self._keeps = service.manages_classes  # where others reach the page, nobody sees what somebody else drew
        self.drawn = gr.State([])
        with gr.Row(elem_classes="l4f-panel"):
            with controls_column():
                self._build_controls()
            with stage_column():
                self.which = segments("generate.which", "which", WHICH, "l4f-view", visible=self._keeps)
                later = {"interactive": False}
                buttons = {"to_swap": later, "to_explore": later, "animate": {}, "use_seed": later}
                buttons |= {"to_models": {"visible": False}, **dict.fromkeys(MARKS, {**later, "visible": self._keeps})}
                given = {"packs": (*VIEWS, "background", "w_plus"), "buttons": buttons, "sends": True}
                self.stage = GalleryStage(service, "generate", self.job.status, VIEWS, **given)
                self.brush = BrushForm(self, "generate")
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "generate", fetches=self._service.manages_classes)
        self.field = SeedField("generate.seeds", "-1")
        self.seeds = self.field.box
        with gr.Group():
            self.psi = psi_slider("generate.psi")
            self.count = gr.Slider(1, seeds.MOST_PICTURES, 8, step=1, **named("generate.count"))
            self.times = segments("generate.times", "times", tuple(map(str, ENLARGED)))
        self.restore = RestoreChoice(self._service, "generate")
        self.job = RunButtons(self._service, "generate")

    def _wire(self) -> None:
        stage, consent = self.stage, self.choice.consent
        self.inputs = {self.choice.dropdown, self.seeds, self.psi, self.count, self.times}
        self.inputs |= {stage.view, stage.picked, self.drawn}
        self.inputs |= {consent.accept} if consent else set()
        self.to_swap, self.to_explore, _, self.use_seed, self.to_models, *self._marks = stage.buttons.values()
        offers = [self.to_swap, self.to_explore, self.use_seed, *self._marks]
        self._about = [stage.picked, stage.about_picked, *offers, *stage.downloads.values()]
        self.shown = [*stage.outputs, *self._about, self.field.last, self.to_models, self.drawn, self.which]
        shown = [*self.shown, *self.choice.outputs]
        self.started = [
            self.job.on(trigger, self.generate, self.inputs, shown)
            for trigger in (self.job.run.click, self.seeds.submit)
        ]
        chosen = self.choice.dropdown.input
        self.job.on(chosen, self.welcome, self.inputs, shown, buttons=False, latest=True)
        self._restorable = [self.choice.dropdown, self.seeds, self.psi, self.count, self.job.status]
        compat.on(self.restore.dropped, self.fill, [self.restore.picture], self._restorable)
        compat.on(stage.gallery.select, self.pick, [stage.view, stage.results], self._about)
        picked = [stage.results, stage.picked]
        compat.on(self.use_seed.click, self.use_picked_seed, picked, [self.seeds, self.count])
        self.brush.wire([*self.shown, stage.view])
        if self._keeps:
            given = [self.which, self.drawn, stage.view]
            compat.on(self.which.input, self.look_at, given, self.shown)
            for name, pressed in zip(MARKS, self._marks, strict=True):
                compat.on(pressed.click, partial(self.mark, name), [*given, *picked], [*self.shown, self.job.status])

    def generate(self, running: Running, given: Given) -> Iterator[dict]:
        """Draws batch by batch, saves and shows what is there so far. A class that is not here is fetched first."""
        wanted = seeds.wanted_seeds(given[self.seeds], int(given[self.count]))
        view = given[self.stage.view]
        accepted = bool(self.choice.consent and given[self.choice.consent.accept])
        entry = yield from self.choice.ready(running, given[self.choice.dropdown], accepted)
        started = time.monotonic()
        saved: list[Result] = []
        yield {self.job.status: status.running(text("job.loading", title=entry.title))}
        try:
            for batch in self._service.generate(entry.name, wanted, given[self.psi], running.token):
                for sample in (one.enlarged(int(given[self.times])) for one in batch):
                    saved.append(self._service.outputs.save_sample(sample, entry.name, entry.title))
                progress = text("generate.drawing", done=len(saved), total=len(wanted))
                first = len(saved) == len(batch)
                shown = self.show(saved, view, given[self.stage.picked] if first else 0) if saved else {}
                if not first:  # what was clicked meanwhile stays
                    shown = {part: update for part, update in shown.items() if part not in self._about}
                yield {**shown, self.job.status: status.running(progress, len(saved), len(wanted))}
        except Cancelled:
            words = text("generate.stopped_empty")
            if saved:
                words = text("generate.stopped", pictures=_amount(saved), folder=_folder(saved))
            yield {self.job.status: status.finished(words)}
            return
        seconds = time.monotonic() - max(started, running.waited_until)
        yield {self.job.status: status.finished(_done(saved, seconds))}

    def welcome(self, running: Running, given: Given) -> Iterator[dict]:
        """What a class draws that was chosen before anything was drawn: its ready pictures, or the first seeds.

        Where others reach the page nothing is drawn unasked.
        """
        entry = self._service.find(given[self.choice.dropdown])
        if entry is None or entry.problem or given[self.drawn]:
            return
        found = self.history.ready(entry)
        if not found and self._keeps and entry.resolution <= LARGEST_WELCOME:
            yield {self.job.status: status.running(text("job.loading", title=entry.title))}
            drawn = self._service.generate(entry.name, WELCOME, entry.truncation_psi, running.token)
            found = [self.history.unsaved(entry, subject) for batch in drawn for subject in batch]
        if found:
            told = status.finished(text("generate.welcome", title=entry.title))
            yield {self.which: "now", **self._look(found, given[self.stage.view]), self.job.status: told}

    def fill(self, picture: str | None) -> dict:
        try:
            recipe, psi, words = self.restore.read(picture, codes=False)
        except Exception as error:
            return {self.job.status: complain(error)}
        return {
            self.choice.dropdown: recipe.class_name,
            self.seeds: str(recipe.seed),
            self.psi: psi,
            self.count: 1,
            self.job.status: status.finished(words),
        }

    def open_with_picture(self, trigger, picture: gr.State, tabs: gr.Tabs) -> None:

        def bring(path: str) -> dict:
            return {**self.fill(path), tabs: gr.update(selected="generate")}

        compat.on(trigger, bring, [picture], [*self._restorable, tabs])

    def show(self, saved: list[Result], view: str, picked: int | None) -> dict:
        """The update that shows the results from the start; a picture that is open may be used as before."""
        return {
            **self._look(saved, view, picked),
            self.drawn: list(saved),
            self.which: "now",
            self.field.last: seeds.as_text([sample.seed for sample in saved if sample.seed is not None]),
            self.to_models: gr.update(visible=self._service.manages_classes and not _have_masks(saved)),
        }

    def live_in_address(self, opened: Callable) -> None:
        """Writes what was asked for last into the address, from which a reload or a link brings it back."""
        with gr.Column(elem_classes="l4f"):  # within which the style sheet hides
            carrier = gr.Textbox("", elem_classes="l4f-hidden", **named("generate.address"))
        kept = {"class": self.choice.dropdown, "seeds": self.seeds, "psi": self.psi, "count": self.count}
        for event in self.started:
            address.keep(event.then, kept)
        address.bring(opened, self.read_address, carrier, list(kept.values()))

    def read_address(self, written: str | None) -> dict:
        """The controls as the address says; what makes no sense there changes nothing."""
        said = dict(parse_qsl(written or ""))
        found: dict = {}
        if self._service.is_usable(said.get("class")):
            found[self.choice.dropdown] = said["class"]
        with suppress(UserError, KeyError):
            seeds.wanted_seeds(said["seeds"], 1)
            found[self.seeds] = said["seeds"]
        for name, part in {"psi": self.psi, "count": self.count}.items():
            with suppress(ValueError, KeyError):
                found[part] = max(part.minimum, min(part.maximum, float(said[name])))
        return found

    def open_on(self, trigger: Callable) -> None:
        """Wires an event (the page being opened) that shows earlier pictures, or what the class has ready."""
        compat.on(trigger, self.first, [self.choice.dropdown, self.stage.view], self.shown)

    def first(self, name: str | None, view: str) -> dict:
        earlier = self.history.recent() if self._keeps else []
        found = earlier or self.history.ready(self._service.find(name))
        return {self.which: "earlier" if earlier else "now", **self._look(found, view)} if found else {}

    def look_at(self, which: str, drawn: list[Result], view: str) -> dict:
        """What was drawn now, what lies in the folders, or the favourites among that."""
        return self._look(drawn if which == "now" else self.history.recent(which == "favourites"), view)

    def subject(self, given: Given, token: CancelToken) -> Subject | None:
        sample = self.stage.chosen(given[self.stage.results], given[self.stage.picked])
        return sample and sample.subject()

    def mended(self, running: Running, given: Given, subject: Subject) -> Iterator[dict]:
        """The picture is saved once more, with another mask, and takes the place of the one that was picked."""
        sample = self.stage.chosen(given[self.stage.results], given[self.stage.picked])
        saved = self._service.outputs.save_sample(subject, sample.class_name, sample.name)
        results, drawn = (
            [saved if one == sample else one for one in given[part]] for part in (self.stage.results, self.drawn)
        )
        view = "cutout" if given[self.stage.view] == "picture" else given[self.stage.view]  # where it shows
        shown = {**self._look(results, view, given[self.stage.picked]), self.stage.view: view, self.drawn: drawn}
        yield {**shown, self.job.status: status.finished(text("brush.saved", folder=_folder([saved])))}

    def _look(self, results: list[Result], view: str, picked: int | None = None) -> dict:
        shown = self.stage.show(results, view, picked)
        about = self._tell(self.stage.chosen(results, shown[self.stage.picked]))
        return {**shown, **(about if results else {**about, self.stage.about_picked: text("generate.none_yet")})}

    def mark(self, name: str, which: str, drawn: list, view: str, results: list, picked: int | None) -> dict:
        """Makes the picked picture a favourite or none, hides it, or deletes its files."""
        sample = self.stage.chosen(results, picked)
        if sample is None:
            return {}
        try:
            marked = self.history.mark(sample, name) if name in (FAVOURITE, HIDDEN) else self.history.delete(sample)
        except Exception as error:
            return {self.job.status: complain(error)}
        words = text("generate.unmarked" if marked is False else f"generate.{name}_done")
        told = {self.job.status: status.finished(words)}
        if name == FAVOURITE and which != "favourites":
            return told
        left = [other for other in results if other is not sample]
        drawn = [other for other in drawn if other.files["picture"] != sample.files["picture"]]
        return {**told, **self._look(left, view), self.drawn: drawn}

    def pick(self, view: str, results: list[Result], event: gr.SelectData) -> dict:
        """Tells about the picture that was clicked and offers what can be done with it."""
        index = compat.selected(event)
        sample = self.stage.chosen(results, index)
        offered = self.stage.offer(sample, view)
        return {**self._tell(sample), **offered, self.stage.picked: index if sample else None}

    def _tell(self, sample: Result | None) -> dict:
        about = text("generate.pick")
        if sample and sample.seed is None:
            about = text("generate.picked_codes", title=sample.name)
        elif sample:
            about = text("generate.picked", seed=sample.seed, psi=sample.truncation_psi, title=sample.name)
        usable = {
            self.to_explore: sample is not None,
            self.to_swap: sample is not None and _have_masks([sample]),
            self.use_seed: sample is not None and sample.seed is not None,
            **dict.fromkeys(self._marks, sample is not None and self.history.has(sample)),
        }
        return {self.stage.about_picked: about, **{part: gr.update(interactive=may) for part, may in usable.items()}}

    def use_picked_seed(self, results: list[Result], picked: int | None) -> dict:
        return {} if picked is None else {self.seeds: str(results[picked].seed), self.count: 1}


def _have_masks(saved: list[Result]) -> bool:
    return all("mask" in sample.files for sample in saved)


def _amount(saved: list[Result]) -> str:
    return text("generate.one_picture") if len(saved) == 1 else text("generate.many_pictures", count=len(saved))


def _folder(saved: list[Result]) -> str:
    return shown_path(saved[-1].files["picture"].parent)


def _done(saved: list[Result], seconds: float) -> str:
    written = seeds.as_text([sample.seed for sample in saved])
    if len(written) > LONGEST_SEEDS_TOLD:  # Reuse last has them all
        written = written[:LONGEST_SEEDS_TOLD].rpartition(",")[0] + ", …"
    return text(
        "generate.done" if _have_masks(saved) else "generate.done_maskless",
        pictures=_amount(saved),
        seconds=seconds,
        folder=_folder(saved),
        seeds=text("generate.one_seed" if len(saved) == 1 else "generate.many_seeds", seeds=written),
    )
