"""Where a picture comes from: what its infotext says about how it was drawn, and codes that draw one again.

Infotext is read from files of unknown origin: it is short, checked field by field, and believed in nothing else.
Needs no torch.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from . import __version__
from .arguments import EdgeOptions, Style, check_seed
from .errors import UserError
from .images import Source, parse_infotext, read_infotext
from .own_files import SOFTWARE

LONGEST_TEXT = 65_536
LONGEST_LINE = 4096
LONGEST_LABEL = 300
LARGEST_CODE = 1e4
W_PLUS_ENDINGS = (".safetensors", ".npz", ".npy", ".pt")
MOST_STYLES, MOST_STYLE_VALUES = 64, 4096
_OURS = re.compile(r"\bVersion: Labels4Free \w")
_CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Recipe:
    """How a picture was drawn, as far as its infotext tells.

    `background` is the label of the background that was put behind it (see `Background`), None where the picture
    has its own; `edge` is how the mask was edited for that.
    """

    class_name: str
    seed: int
    style: Style
    background: str | None = None
    edge: EdgeOptions = field(default_factory=EdgeOptions)


@dataclass(frozen=True, eq=False)
class WPlus:
    """Style codes `[num_styles, style_dim]` float32, already truncated, and the seed of the noise maps.

    `[1, style_dim]` is one style for all layers.
    Without a `noise_seed` the maps stored with the class are used. Raises `UserError` for codes of another shape,
    or that are not finite.
    """

    codes: np.ndarray
    noise_seed: int | None = None

    def __post_init__(self) -> None:
        codes = self.codes
        if not isinstance(codes, np.ndarray) or codes.dtype.kind != "f" or codes.ndim != 2:
            raise UserError("W+ codes must be floating-point numbers [num_styles, style_dim].")
        if not (0 < codes.shape[0] <= MOST_STYLES and 0 < codes.shape[1] <= MOST_STYLE_VALUES):
            raise UserError(f"W+ codes of shape {list(codes.shape)} fit no object class.")
        if not np.isfinite(codes).all() or np.abs(codes).max() > LARGEST_CODE:
            raise UserError(f"W+ codes must be finite and within {LARGEST_CODE:g}.")
        if self.noise_seed is not None:
            check_seed(self.noise_seed)
        object.__setattr__(self, "codes", np.ascontiguousarray(codes, np.float32))

    @classmethod
    def load(cls, path: str | Path) -> WPlus:
        """Reads what `save` wrote, or a projector of NVIDIA's or rosinality's; see `w_plus_files`.

        Raises `UserError` for anything else.
        """
        from .convert.w_plus_files import read_w_plus

        codes, notes = read_w_plus(Path(path))
        noise_seed = notes.get("noise_seed")
        try:
            return cls(codes, None if noise_seed is None else _whole(noise_seed))
        except ValueError:
            raise UserError(f"{Path(path).name} names no seed of its noise; save the W+ codes again.") from None

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file, in one step. Raises `UserError` where the system refuses."""
        from .convert.w_plus_files import save_w_plus

        notes = {} if self.noise_seed is None else {"noise_seed": str(self.noise_seed)}
        save_w_plus(Path(path), self.codes, notes | {SOFTWARE: f"Labels4Free {__version__}"})

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the codes, which infotext names them by."""
        return hashlib.sha256(self.codes.astype("<f4").tobytes()).hexdigest()[:16]


def read_recipe(infotext: str | None) -> Recipe | None:
    """The recipe in an infotext of ours, whatever a web UI wrote before or after it; None in any other text.

    Never raises for a text: one that is too long, cut off or out of bounds is not ours.
    """
    fields = _fields(infotext)
    if fields is None:
        return None
    try:
        if not _CLASS_NAME.fullmatch(fields["Class"]):
            return None
        cutoff = fields.get("Truncation cutoff")
        return Recipe(
            class_name=fields["Class"],
            seed=check_seed(_whole(fields["Seed"])),
            style=Style(
                _number(fields["Truncation psi"]),
                None if cutoff is None else _whole(cutoff),
                fields.get("Noise", "random"),
            ),
            background=_label(fields.get("Background")),
            edge=_edge(fields),
        )
    except (KeyError, ValueError, UserError):
        return None


def recipe_of(source: Source) -> Recipe | None:
    """The recipe in a picture file, None where it has none of ours.

    Only the header is read. Raises `UserError` for what is missing, damaged or no picture.
    """
    return read_recipe(read_infotext(source))


def required_recipe(source: Source, title: str) -> Recipe:
    """The recipe in a picture file. Raises `UserError` that says what can be done where it has none.

    `title` names the class that was asked to segment it.
    """
    infotext = read_infotext(source)
    recipe = read_recipe(infotext)
    if recipe is None:
        if "W plus" in (_fields(infotext) or {}):
            raise UserError("This picture was drawn from a W+ file, which its text only names; give that file instead.")
        refuse_photograph(title)
    return recipe


def refuse_photograph(title: str) -> NoReturn:
    """Raises the `UserError` for pictures that no object class drew."""
    raise UserError(
        f"{title} has no photo segmenter yet, so only pictures that this plug-in drew and saved as PNG have a mask; "
        "it learns photographs with `l4f learn-photographs` or, on the page, in Models."
    )


def _fields(infotext: str | None) -> dict[str, str] | None:
    """The fields of the line that this plug-in wrote, None where there is no such line."""
    if not isinstance(infotext, str) or len(infotext) > LONGEST_TEXT:
        return None
    # The newest line wins: a web UI that goes on from one of our pictures keeps the old text above the new one.
    for line in reversed(infotext.splitlines()):
        if len(line) <= LONGEST_LINE and _OURS.search(line):
            return parse_infotext(line)
    return None


def _whole(written: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", written):
        raise ValueError(written)
    return int(written)


def _number(written: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{0,20})?(e[-+]?[0-9]{1,3})?", written):
        raise ValueError(written)
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(written)
    return value


def _label(written: str | None) -> str | None:
    if written is not None and (len(written) > LONGEST_LABEL or not written.isprintable()):
        raise ValueError(written)
    return written


def _edge(fields: dict[str, str]) -> EdgeOptions:
    threshold, grow = fields.get("Threshold"), fields.get("Grow", "0")
    return EdgeOptions(
        threshold=None if threshold is None else _number(threshold),
        grow=-_whole(grow[1:]) if grow[:1] == "-" else _whole(grow),
        feather=_number(fields.get("Feather", "0")),
        keep_largest=fields.get("Largest piece only") == "True",
    )
