"""What a user may ask for, checked once: bounds, seeds as people write them, backgrounds. Needs no torch.

Every function raises `UserError` with one sentence for what is out of bounds.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageColor

from .errors import UserError
from .images import first_frame_only, load_picture

LARGEST_SEED = 2**32 - 1
MOST_PICTURES = 10_000
LARGEST_BATCH = 256
LARGEST_PSI = 2.0
LARGEST_RADIUS = 128
SMALLEST_CANVAS, LARGEST_CANVAS = 16, 6000  # pixels of a side
MARGIN, LARGEST_MARGIN = 0.08, 0.45
PROJECTION_STEPS = 200  # of gradient descent, where nothing else is said
ENLARGED = (1, 2, 4)  # times the size at which a class draws
NOISE_MODES = ("random", "stored", "none")
_KINDS = "use seed:7, a picture file, a colour as #3366ff or white, blur:8 or transparent"


def draw_seed() -> int:
    return secrets.randbelow(LARGEST_SEED + 1)


def parse_seeds(written: str) -> list[int]:
    """Seeds as in `0-7,12`: numbers and ranges parted by commas or spaces, 1 to 10,000 in all; -1 draws one."""
    words = re.split(r"[,\s]+", written.strip().strip(","))
    seeds: list[int] = []
    for word in words:
        match = re.fullmatch(r"(\d{1,12})(?:-(\d{1,12}))?|-1", word)
        if match is None:
            raise UserError(f"{word[:40]!r} is not a seed; write numbers and ranges as in 0-7,12, or -1 to draw one.")
        if word == "-1":
            seeds.append(draw_seed())
            continue
        first = check_seed(int(match[1]))
        last = check_seed(int(match[2] or match[1]))
        if last < first:
            raise UserError(f"The range of seeds {word[:40]} is empty; write the smaller number first.")
        check_integer("The number of pictures", len(seeds) + last - first + 1, 1, MOST_PICTURES)
        seeds += range(first, last + 1)
    return check_seeds(seeds)


def check_seed(seed: Any) -> int:
    """A whole number from 0 to 2**32 - 1."""
    return check_integer("A seed", seed, 0, LARGEST_SEED)


def check_seeds(seeds: Iterable[Any]) -> list[int]:
    """1 to 10,000 seeds."""
    checked = [check_seed(seed) for seed in seeds]
    check_integer("The number of pictures", len(checked), 1, MOST_PICTURES)
    return checked


def check_truncation_psi(psi: Any) -> float:
    """A finite number in [-2, 2]."""
    return check_number("Truncation psi", psi, -LARGEST_PSI, LARGEST_PSI)


def check_noise_mode(mode: Any) -> str:
    """One of "random", "stored", "none"."""
    if mode not in NOISE_MODES:
        raise UserError(f"The noise mode must be random, stored or none, not {str(mode)[:40]}.")
    return mode


def check_integer(name: str, value: Any, least: int, most: int) -> int:
    """A whole number in [least, most]; numpy's integers are welcome, True and 1.5 are not."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)
    if not whole or not least <= value <= most:
        raise UserError(f"{name} must be a whole number from {least} to {most}, not {value}.")
    return int(value)


def check_number(name: str, value: Any, least: float, most: float) -> float:
    """A finite number in [least, most]."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    if not number or not math.isfinite(value) or not least <= value <= most:
        raise UserError(f"{name} must be a number from {least:g} to {most:g}, not {value}.")
    return float(value)


@dataclass(frozen=True)
class Style:
    """What, besides the seed, decides how a picture looks. See `Labels4FreePipeline.stream`."""

    truncation_psi: float
    truncation_cutoff: int | None = None
    noise_mode: str = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "truncation_psi", check_truncation_psi(self.truncation_psi))
        check_noise_mode(self.noise_mode)


@dataclass(frozen=True)
class EdgeOptions:
    """How a mask is edited, see `compositing.edit_alpha`, and its subject fitted to what is behind it."""

    threshold: float | None = None  # in [0, 1] makes the mask hard, None keeps it soft
    grow: int = 0  # pixels from -128 to 128; negative shrinks
    feather: float = 0.0  # pixels from 0 to 128
    keep_largest: bool = False  # drops all but the largest piece
    match_light: float = 0.0  # in [0, 1]: how far the subject takes on light and colour, see `matting.match_light`
    keep_shadow: bool = False  # its shadow on a plain surface falls on the background, see `matting.shadow`

    def __post_init__(self) -> None:
        check_number("How far light is matched", self.match_light, 0, 1)
        if self.threshold is not None:
            check_number("The threshold", self.threshold, 0, 1)
        check_integer("The number of pixels to grow by", self.grow, -LARGEST_RADIUS, LARGEST_RADIUS)
        check_number("The feather radius", self.feather, 0, LARGEST_RADIUS)


Box = tuple[float, float, float, float]  # left, top, right and bottom in pixels


@dataclass(frozen=True)
class Canvas:
    """A picture of `width` x `height` pixels, 16 to 6000 each, with the subject in its middle and as large as fits."""

    width: int
    height: int
    margin: float = MARGIN  # left free on all four sides: a share of the shorter one, from 0 to 0.45
    around: Box | None = None  # the part of the subject's picture that is fitted, None the box of its mask
    flipped: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            check_integer(f"The canvas's {name}", getattr(self, name), SMALLEST_CANVAS, LARGEST_CANVAS)
        check_number("The margin", self.margin, 0, LARGEST_MARGIN)

    @classmethod
    def parse(cls, size: str, margin: str | float = MARGIN) -> Canvas:
        """Reads a size as in `1600x1600` and a margin as in `8%` or `0.08`."""
        sides = re.fullmatch(r"(\d{1,6})\s*[x×]\s*(\d{1,6})", size.strip().lower())
        if sides is None:
            raise UserError(f"{size[:40]!r} is not the size of a canvas; write for example 1600x1600.")
        written = re.fullmatch(r"(\d{1,3}(?:\.\d{0,9})?)\s*(%?)", str(margin).strip())
        if written is None:
            raise UserError(f"{str(margin)[:40]!r} is not a margin; write for example 8% or 0.08.")
        share = float(written[1]) / (100 if written[2] else 1)
        if share > LARGEST_MARGIN:
            raise UserError(f"A margin is at most {LARGEST_MARGIN:.0%}, not {100 * share:g}%.")
        return cls(int(sides[1]), int(sides[2]), share)

    @property
    def fields(self) -> dict[str, object]:
        """How the infotext names it."""
        return {"Canvas": f"{self.width}x{self.height}", "Margin": f"{100 * self.margin:.6g}%"}

    def size(self, picture: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the result, whatever the `picture` behind it has."""
        return self.width, self.height

    def fit(self, box: Box, size: tuple[int, int]) -> tuple[float, float, float]:
        """Left, top and scale at which the `box` of a subject goes into a result of that `size`."""
        left, top, right, bottom = self.around or box
        free = 2 * self.margin * min(size)
        scale = min((size[0] - free) / (right - left), (size[1] - free) / (bottom - top))
        return size[0] / 2 - scale * (left + right) / 2, size[1] / 2 - scale * (top + bottom) / 2, scale


@dataclass(frozen=True)
class Spot:
    """Where on a background picture the subject stands, in shares of that picture's width or height.

    The result has the size of the background picture; before anything else than a picture, that of the subject.
    """

    centre: float = 0.5  # middle of the subject's mask, from 0 (left) to 1 (right)
    bottom: float = 1.0  # its lower end, from 0 (top) to 2 (as much below the picture)
    height: float = 0.67  # its own, from 0.05 to 2
    flipped: bool = False  # mirrors it

    def __post_init__(self) -> None:
        check_number("The place of the subject's middle", self.centre, 0, 1)
        check_number("The place of the subject's lower end", self.bottom, 0, 2)
        check_number("The height of the subject", self.height, 0.05, 2)

    @classmethod
    def parse(cls, written: str, flipped: bool = False) -> Spot:
        """Reads centre, bottom and height as in `0.5,1.0,0.67`."""
        numbers = re.fullmatch(r"\s*,\s*".join([r"(\d{1,3}(?:\.\d{0,9})?)"] * 3), written.strip())
        if numbers is None:
            raise UserError(f"{written[:40]!r} is no place; write centre, bottom and height as in 0.5,1.0,0.67.")
        return cls(*map(float, numbers.groups()), flipped)

    @property
    def fields(self) -> dict[str, object]:
        """How the infotext names it."""
        placed = f"{self.centre:.6g},{self.bottom:.6g},{self.height:.6g}"
        return {"Placed": placed, **({"Flipped": True} if self.flipped else {})}

    def size(self, picture: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the result: those of the `picture` behind it."""
        return picture

    def fit(self, box: Box, size: tuple[int, int]) -> tuple[float, float, float]:
        """See `Canvas.fit`."""
        left, top, right, bottom = box
        scale = self.height * size[1] / (bottom - top)
        return self.centre * size[0] - scale * (left + right) / 2, self.bottom * size[1] - scale * bottom, scale


def wanted_spot(placed: str | None, flipped: bool, class_size: bool, onto_picture: bool) -> Spot | None:
    """Where a drawn subject goes: as `placed` says, by itself `Spot()` on a picture, None for the class's own size."""
    if class_size and (placed or flipped):
        raise UserError("A subject is placed and flipped, or it has the class's size; choose one of the two.")
    if placed:
        return Spot.parse(placed, flipped)
    if onto_picture and not class_size:
        return Spot(flipped=flipped)
    if flipped:
        raise UserError("Only a subject that is placed can be flipped; say where, as in 0.5,1.0,0.67.")
    return None


@dataclass(frozen=True, eq=False)
class Background:
    """What to put behind a subject; `kind` says which of the others counts, or is "transparent"."""

    kind: str
    label: str  # how the infotext names it
    seed: int = 0  # whose sample's background it is
    picture: np.ndarray | None = None  # uint8 RGB [H, W, 3], cropped to cover
    colour: tuple[int, int, int] = (0, 0, 0)  # 0..255
    radius: float = 0.0  # "blur": of the subject's own background, in pixels
    note: str | None = None  # a sentence about what a person would not expect

    @classmethod
    def parse(
        cls, wanted: str | Path | bytes | np.ndarray | Image.Image | Background, *, files: bool = True
    ) -> Background:
        """Reads `seed:7`, `#rrggbb`, a colour by its name in CSS, `blur:8`, `transparent`, or else takes a picture: a
        file, its bytes, a PIL image or a uint8 array. `seed:-1` draws a seed.

        Text that comes over a network must not name files here: give `files=False` for it.
        """
        if isinstance(wanted, Background):
            return wanted
        if not isinstance(wanted, str):
            return cls._from_picture(wanted)
        text = wanted.strip()
        if text.lower() == "transparent":
            return cls("transparent", "transparent")
        if text.startswith("#"):
            digits = "".join(2 * digit for digit in text[1:]) if len(text) == 4 else text[1:]
            if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
                raise UserError(f"{text[:40]} is not a colour; write six hexadecimal digits as in #3366ff.")
            return cls("colour", f"#{digits.lower()}", colour=tuple(bytes.fromhex(digits)))
        if text.lower() in ImageColor.colormap:
            return cls.parse("#" + bytes(ImageColor.getrgb(text)).hex())
        kind, _, value = text.partition(":")
        if kind == "seed":
            if not re.fullmatch(r"-1|\d{1,12}", value):
                raise UserError(f"The background {text[:40]!r} names no seed; write for example seed:7.")
            seed = draw_seed() if value == "-1" else check_seed(int(value))
            return cls("seed", f"seed:{seed}", seed=seed)
        if kind == "blur":
            if not re.fullmatch(r"\d{1,6}(\.\d{0,6})?", value):
                raise UserError(f"The background {text[:40]!r} names no radius; write for example blur:8.")
            radius = check_number("The blur radius", float(value), 0, LARGEST_RADIUS)
            return cls("blur", f"blur:{radius:g}", radius=radius)
        if not text:
            raise UserError(f"No background is given; {_KINDS}.")
        if not files or not os.path.isfile(text):  # os.path, as it answers for names that no system takes too
            file = ", and no file has that name" if files else ""
            raise UserError(f"The background {text[:200]!r} is not known{file}; {_KINDS}.")
        return cls._from_picture(Path(text))

    @classmethod
    def _from_picture(cls, picture: Path | bytes | np.ndarray | Image.Image) -> Background:
        label = picture.name if isinstance(picture, Path) else "picture"
        label = label.encode("utf-8", "replace").decode()  # names of files may be no text
        if isinstance(picture, np.ndarray):
            if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
                raise UserError("A background array must be uint8 [H, W, 3].")
            picture = Image.fromarray(picture)
        note = first_frame_only(picture, f"The background {label}")
        return cls("picture", label, picture=load_picture(picture), note=note)
