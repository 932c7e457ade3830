"""The controls that panels share: components named by their key in the table of texts, and groups of them.

Handlers of a job take `{component: value}` of all controls of their panel, so a group reads its own part of that.
"""

import colorsys
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from l4f_plugin.arguments import MARGIN, Background, Canvas, EdgeOptions, Spot, draw_seed
from l4f_plugin.errors import UserError
from l4f_plugin.images import bytes_of
from l4f_plugin.picture_files import PHOTO_ENDINGS, find_photos
from l4f_plugin.provenance import Recipe, recipe_of

from . import compat
from .seeds import MOST_PICTURES, wanted_seeds
from .service import Service
from .texts import has, text

LARGEST_PSI = 1.5
LARGEST_BLUR = 64
BACKGROUNDS = ("colour", "picture", "blur", "transparent", "seed")

Given = Mapping[Any, Any]
"""What a handler is given: components and their values."""


def style() -> str:
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def named(key: str) -> dict[str, str]:
    """Label, explanation and id of an input: `generate.psi` is explained by `generate.psi_info`."""
    return {"label": text(key), "info": text(f"{key}_info") if has(f"{key}_info") else None, "elem_id": element_id(key)}


def element_id(key: str) -> str:
    """The id in the page: `generate.psi` is `l4f_generate_psi`."""
    return "l4f_" + key.replace(".", "_")


def unsaved(component: Any) -> Any:
    """The component; web UIs then do not keep its first value as the default for ever."""
    component.do_not_save_to_config = True
    return component


def button(key: str, *, icon: str | None = None, **arguments: Any) -> gr.Button:
    """A button, with one of the icons of the style sheet (`dice`, `recycle`) before its words."""
    classes = ["l4f-icon", f"l4f-{icon}"] if icon else None
    arguments.setdefault("elem_id", element_id(key))
    return gr.Button(text(key), elem_classes=classes, **arguments)


def choices(group: str, keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """The choices of a radio: words shown, key handed to handlers."""
    return [(text(f"{group}.{key}"), key) for key in keys]


def segments(key: str, group: str, keys: tuple[str, ...], *classes: str, **arguments: Any) -> gr.Radio:
    """A radio drawn as a row of segments; its words are those of `group`."""
    arguments.setdefault("value", keys[0])
    return gr.Radio(choices(group, keys), elem_classes=["l4f-segments", *classes], **named(key), **arguments)


def psi_slider(key: str) -> gr.Slider:
    return gr.Slider(0, LARGEST_PSI, 0.7, step=0.05, **named(key))


def thumbnails(key: str, *classes: str, **arguments: Any) -> gr.Gallery:
    """Small pictures, of which one is picked by a click."""
    looks = {"height": "auto", "allow_preview": False, "columns": 6, **arguments}
    return compat.gallery(elem_classes=["l4f-thumbs", *classes], **looks, **named(key))


def note(key: str, **arguments: Any) -> gr.Markdown:
    return gr.Markdown(text(key), elem_classes="l4f-note", **arguments)


def controls_column() -> gr.Column:
    """The narrower column of a panel, within a row of the class `l4f-panel`."""
    return gr.Column(scale=4, min_width=300, elem_classes="l4f-controls")


def stage_column() -> gr.Column:
    """The wider column of a panel, for what comes out; below the controls where the page is narrow."""
    return gr.Column(scale=7, min_width=300, elem_classes="l4f-stage")


class SeedField:
    """A field for seeds with the two buttons that everybody knows: dice for new ones, recycle for the last ones.

    `box` holds what is written. `last` is what recycle brings back: what a panel that draws puts there, or what stood
    in the field before dice. `drawn` and `recycled` are events after which a panel may draw.
    """

    def __init__(self, key: str, value: str, *, visible: bool = True):
        with gr.Column(elem_classes="l4f-tight", visible=visible) as self.frame:
            self.box = unsaved(gr.Textbox(value, max_lines=1, **named(key)))
            with gr.Row():
                small = {"size": "sm", "min_width": 90}
                self.dice = button("seed.random", icon="dice", elem_id=f"{element_id(key)}_random", **small)
                self.recycle = button("seed.reuse", icon="recycle", elem_id=f"{element_id(key)}_reuse", **small)
        self.last = gr.State("")
        self.drawn = compat.on(self.dice.click, self.draw, [self.box], [self.box, self.last])
        # Queued: Gradio shows the notices of such events only.
        self.recycled = compat.on(self.recycle.click, self.reuse, [self.last], [self.box], queue=True)

    def draw(self, written: str) -> dict:
        """Asks for a new seed and keeps the one that stood here."""
        known = written.strip().replace("−", "-")
        return {self.box: "-1", **({self.last: known} if known not in ("", "-1") else {})}

    def reuse(self, last: str) -> dict:
        if not last:
            gr.Info(text("seed.nothing_to_reuse"))
            return {}
        return {self.box: last}


class BackgroundChoice:
    """Which background to put behind the subject: five kinds, of which only the chosen one shows its control.

    `panel` keeps labels and ids of several panels apart, `first` is the kind to begin with and `colour` the colour.
    `inputs` are what `read` wants to be given, `outputs` what `filled` and `surprise` update; after an event of
    `settled` a preview may follow. With `samples`, pictures that are offered (perhaps none), there may also be several
    pictures, and the subject is put somewhere on each, see `where`.
    """

    def __init__(self, panel: str, first: str, samples: Sequence[Path] | None = None, colour: str = "#7aa7c7") -> None:
        def shown(kind: str) -> dict:
            return {"visible": kind == first}

        self._samples = [str(file) for file in samples or ()]
        with gr.Group():
            self.kind = segments(f"{panel}.kind", "kind", BACKGROUNDS, value=first)
            self.field = SeedField(f"{panel}.background_seed", "1", **shown("seed"))
            with gr.Column(elem_classes="l4f-tight", **shown("picture")) as self.picture_frame:
                self.picture = compat.uploaded_image(height=200, **named(f"{panel}.picture"))
                self.several = self.spot = None
                if samples:
                    offered = [(str(file), None) for file in samples]
                    self.offered = thumbnails(f"{panel}.samples", "l4f-examples", value=offered, columns=3)
                if samples is not None:
                    words = named("swap.several")
                    self.several = compat.uploaded_file("image", *PHOTO_ENDINGS, count="multiple", height=150, **words)
                    self.spot = SpotChoice()
            self.colour = gr.ColorPicker(colour, **shown("colour"), **named(f"{panel}.colour"))
            self.blur = gr.Slider(1, LARGEST_BLUR, 8, step=1, **shown("blur"), **named(f"{panel}.blur"))
            self.note = note("swap.transparent", **shown("transparent"))
        self.seed = self.field.box
        controls = (self.colour, self.picture_frame, self.blur, self.note, self.field.frame)
        self._control = dict(zip(BACKGROUNDS, controls, strict=True))
        self.inputs = [self.kind, self.seed, self.picture, self.colour, self.blur]
        self.outputs = [self.kind, self.seed, *controls]
        chosen = compat.on(self.kind.input, self.show_control, [self.kind], controls)
        self.settled = [chosen.then, self.seed.submit, self.field.drawn.then, self.field.recycled.then]
        self.settled += [self.picture.upload, compat.settled(self.colour), compat.settled(self.blur)]
        if samples:
            used = compat.on(self.offered.select, self.use_sample, [], [self.picture, self.offered])
            self.settled.append(used.then)
        if samples is not None:
            self.inputs += [self.several, *self.spot.inputs]
            self.outputs += [self.several, *self.spot.outputs]
            self.settled += [self.several.upload, *self.spot.settled]

    def show_control(self, kind: str) -> dict:
        return {control: gr.update(visible=kind == name) for name, control in self._control.items()}

    def filled(self, background: str | None) -> dict:
        """The controls as they are for a background that an infotext names; a picture must be dropped again."""
        try:
            wanted = Background.parse(background or "transparent", files=False)
        except UserError:  # the name of a file
            wanted = Background("picture", background)
        ours = [file for file in self._samples if Path(file).name == background]
        if ours:
            return self.with_picture(ours[0])
        kind = wanted.kind
        values = {"seed": str(wanted.seed), "colour": wanted.label, "blur": min(max(wanted.radius, 1), LARGEST_BLUR)}
        filled = {self.kind: kind, **self.show_control(kind)}
        if kind in values:
            control = getattr(self, kind)
            filled[control] = {**filled.get(control, {}), **gr.update(value=values[kind])}
        return filled

    def with_picture(self, path: str) -> dict:
        """The controls as they are for a picture file, and no other."""
        others = {self.several: None} if self.several else {}
        return {self.kind: "picture", **self.show_control("picture"), self.picture: path, **others}

    def with_samples(self) -> dict:
        """The controls as they are for all pictures that are offered."""
        return {**self.with_picture(self._samples[0]), self.several: gr.update(value=self._samples[1:])}

    def use_sample(self, event: gr.SelectData) -> dict:
        shown = compat.gallery_update([(file, None) for file in self._samples])
        return {self.picture: gr.update(value=self._samples[compat.selected(event)]), self.offered: shown}

    def surprise(self) -> dict:
        """The controls set at random to a background that needs nothing from the person."""
        hue = colorsys.hls_to_rgb(random.random(), random.uniform(0.35, 0.85), random.uniform(0.2, 0.7))
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in hue)
        return self.filled(random.choice((f"seed:{draw_seed()}", colour, f"blur:{random.randint(3, 16)}")))

    def where(self, given: Given) -> Spot | None:
        """Where the subject goes; None where the result has the subject's size."""
        return self.spot.read(given) if given[self.kind] == "picture" else None

    def is_complete(self, given: Given) -> bool:
        """Whether nothing is missing to draw it."""
        return given[self.kind] != "picture" or bool(given[self.picture] or self._more_pictures(given))

    def _more_pictures(self, given: Given) -> list[Path]:
        return compat.file_paths(given[self.several]) if self.several else []

    def read_all(self, given: Given) -> list[tuple[str, Callable[[], Background]]]:
        """What the controls ask for: name and background of each, of which pictures are read one at a time, when they
        are called for. Raises `UserError` where they make no sense."""
        kind = given[self.kind]
        if kind == "picture" and (more := self._more_pictures(given)):
            first = [Path(given[self.picture])] if given[self.picture] else []
            found = find_photos([*first, *more])
            if len(found) > MOST_PICTURES:
                raise UserError(text("problem.too_many", count=len(found), limit=MOST_PICTURES))
            return [(photo.name, lambda photo=photo: _picture(photo.source(), photo.name)) for photo in found]
        if kind == "picture":
            if given[self.picture] is None:
                raise UserError(text("swap.picture_missing"))
            uploaded = Path(given[self.picture])
            wanted = [_picture(uploaded, compat.name_of_picture(uploaded) or text("swap.unnamed"))]
        elif kind == "seed":
            wanted = [Background.parse(f"seed:{seed}") for seed in wanted_seeds(given[self.seed], 1)]
        elif kind == "colour":
            wanted = [Background.parse(colour_as_hex(given[self.colour]))]
        else:
            wanted = [Background.parse(f"blur:{given[self.blur]:g}" if kind == "blur" else "transparent")]
        return [(described(one), lambda one=one: one) for one in wanted]

    def read(self, given: Given) -> Background:
        """As `read_all`, of which there may be one only."""
        [(_, read), *more] = self.read_all(given)
        if more:
            raise UserError(text("problem.one_seed"))
        return read()


def _picture(source: Path | bytes, name: str) -> Background:
    """A picture file as a background, read here: the engine's sentences would name the server's folder."""
    return replace(Background.parse(bytes_of(source)), label=name)


class SpotChoice:
    """Where on a picture the subject stands, or that the result has the class's size. See `BackgroundChoice`."""

    def __init__(self) -> None:
        usual = Spot()
        self.size = segments("swap.size", "size", ("picture", "class"))
        with gr.Column(elem_classes="l4f-tight") as self.frame:
            self.centre = gr.Slider(0, 1, usual.centre, step=0.01, **named("swap.centre"))
            self.height = gr.Slider(0.05, 2, usual.height, step=0.01, **named("swap.height"))
            self.bottom = gr.Slider(0, 2, usual.bottom, step=0.01, **named("swap.bottom"))
            self.flipped = gr.Checkbox(usual.flipped, **named("swap.flipped"))
        self.inputs = [self.size, self.centre, self.bottom, self.height, self.flipped]
        self.outputs = [*self.inputs, self.frame]
        compat.on(self.size.input, self.show_sliders, [self.size], [self.frame])
        self.settled = [compat.settled(control) for control in self.inputs]

    def show_sliders(self, size: str) -> dict:
        """The class's size needs no place."""
        return {self.frame: gr.update(visible=size == "picture")}

    def filled(self, where: Canvas | Spot | None) -> dict:
        size = "picture" if isinstance(where, Spot) else "class"
        placed = vars(where) if isinstance(where, Spot) else {}
        return {self.size: size, **self.show_sliders(size), **{getattr(self, name): placed[name] for name in placed}}

    def read(self, given: Given) -> Spot | None:
        if given[self.size] == "class":
            return None
        return Spot(given[self.centre], given[self.bottom], given[self.height], bool(given[self.flipped]))


class CanvasChoice:
    """The size and the format of the results of photographs, and the margin around their subjects."""

    def __init__(self) -> None:
        with gr.Accordion(text("photos.canvas_section"), open=False, elem_id="l4f_photos_canvas_section"):
            self.size = gr.Textbox("", max_lines=1, placeholder="1600x1600", **named("photos.canvas"))
            self.margin = gr.Slider(0, 40, 100 * MARGIN, step=1, **named("photos.margin"))
            self.jpeg = gr.Checkbox(False, **named("photos.jpeg"))
        self.inputs = [self.size, self.margin, self.jpeg]

    def read(self, given: Given) -> Canvas | None:
        """What the controls ask for; None for the photograph's own size. Raises `UserError` for nonsense."""
        return Canvas.parse(given[self.size], f"{given[self.margin]:g}%") if given[self.size].strip() else None


def described(background: Background) -> str:
    return text(f"background.{background.kind}", label=background.label, seed=background.seed, radius=background.radius)


def colour_as_hex(value: object) -> str:
    """`#rrggbb` for the `rgb(...)` of newer colour pickers; anything else as it is, after a #."""
    written = str(value or "").strip().lower()
    numbers = re.findall(r"\d+(?:\.\d+)?", written) if written.startswith("rgb") else []
    if len(numbers) >= 3:
        return "#" + "".join(f"{min(255, round(float(number))):02x}" for number in numbers[:3])
    return "#" + written.lstrip("#")


class EdgeChoice:
    """How the mask's edge is cut: soft or hard, grown or shrunk, feathered. See `BackgroundChoice` for its parts."""

    KINDS = {"grow": int, "feather": float, "keep_largest": bool, "match_light": float, "keep_shadow": bool}

    def __init__(self, panel: str = "swap", keep_largest: bool = False) -> None:
        with gr.Accordion(text("swap.edge_section"), open=False, elem_id=f"l4f_{panel}_edge_section"):
            self.kind = segments(f"{panel}.edge", "edge", ("soft", "hard"))
            self.threshold = gr.Slider(0.05, 0.95, 0.5, step=0.05, visible=False, **named(f"{panel}.threshold"))
            self.grow = gr.Slider(-16, 16, 0, step=1, **named(f"{panel}.grow"))
            self.feather = gr.Slider(0, 16, 0, step=0.5, **named(f"{panel}.feather"))
            self.keep_largest = gr.Checkbox(keep_largest, **named(f"{panel}.keep_largest"))
            self.match_light = gr.Slider(0, 1, 0, step=0.05, **named(f"{panel}.match_light"))
            self.keep_shadow = gr.Checkbox(False, **named(f"{panel}.keep_shadow"))
        self.inputs = [self.kind, self.threshold, *(getattr(self, name) for name in self.KINDS)]
        compat.on(self.kind.input, self.show_threshold, [self.kind], [self.threshold])
        self.settled = [compat.settled(control) for control in self.inputs]

    def show_threshold(self, kind: str) -> dict:
        """A soft edge needs no threshold."""
        return {self.threshold: gr.update(visible=kind == "hard")}

    def filled(self, edge: EdgeOptions) -> dict:
        hard = edge.threshold is not None
        return {
            self.kind: "hard" if hard else "soft",
            self.threshold: gr.update(visible=hard, value=edge.threshold or 0.5),
            **{getattr(self, name): getattr(edge, name) for name in self.KINDS},
        }

    def read(self, given: Given) -> EdgeOptions:
        """What the controls ask for. Raises `UserError` where they make no sense."""
        threshold = float(given[self.threshold]) if given[self.kind] == "hard" else None
        return EdgeOptions(threshold, **{name: kind(given[getattr(self, name)]) for name, kind in self.KINDS.items()})


class RestoreChoice:
    """A place for one of our PNG files, whose text fills the controls; after `dropped` a panel reads it."""

    def __init__(self, service: Service, panel: str):
        self._service = service
        with gr.Accordion(text("restore.section"), open=False, elem_id=element_id(f"{panel}.restore_section")):
            self.picture = compat.uploaded_image(height=150, **named(f"{panel}.restore"))
            note("restore.note")
        self.dropped = self.picture.upload

    def read(self, picture: str | None, codes: bool = True) -> tuple[Recipe, float, str]:
        """The recipe in the picture, its psi as far as the slider goes, and what was restored, in words.

        Raises `UserError` where there is no recipe, or none that can be drawn here: without `codes` only seeds are.
        """
        recipe = None if picture is None else recipe_of(Path(picture).read_bytes())
        if recipe is None:
            raise UserError(text("restore.none"))
        return self.told(recipe, codes)

    def told(self, recipe: Recipe, codes: bool = True) -> tuple[Recipe, float, str]:
        """As `read`, for a recipe."""
        if not self._service.is_usable(recipe.class_name):
            raise UserError(text("restore.no_class", name=recipe.class_name))
        brushed = " " + text("restore.brushed") if recipe.brushed else ""
        if recipe.w_plus is not None:
            if not codes:
                raise UserError(text("restore.no_seed"))
            return recipe, 1.0, text("restore.done_codes") + brushed
        style = recipe.style
        psi = min(max(style.truncation_psi, 0.0), LARGEST_PSI)
        words = text("restore.done", seed=recipe.seed, psi=style.truncation_psi) + brushed
        if psi != style.truncation_psi or style.truncation_cutoff is not None or style.noise_mode != "random":
            words += " " + text("restore.partly")
        return recipe, psi, words
