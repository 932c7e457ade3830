"""The form that makes an animation with transparency, in the panel *Export*."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from l4f_plugin.animations import FORMATS, check_animation
from l4f_plugin.arguments import check_integer, parse_seeds
from l4f_plugin.provenance import free_stem

from . import status
from .class_choice import ClassChoice
from .controls import Given, named, psi_slider, segments
from .outputs import shown_path, slug
from .run_buttons import RunButtons, Running
from .service import Service
from .stage import Result, Stage
from .texts import text

MOST_FRAMES = 240
MOST_SEEDS = 16


class MotionForm:
    """Builds the form inside the current Blocks, and with `build_stage` where the result is shown."""

    def __init__(self, service: Service, choice: ClassChoice):
        self._service, self._choice = service, choice
        with gr.Accordion(text("motion.section"), open=not service.manages_classes, elem_id="l4f_motion_section"):
            self.seeds = gr.Textbox("1,2,3", max_lines=1, **named("motion.seeds"))
            self.psi = psi_slider("motion.psi")
            self.frames = gr.Slider(2, MOST_FRAMES, 90, step=1, **named("motion.frames"))
            self.fps = gr.Slider(1, 60, 30, step=1, **named("motion.fps"))
            self.format = segments("motion.format", "moving", FORMATS)
            self.loop = gr.Checkbox(True, **named("motion.loop"))
            self.job = RunButtons(service, "motion")
        self.inputs = {choice.dropdown, self.seeds, self.psi, self.frames, self.fps, self.format, self.loop}

    def build_stage(self) -> None:
        """Builds the place of the result and wires the form."""
        self.stage = Stage(self._service, "motion", self.job.status, ("result",), note=False)
        self.started = [self.job.on(self.job.run.click, self.make, self.inputs, self.stage.outputs)]

    def make(self, running: Running, given: Given) -> Iterator[dict]:
        """Draws the frames, writes the file and shows it; a WebM is only offered for download."""
        from l4f_plugin.animations import write_animation
        from l4f_plugin.motion import check_motion, draw_motion, motion_infotext

        kind, psi = given[self.format], given[self.psi]
        entry, frames, fps = (
            self._service.entry(given[self._choice.dropdown]),
            int(given[self.frames]),
            int(given[self.fps]),
        )
        seeds = parse_seeds(given[self.seeds].replace("−", "-"))
        check_integer(text("motion.frames"), frames, 2, MOST_FRAMES)
        check_integer(text("motion.count"), len(seeds), 2, MOST_SEEDS)
        check_motion(len(seeds), frames, "linear")
        check_animation(kind, frames, fps)
        path = self._path(entry.name, seeds, psi, kind)
        progress = status.now_and_then(running, lambda done, total: text("motion.working", done=done, total=total))
        how = {"loop": bool(given[self.loop]), "progress": progress, "cancel": running.token}
        yield {self.job.status: status.running(text("job.loading", title=entry.title))}
        with self._service.drawing(entry.name, running.token, running.on_wait) as pipeline:
            check_animation(kind, frames, fps, pipeline.picture_size)
            drawn = draw_motion(pipeline, pipeline.codes(seeds, psi), frames, **how)
            write_animation(path, drawn, kind, fps, motion_infotext(entry.name, seeds))
        words = text("motion.done", frames=frames, seconds=frames / fps, path=shown_path(path))
        yield {**self.stage.show([Result({"result": path})], "result"), self.job.status: status.finished(words)}

    def _path(self, name: str, seeds: list[int], psi: float, kind: str) -> Path:
        """Named by what is in it, as single pictures are; with a number where a file of that name is not ours."""
        folder = self._service.outputs.today()
        stem = f"{slug(name)}_motion_{'-'.join(map(str, seeds))[:80]}_psi{psi:.2f}"
        ending = ".png" if kind == "apng" else f".{kind}"  # browsers show an APNG by the name of a PNG
        return folder / (free_stem(folder, stem, [ending]) + ending)
