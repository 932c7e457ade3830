"""Which background to put behind the subject: five kinds, of which only the chosen one shows its control."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr

from l4f_plugin.arguments import Background
from l4f_plugin.errors import UserError

from . import compat
from .controls import choices, named
from .seeds import wanted_seed
from .texts import text

KINDS = ("seed", "picture", "colour", "blur", "transparent")


class BackgroundChoice:
    """Builds the controls.

    `inputs` go to `read` and `is_complete` in this order; after an event of `settled` a preview may follow.
    """

    def __init__(self) -> None:
        with gr.Group():
            self.kind = gr.Radio(
                choices("kind", KINDS), value=KINDS[0], elem_classes="l4f-segments", **named("swap.kind")
            )
            self.seed = gr.Textbox("1", max_lines=1, **named("swap.background_seed"))
            self.picture = compat.uploaded_image(visible=False, height=200, **named("swap.picture"))
            self.colour = gr.ColorPicker("#7aa7c7", visible=False, **named("swap.colour"))
            self.blur = gr.Slider(1, 64, 8, step=1, visible=False, **named("swap.blur"))
            self.note = gr.Markdown(text("swap.transparent"), visible=False, elem_classes="l4f-note")
        controls = (self.seed, self.picture, self.colour, self.blur, self.note)
        self._control = dict(zip(KINDS, controls, strict=True))
        self.inputs = [self.kind, self.seed, self.picture, self.colour, self.blur]
        chosen = compat.on(self.kind.input, self.show_control, [self.kind], controls, queue=False)
        self.settled = [chosen.then, self.picture.upload, *map(compat.settled, (self.colour, self.blur))]

    def show_control(self, kind: str) -> dict:
        """Shows the control that the kind needs and hides the others."""
        return {control: gr.update(visible=kind == name) for name, control in self._control.items()}

    def is_complete(self, kind: str, seed: str, picture: str | None, colour: str, blur: float) -> bool:
        """Whether nothing is missing to draw it."""
        return kind != "picture" or picture is not None

    def read(self, kind: str, seed: str, picture: str | None, colour: str, blur: float) -> Background:
        """What the controls ask for. Raises `UserError` where they make no sense."""
        if kind == "seed":
            return Background.parse(f"seed:{wanted_seed(seed)}")
        if kind == "picture":
            if picture is None:
                raise UserError(text("swap.picture_missing"))
            uploaded = Path(picture)  # read here: the engine's sentences would name the server's folder
            return replace(Background.parse(uploaded.read_bytes()), label=uploaded.name)
        if kind == "colour":
            return Background.parse(compat.colour_as_hex(colour))
        return Background.parse(f"blur:{blur:g}" if kind == "blur" else "transparent")


def described(background: Background) -> str:
    """The background in words."""
    return text(
        f"background.{background.kind}",
        label=background.label,
        seed=background.seed,
        radius=background.radius,
    )
