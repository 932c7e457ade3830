"""Which background to put behind the subject: five kinds, of which only the chosen one shows its control."""

from __future__ import annotations

import colorsys
import random
import re
from dataclasses import replace
from pathlib import Path

import gradio as gr

from l4f_plugin.arguments import Background, draw_seed
from l4f_plugin.errors import UserError

from . import compat
from .controls import choices, named
from .seed_field import SeedField
from .seeds import wanted_seed
from .texts import text

LARGEST_BLUR = 64
KINDS = ("seed", "picture", "colour", "blur", "transparent")


class BackgroundChoice:
    """Builds the controls; `panel` keeps labels and ids of several panels apart, `first` is the kind to begin with.

    `inputs` go to `read` and `is_complete` in this order; after an event of `settled` a preview may follow.
    `outputs` are what `filled` and `surprise` update.
    """

    def __init__(self, panel: str = "swap", first: str = KINDS[0]) -> None:
        def shown(kind: str) -> dict:
            return {"visible": kind == first}

        with gr.Group():
            self.kind = gr.Radio(
                choices("kind", KINDS), value=first, elem_classes="l4f-segments", **named(f"{panel}.kind")
            )
            self.field = SeedField(f"{panel}.background_seed", "1", **shown("seed"))
            self.picture = compat.uploaded_image(height=200, **shown("picture"), **named(f"{panel}.picture"))
            self.colour = gr.ColorPicker("#7aa7c7", **shown("colour"), **named(f"{panel}.colour"))
            self.blur = gr.Slider(1, LARGEST_BLUR, 8, step=1, **shown("blur"), **named(f"{panel}.blur"))
            self.note = gr.Markdown(text("swap.transparent"), elem_classes="l4f-note", **shown("transparent"))
        self.seed = self.field.box
        controls = (self.field.frame, self.picture, self.colour, self.blur, self.note)
        self._value = {"seed": self.seed, "colour": self.colour, "blur": self.blur}
        self._control = dict(zip(KINDS, controls, strict=True))
        self.outputs = [self.kind, self.seed, *controls]
        self.inputs = [self.kind, self.seed, self.picture, self.colour, self.blur]
        chosen = compat.on(self.kind.input, self.show_control, [self.kind], controls, queue=False)
        seed_events = [self.seed.submit, self.field.drawn.then, self.field.recycled.then]
        control_events = [self.picture.upload, *map(compat.settled, (self.colour, self.blur))]
        self.settled = [chosen.then, *seed_events, *control_events]

    def show_control(self, kind: str) -> dict:
        """Shows the control that the kind needs and hides the others."""
        return {control: gr.update(visible=kind == name) for name, control in self._control.items()}

    def filled(self, background: str | None) -> dict:
        """The controls as they are for a background that an infotext names; a picture must be dropped again."""
        try:
            wanted = Background.parse(background or "transparent", files=False)
        except UserError:  # the name of a file
            wanted = Background("picture", background)
        kind = wanted.kind
        values = {"seed": str(wanted.seed), "colour": wanted.label, "blur": min(max(wanted.radius, 1), LARGEST_BLUR)}
        values = {self._value[kind]: values[kind]} if kind in values else {}
        shown = self.show_control(kind)
        return {
            self.kind: kind,
            **shown,
            **{control: {**shown.get(control, {}), **gr.update(value=value)} for control, value in values.items()},
        }

    def with_picture(self, path: str) -> dict:
        """The controls as they are for a picture file."""
        shown = self.show_control("picture")
        return {self.kind: "picture", **shown, self.picture: gr.update(value=path, visible=True)}

    def surprise(self) -> dict:
        """The controls set at random to a background that needs nothing from the person."""
        hue = colorsys.hls_to_rgb(random.random(), random.uniform(0.35, 0.85), random.uniform(0.2, 0.7))
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in hue)
        found = (f"seed:{draw_seed()}", colour, f"blur:{random.randint(3, 16)}")
        return self.filled(random.choice(found))

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
            name = compat.name_of_picture(uploaded) or text("swap.unnamed")
            return replace(Background.parse(uploaded.read_bytes()), label=name)
        if kind == "colour":
            return Background.parse(colour_as_hex(colour))
        return Background.parse(f"blur:{blur:g}" if kind == "blur" else "transparent")


def described(background: Background) -> str:
    """The background in words."""
    return text(f"background.{background.kind}", label=background.label, seed=background.seed, radius=background.radius)


def colour_as_hex(value: object) -> str:
    """`#rrggbb` for the `rgb(...)` of newer colour pickers; anything else as it is, after a #."""
    written = str(value or "").strip().lower()
    numbers = re.findall(r"\d+(?:\.\d+)?", written) if written.startswith("rgb") else []
    if len(numbers) >= 3:
        return "#" + "".join(f"{min(255, round(float(number))):02x}" for number in numbers[:3])
    return "#" + written.lstrip("#")
