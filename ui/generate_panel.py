"""The panel *Generate*: seeds in, pictures with masks out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gradio as gr

from l4f_plugin.errors import Cancelled

from . import compat, seeds, status
from .class_choice import ClassChoice
from .controls import button, choices, named
from .jobs import Job, complain
from .outputs import VIEWS, SavedSample, shown_path
from .texts import text
from .workspace import Workspace


class GeneratePanel:
    """Builds the panel inside the current Blocks and answers its events.

    Handlers return `{component: update}`. `results` holds the shown `SavedSample`s of a session, `picked` the
    index of the one that was clicked.
    """

    def __init__(self, workspace: Workspace):
        self._workspace = workspace
        self.results = gr.State([])
        self.picked = gr.State(None)
        with gr.Row(elem_classes="l4f-panel"):
            with gr.Column(scale=4, min_width=300, elem_classes="l4f-controls"):
                self._build_controls()
            with gr.Column(scale=7, min_width=300, elem_classes="l4f-stage"):
                self._build_stage()
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._workspace.engine, "generate")
        with gr.Column(elem_classes="l4f-tight"):
            self.seeds = gr.Textbox("-1", max_lines=1, **named("generate.seeds"))
            with gr.Row():
                self.random = button("generate.random", icon="dice", size="sm", min_width=90)
                self.reuse = button("generate.reuse", icon="recycle", size="sm", min_width=90)
        with gr.Group():
            self.psi = gr.Slider(0, 1.5, 0.7, step=0.05, **named("generate.psi"))
            self.count = gr.Slider(1, seeds.MOST_PICTURES, 4, step=1, **named("generate.count"))
        self.job = Job(self._workspace, "generate")

    def _build_stage(self) -> None:
        self.empty = gr.HTML(
            status.empty_stage("generate"), elem_id="l4f_generate_empty", elem_classes="l4f-flush"
        )
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
            self.archive = compat.download_button(
                text("generate.download_all"), elem_id="l4f_generate_archive", elem_classes="l4f-hidden"
            )

    def _wire(self) -> None:
        inputs = [self.choice.dropdown, self.seeds, self.psi, self.count, self.view]
        shown = [self.empty, self.stage, self.gallery, self.results, *self._picked_parts()]
        self.started = self.job.on(self.job.run.click, self.generate, inputs, shown)
        self.job.on(self.seeds.submit, self.generate, inputs, shown)
        compat.on(self.random.click, lambda: "-1", [], [self.seeds], queue=False)
        compat.on(
            self.reuse.click, self.reuse_seeds, [self.results], [self.seeds, self.job.status], queue=False
        )
        compat.on(
            self.view.input,
            self.switch_view,
            [self.view, self.results, self.picked],
            [self.gallery, self.download],
            queue=False,
        )
        compat.on(
            self.gallery.select, self.pick, [self.view, self.results], self._picked_parts(), queue=False
        )
        compat.on(
            self.use_seed.click,
            self.use_picked_seed,
            [self.results, self.picked],
            [self.seeds, self.count],
            queue=False,
        )
        packed = compat.on(
            self.download_all.click, self.pack, [self.results], [self.archive, self.job.status]
        )
        compat.on(packed.then, None, js=compat.click_when_ready("l4f_generate_archive"))

    def _picked_parts(self) -> list:
        return [self.picked, self.about_picked, self.to_swap, self.use_seed, self.download]

    def generate(
        self, token, class_name: str | None, written_seeds: str, psi: float, count: int, view: str
    ) -> Iterator[dict]:
        """Draws the pictures batch by batch, saves them and shows what is there so far."""
        wanted = seeds.wanted_seeds(written_seeds, int(count))
        entry = self._workspace.engine.entry(class_name)
        started = time.monotonic()
        saved: list[SavedSample] = []
        waiting = (
            text("job.waiting")
            if self._workspace.engine.is_busy()
            else text("job.loading", title=entry.title)
        )
        yield {self.job.status: status.running(waiting)}
        try:
            for batch in self._workspace.engine.generate(entry.name, wanted, psi, token):
                for sample in batch:
                    saved.append(self._workspace.outputs.save_sample(sample, entry.name, entry.title))
                progress = text("generate.drawing", done=len(saved), total=len(wanted))
                shown = self._show(saved, view) if saved else {}
                yield {**shown, self.job.status: status.running(progress, len(saved), len(wanted))}
        except Cancelled:
            yield {self.job.status: status.finished(_stopped(saved))}
            return
        yield {self.job.status: status.finished(_done(saved, time.monotonic() - started))}

    def _show(self, saved: list[SavedSample], view: str) -> dict:
        """The update that shows the results from the start, with none picked."""
        return {
            self.empty: gr.update(visible=False),
            self.stage: gr.update(visible=True),
            self.results: list(saved),
            self.gallery: compat.gallery_update(_pictures(saved, view)),
            **self._pick(None, view),
        }

    def switch_view(self, view: str, results: list[SavedSample], picked: int | None) -> dict:
        """Shows the same results as pictures, masks or cut-outs."""
        chosen = results[picked] if picked is not None and picked < len(results) else None
        return {
            self.gallery: gr.update(value=_pictures(results, view)),
            self.download: compat.download_update(chosen.files[view] if chosen else None),
        }

    def pick(self, view: str, results: list[SavedSample], event: gr.SelectData) -> dict:
        """Tells about the picture that was clicked and offers what can be done with it."""
        index = event.index if isinstance(event.index, int) else event.index[0]
        if not 0 <= index < len(results):
            return self._pick(None, view)
        return {**self._pick(results[index], view), self.picked: index}

    def _pick(self, sample: SavedSample | None, view: str) -> dict:
        usable = gr.update(interactive=sample is not None)
        about = (
            text("generate.pick")
            if sample is None
            else text("generate.picked", seed=sample.seed, psi=sample.truncation_psi, title=sample.title)
        )
        return {
            self.picked: None,
            self.about_picked: about,
            self.to_swap: usable,
            self.use_seed: usable,
            self.download: compat.download_update(sample.files[view] if sample else None),
        }

    def reuse_seeds(self, results: list[SavedSample]) -> dict:
        """Puts the seeds of the shown pictures into the seeds field."""
        if not results:
            return {self.job.status: status.finished(text("generate.nothing_to_reuse"))}
        return {self.seeds: seeds.as_text([sample.seed for sample in results])}

    def use_picked_seed(self, results: list[SavedSample], picked: int | None) -> dict:
        """Puts the picked seed, and it alone, into the seeds field."""
        return {} if picked is None else {self.seeds: str(results[picked].seed), self.count: 1}

    def pack(self, results: list[SavedSample]) -> dict:
        """Makes the ZIP, which the page then downloads."""
        if not results:
            return {self.job.status: status.finished(text("generate.nothing_to_pack"))}
        try:
            return {self.archive: compat.download_update(self._workspace.outputs.pack(results))}
        except Exception as error:
            return {self.job.status: complain(error)}


def _pictures(saved: list[SavedSample], view: str) -> list[tuple[str, str]]:
    return [(str(sample.files[view]), text("generate.caption", seed=sample.seed)) for sample in saved]


def _amount(saved: list[SavedSample]) -> str:
    return (
        text("generate.one_picture") if len(saved) == 1 else text("generate.many_pictures", count=len(saved))
    )


def _folder(saved: list[SavedSample]) -> str:
    return shown_path(saved[-1].files["picture"].parent)


def _done(saved: list[SavedSample], seconds: float) -> str:
    key = "generate.one_seed" if len(saved) == 1 else "generate.many_seeds"
    return text(
        "generate.done",
        pictures=_amount(saved),
        seconds=seconds,
        folder=_folder(saved),
        seeds=text(key, seeds=seeds.as_text([sample.seed for sample in saved])),
    )


def _stopped(saved: list[SavedSample]) -> str:
    if not saved:
        return text("generate.stopped_empty")
    return text("generate.stopped", pictures=_amount(saved), folder=_folder(saved))
