"""The form that makes an animation with transparency, in the panel *Explore*."""

from collections.abc import Iterator

import gradio as gr

from l4f_plugin.animations import FORMATS, check_animation
from l4f_plugin.arguments import check_integer

from . import status
from .controls import Given, named, segments
from .exploration import Exploration
from .outputs import Result, shown_path, slug
from .run_buttons import RunButtons, Running
from .service import Service
from .stage import Stage
from .texts import text

MOST_FRAMES = 240
MOST_SECONDS = 20
SIDES = ("own", "256", "512", "1024")


class MotionForm:
    """Builds the form inside the current Blocks; it moves through the chosen subjects of an `Exploration`."""

    def __init__(self, service: Service):
        self._service = service
        with gr.Accordion(text("motion.section"), open=False, elem_id="l4f_motion_section") as self.frame:
            self.seconds = gr.Slider(0.5, MOST_SECONDS, 4, step=0.5, **named("motion.seconds"))
            self.fps = gr.Slider(1, 60, 30, step=1, **named("motion.fps"))
            self.side = segments("motion.side", "side", SIDES)
            self.format = segments("motion.format", "moving", FORMATS)
            self.loop = gr.Checkbox(True, **named("motion.loop"))
            self.job = RunButtons(service, "motion")
            self.stage = Stage(service, "motion", self.job.status, ("result",))

    def wire(self, state: gr.State) -> None:
        self._state = state
        self.inputs = {state, self.seconds, self.fps, self.side, self.format, self.loop}
        self.job.on(self.job.run.click, self.make, self.inputs, self.stage.outputs)

    def make(self, running: Running, given: Given) -> Iterator[dict]:
        """Draws the frames, writes the file and shows it; a WebM is only offered for download."""
        from l4f_plugin.animations import write_animation
        from l4f_plugin.motion import check_motion, draw_motion, motion_infotext

        explored: Exploration = given[self._state]
        subjects = explored.picked(2)
        kind, fps = given[self.format], int(given[self.fps])
        frames, side = round(given[self.seconds] * fps), None if given[self.side] == "own" else int(given[self.side])
        check_integer(text("motion.frames"), frames, 2, MOST_FRAMES)
        check_animation(kind, frames, fps)
        progress = running.now_and_then(lambda done, total: text("motion.working", done=done, total=total))
        yield {self.job.status: status.running(text("job.loading", title=explored.title))}
        with self._service.drawing(explored.class_name, running.token, 1) as pipeline:
            size = check_motion(len(subjects), frames, "linear", pipeline.picture_size, side)
            check_animation(kind, frames, fps, size)
            ending = "png" if kind == "apng" else kind  # browsers show an APNG by the name of a PNG
            path = self._service.outputs.preview_folder() / f"{slug(explored.class_name)}_motion.{ending}"
            how = {"progress": progress, "cancel": running.token}
            drawn = draw_motion(pipeline, subjects, frames, loop=bool(given[self.loop]), side=side, **how)
            write_animation(path, drawn, kind, fps, motion_infotext(explored.class_name, subjects))
        path = self._service.outputs.keep(path)
        words = text("motion.done", frames=frames, seconds=frames / fps, path=shown_path(path))
        yield {**self.stage.show([Result({"result": path})], "result"), self.job.status: status.finished(words)}
