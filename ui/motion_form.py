"""The form that makes an animation with transparency, in the panel *Export*."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from l4f_plugin.animations import FORMATS, check_animation
from l4f_plugin.arguments import check_integer, parse_seeds
from l4f_plugin.provenance import free_stem

from . import compat, status
from .class_choice import ClassChoice
from .controls import choices, named
from .outputs import shown_path, slug
from .restore_choice import LARGEST_PSI_SHOWN
from .run_buttons import RunButtons, Running
from .service import Service
from .texts import text

MOST_FRAMES = 240
MOST_SEEDS = 16
_SECONDS_BETWEEN_WORDS = 0.2


class MotionForm:
    """Builds the form inside the current Blocks, and with `build_stage` where the result is shown."""

    def __init__(self, service: Service, choice: ClassChoice):
        self._service, self._choice = service, choice
        with gr.Accordion(text("motion.section"), open=not service.manages_classes, elem_id="l4f_motion_section"):
            self.seeds = gr.Textbox("1,2,3", max_lines=1, **named("motion.seeds"))
            self.psi = gr.Slider(0, LARGEST_PSI_SHOWN, 0.7, step=0.05, **named("motion.psi"))
            self.frames = gr.Slider(2, MOST_FRAMES, 90, step=1, **named("motion.frames"))
            self.fps = gr.Slider(1, 60, 30, step=1, **named("motion.fps"))
            self.format = gr.Radio(
                choices("moving", FORMATS), value=FORMATS[0], elem_classes="l4f-segments", **named("motion.format")
            )
            self.loop = gr.Checkbox(True, **named("motion.loop"))
            self.job = RunButtons(service, "motion")

    def build_stage(self) -> None:
        """Builds the place of the result and wires the form."""
        with gr.Column(visible=False, elem_classes="l4f-results") as self.stage:
            self.image = compat.shown_image(
                label=text("motion.result"),
                show_label=False,
                elem_id="l4f_motion_image",
                elem_classes=["l4f-checker", "l4f-single"],
            )
            self.download = compat.download_button(text("motion.download"), size="sm", elem_id="l4f_motion_download")
        inputs = [self._choice.dropdown, self.seeds, self.psi, self.frames, self.fps, self.format, self.loop]
        self.started = self.job.on(self.job.run.click, self.make, inputs, [self.stage, self.image, self.download])

    def make(
        self,
        running: Running,
        name: str | None,
        written: str,
        psi: float,
        frames: float,
        fps: float,
        format_name: str,
        loop: bool,
    ) -> Iterator[dict]:
        """Draws the frames, writes the file and shows it; a WebM is only offered for download."""
        from l4f_plugin.animations import write_animation
        from l4f_plugin.motion import check_motion, draw_motion, motion_infotext

        entry, frames, fps = self._service.entry(name), int(frames), int(fps)
        seeds = parse_seeds(written.replace("−", "-"))
        check_integer(text("motion.frames"), frames, 2, MOST_FRAMES)
        check_integer(text("motion.count"), len(seeds), 2, MOST_SEEDS)
        check_motion(seeds, frames, "linear")
        check_animation(format_name, frames, fps)
        path, told = self._path(entry.name, seeds, psi, format_name), 0.0

        def progress(done: int, total: int, _: str) -> None:
            nonlocal told
            if time.monotonic() - told > _SECONDS_BETWEEN_WORDS or done == total:
                told = time.monotonic()
                running.post(
                    {self.job.status: status.running(text("motion.working", done=done, total=total), done, total)}
                )

        yield {self.job.status: status.running(text("job.loading", title=entry.title))}
        with self._service.drawing(entry.name, running.token, running.on_wait) as pipeline:
            check_animation(format_name, frames, fps, pipeline.picture_size)
            drawn = draw_motion(
                pipeline, seeds, frames, loop=bool(loop), truncation_psi=psi, progress=progress, cancel=running.token
            )
            write_animation(path, drawn, format_name, fps, motion_infotext(entry.name, seeds))
        viewable = format_name != "webm"
        yield {
            self.stage: gr.update(visible=True),
            self.image: gr.update(value=str(path) if viewable else None, visible=viewable),
            self.download: compat.download_update(path),
            self.job.status: status.finished(
                text("motion.done", frames=frames, seconds=frames / fps, path=shown_path(path))
            ),
        }

    def _path(self, name: str, seeds: list[int], psi: float, format_name: str) -> Path:
        """Named by what is in it, as single pictures are; with a number where a file of that name is not ours."""
        folder = self._service.outputs.today()
        stem = "-".join(map(str, seeds))[:80]
        ending = "png" if format_name == "apng" else format_name  # browsers show an APNG by the name of a PNG
        stem = free_stem(folder, f"{slug(name)}_motion_{stem}_psi{psi:.2f}", [f".{ending}"])
        return folder / f"{stem}.{ending}"
