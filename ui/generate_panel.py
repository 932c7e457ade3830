"""The panel *Generate*: seeds in, pictures with masks out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from l4f_plugin.errors import Cancelled

from . import compat, seeds, status
from .class_choice import ClassChoice
from .controls import button, choices, click_when_ready, named, side_by_side
from .neighbours import Handout, draw_buttons
from .outputs import VIEWS, SavedSample, shown_path
from .restore_choice import LARGEST_PSI_SHOWN, RestoreChoice, shown_psi
from .run_buttons import RunButtons, Running, complain
from .seed_field import SeedField
from .service import Service
from .texts import text

LONGEST_SEEDS_TOLD = 60
"""Characters of seeds in the status line."""


class GeneratePanel:
    """Builds the panel inside the current Blocks and answers its events.

    Handlers return `{component: update}`. `results` holds the shown `SavedSample`s of a session, `picked` the
    index of the one that was clicked.
    """

    def __init__(self, service: Service):
        self._service = service
        self.results = gr.State([])
        self.picked = gr.State(None)
        side_by_side(self._build_controls, self._build_stage)
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "generate", fetches=self._service.manages_classes)
        self.field = SeedField("generate.seeds", "-1")
        self.seeds = self.field.box
        with gr.Group():
            self.psi = gr.Slider(0, LARGEST_PSI_SHOWN, 0.7, step=0.05, **named("generate.psi"))
            self.count = gr.Slider(1, seeds.MOST_PICTURES, 4, step=1, **named("generate.count"))
        self.restore = RestoreChoice(self._service, "generate")
        self.job = RunButtons(self._service, "generate")

    def _build_stage(self) -> None:
        self.empty = gr.HTML(status.empty_stage("generate"), elem_id="l4f_generate_empty", elem_classes="l4f-flush")
        with gr.Column(visible=False, elem_classes="l4f-results") as self.stage:
            self.view = gr.Radio(
                choices("view", VIEWS),
                value=VIEWS[0],
                elem_classes=["l4f-segments", "l4f-view"],
                **named("generate.view"),
            )
            self.gallery = compat.gallery(
                label=text("generate.gallery"),
                show_label=False,
                columns=4,
                height="auto",
                elem_id="l4f_generate_gallery",
                elem_classes=["l4f-checker", "l4f-gallery"],
            )
            self.about_picked = gr.Markdown(text("generate.pick"), elem_id="l4f_generate_picked")
            with gr.Row(elem_classes="l4f-actions"):
                self.to_swap = button("generate.to_swap", size="sm", interactive=False)
                self.use_seed = button("generate.use_seed", size="sm", interactive=False)
                self.download = compat.download_button(
                    text("generate.download"), size="sm", elem_id="l4f_generate_download"
                )
                self.download_all = button("generate.download_all", size="sm")
                self.to_models = button("generate.to_models", size="sm", visible=False)
                handout = Handout("generate", self.gallery, [self.results, self.picked, self.view], _files)
                draw_buttons(self._service.neighbours, handout)
            self.archive = compat.download_button(
                text("generate.download_all"), elem_id="l4f_generate_archive", elem_classes="l4f-hidden"
            )

    def _wire(self) -> None:
        inputs = [self.choice.dropdown, self.seeds, self.psi, self.count, self.view]
        inputs += [self.choice.consent.accept] if self.choice.consent else []
        shown = [self.empty, self.stage, self.gallery, self.results, self.field.last, *self._picked_parts()]
        shown += [self.to_models, *self.choice.outputs]
        self.started = self.job.on(self.job.run.click, self.generate, inputs, shown)
        self.job.on(self.seeds.submit, self.generate, inputs, shown)
        compat.on(
            self.restore.dropped,
            self.fill,
            [self.restore.picture],
            [self.choice.dropdown, self.seeds, self.psi, self.count, self.job.status],
            queue=False,
        )
        compat.on(
            self.view.input,
            self.switch_view,
            [self.view, self.results, self.picked],
            [self.gallery, self.download],
            queue=False,
        )
        compat.on(self.gallery.select, self.pick, [self.view, self.results], self._picked_parts(), queue=False)
        compat.on(
            self.use_seed.click,
            self.use_picked_seed,
            [self.results, self.picked],
            [self.seeds, self.count],
            queue=False,
        )
        packed = compat.on(self.download_all.click, self.pack, [self.results], [self.archive, self.job.status])
        compat.on(packed.then, None, js=click_when_ready("l4f_generate_archive"))

    def _picked_parts(self) -> list:
        return [self.picked, self.about_picked, self.to_swap, self.use_seed, self.download]

    def generate(
        self,
        running: Running,
        class_name: str | None,
        written_seeds: str,
        psi: float,
        count: int,
        view: str,
        accepted: bool = False,
    ) -> Iterator[dict]:
        """Draws the pictures batch by batch, saves them and shows what is there so far.

        A class that is not here yet is fetched first, where its licence is `accepted` or asks for nothing.
        """
        wanted = seeds.wanted_seeds(written_seeds, int(count))
        entry = yield from self.choice.ready(running, self.job.status, class_name, bool(accepted))
        started = time.monotonic()
        saved: list[SavedSample] = []
        yield {self.job.status: status.running(text("job.loading", title=entry.title))}
        try:
            for batch in self._service.generate(entry.name, wanted, psi, running.token, running.on_wait):
                for sample in batch:
                    saved.append(self._service.outputs.save_sample(sample, entry.name, entry.title))
                progress = text("generate.drawing", done=len(saved), total=len(wanted))
                shown = self._show(saved, view) if saved else {}
                yield {**shown, self.job.status: status.running(progress, len(saved), len(wanted))}
        except Cancelled:
            yield {self.job.status: status.finished(_stopped(saved))}
            return
        seconds = time.monotonic() - max(started, running.waited_until)
        yield {self.job.status: status.finished(_done(saved, seconds))}

    def fill(self, picture: str | None) -> dict:
        """Sets the controls to what a picture says about itself."""
        try:
            recipe = self.restore.read(picture)
        except Exception as error:
            return {self.job.status: complain(error)}
        return {
            self.choice.dropdown: recipe.class_name,
            self.seeds: str(recipe.seed),
            self.psi: shown_psi(recipe),
            self.count: 1,
            self.job.status: status.finished(self.restore.told(recipe)),
        }

    def open_with_picture(self, trigger, picture: gr.State, tabs: gr.Tabs, tab_id: str) -> None:
        """Wires an event that brings a picture file to restore the controls from."""
        controls = [self.choice.dropdown, self.seeds, self.psi, self.count, self.job.status]

        def bring(path: str | None) -> dict:
            return {} if path is None else {**self.fill(path), tabs: gr.update(selected=tab_id)}

        compat.on(trigger, bring, [picture], [*controls, tabs], queue=False)

    def _show(self, saved: list[SavedSample], view: str) -> dict:
        """The update that shows the results from the start, with none picked."""
        return {
            self.empty: gr.update(visible=False),
            self.stage: gr.update(visible=True),
            self.results: list(saved),
            self.field.last: seeds.as_text([sample.seed for sample in saved]),
            self.gallery: compat.gallery_update(_pictures(saved, view)),
            self.to_models: gr.update(visible=self._service.manages_classes and not _have_masks(saved)),
            **self._pick(None, view),
        }

    def switch_view(self, view: str, results: list[SavedSample], picked: int | None) -> dict:
        """Shows the same results as pictures, masks or cut-outs."""
        chosen = results[picked] if picked is not None and picked < len(results) else None
        return {
            self.gallery: gr.update(value=_pictures(results, view)),
            self.download: compat.download_update(chosen.shown(view) if chosen else None),
        }

    def pick(self, view: str, results: list[SavedSample], event: gr.SelectData) -> dict:
        """Tells about the picture that was clicked and offers what can be done with it."""
        index = event.index if isinstance(event.index, int) else event.index[0]
        if not 0 <= index < len(results):
            return self._pick(None, view)
        return {**self._pick(results[index], view), self.picked: index}

    def _pick(self, sample: SavedSample | None, view: str) -> dict:
        usable = gr.update(interactive=sample is not None)
        swappable = gr.update(interactive=sample is not None and _have_masks([sample]))
        about = (
            text("generate.pick")
            if sample is None
            else text("generate.picked", seed=sample.seed, psi=sample.truncation_psi, title=sample.title)
        )
        return {
            self.picked: None,
            self.about_picked: about,
            self.to_swap: swappable,
            self.use_seed: usable,
            self.download: compat.download_update(sample.shown(view) if sample else None),
        }

    def use_picked_seed(self, results: list[SavedSample], picked: int | None) -> dict:
        """Puts the picked seed, and it alone, into the seeds field."""
        return {} if picked is None else {self.seeds: str(results[picked].seed), self.count: 1}

    def pack(self, results: list[SavedSample]) -> dict:
        """Makes the ZIP, which the page then downloads."""
        if not results:
            return {self.job.status: status.finished(text("generate.nothing_to_pack"))}
        try:
            return {self.archive: compat.download_update(self._service.outputs.pack(results))}
        except Exception as error:
            return {self.job.status: complain(error)}


def _pictures(saved: list[SavedSample], view: str) -> list[tuple[str, str]]:
    return [(str(sample.shown(view)), text("generate.caption", seed=sample.seed)) for sample in saved]


def _files(results: list[SavedSample], picked: int | None, view: str) -> dict[str, Path]:
    """What is picked, as a neighbour wants it; the first where none is, as the web UIs do."""
    index = picked or 0
    return {**results[index].files, "shown": results[index].shown(view)} if index < len(results) else {}


def _have_masks(saved: list[SavedSample]) -> bool:
    return all("mask" in sample.files for sample in saved)


def _amount(saved: list[SavedSample]) -> str:
    return text("generate.one_picture") if len(saved) == 1 else text("generate.many_pictures", count=len(saved))


def _folder(saved: list[SavedSample]) -> str:
    return shown_path(saved[-1].files["picture"].parent)


def _done(saved: list[SavedSample], seconds: float) -> str:
    key = "generate.one_seed" if len(saved) == 1 else "generate.many_seeds"
    return text(
        "generate.done" if _have_masks(saved) else "generate.done_maskless",
        pictures=_amount(saved),
        seconds=seconds,
        folder=_folder(saved),
        seeds=text(key, seeds=_shortened(seeds.as_text([sample.seed for sample in saved]))),
    )


def _shortened(written: str) -> str:
    """The first of many seeds; Reuse last has them all."""
    return written if len(written) <= LONGEST_SEEDS_TOLD else written[:LONGEST_SEEDS_TOLD].rpartition(",")[0] + ", …"


def _stopped(saved: list[SavedSample]) -> str:
    if not saved:
        return text("generate.stopped_empty")
    return text("generate.stopped", pictures=_amount(saved), folder=_folder(saved))
