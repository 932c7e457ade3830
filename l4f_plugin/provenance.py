"""What files say about themselves: that this program wrote them, and how a picture was drawn.

Every result says that it is ours: pictures by their infotext, W+ codes by a note in their header, archives by their
comment. Whoever writes a result asks here first, since nothing else may be replaced. A link is never ours, whatever it
leads to: it is neither followed nor replaced. Bundles and exported sets are folders with a manifest, see
`bundles.files.replace_bundle` and `datasets.export.begin`.

Infotext is read from files of unknown origin: it is short, checked field by field, and believed in nothing else.
Needs no torch.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from . import __version__
from .arguments import Canvas, EdgeOptions, Spot, Style, check_seed
from .bundles.fields import CLASS_NAME
from .bundles.files import fitted, longest_name
from .errors import UserError
from .images import DESCRIPTION, INFOTEXT_KEY, Source, infotext, open_picture, parse_infotext, read_infotext

SOFTWARE = "software"  # the note of safetensors files
ARCHIVE_COMMENT = f"Labels4Free {__version__}".encode()
W_PLUS_ENDINGS = (".safetensors", ".npz", ".npy", ".pt")
LONGEST_TEXT, LONGEST_LINE, LONGEST_LABEL, LONGEST_CODES = 65_536, 12_288, 300, 8192
LARGEST_CODE = 1e4
MOST_STYLES, MOST_STYLE_VALUES = 64, 4096
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_EBML, _END_OF_ZIP = b"\x1a\x45\xdf\xa3", b"PK\x05\x06"
_LONGEST_HEAD = _LONGEST_TAIL = 1 << 16
_OUR_TEXT = re.compile(r"Labels4Free [^\n]+\n[^\n]*\bVersion: Labels4Free \w[\w.+-]*")
_OUR_LINE = re.compile(r"\bVersion: Labels4Free \w")


# Which files are ours


def own_infotext(title: str, fields: Mapping[str, object]) -> str:
    """The infotext of a file that this program makes, by which it is known again."""
    return infotext(f"Labels4Free {title}", {**fields, "Version": f"Labels4Free {__version__}"})


def sheet_text(kind: str) -> str:
    """The infotext of a picture that shows several, such as samples of a training."""
    return own_infotext(kind, {"Sheet": kind})


def is_ours(path: Path) -> bool:
    """Whether this program wrote the file; False for links, folders and whatever cannot be read."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with open(path, "rb") as file:
            head = file.read(_LONGEST_HEAD)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST_TAIL))
            tail = file.read(_LONGEST_TAIL)
    except (OSError, ValueError):
        return False
    if head.startswith((_PNG, _JPEG)) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        with suppress(Exception), open_picture(path) as picture:  # of one that is damaged nobody can tell
            text = picture.info.get(INFOTEXT_KEY) if picture.format == "PNG" else picture.getexif().get(DESCRIPTION)
            return isinstance(text, str) and _OUR_TEXT.fullmatch(text.strip()) is not None  # a web UI adds lines
        return False
    if head.startswith(_EBML):
        return _OUR_LINE.search(head.decode("latin-1")) is not None
    if head[:2] == b"PK":
        _, end, rest = tail.rpartition(_END_OF_ZIP)
        return bool(end) and rest[18:].startswith(b"Labels4Free ")
    length = int.from_bytes(head[:8], "little")
    try:  # a safetensors file begins with the length of its JSON
        notes = json.loads(head[8 : 8 + length]).get("__metadata__") or {}
        return str(notes.get(SOFTWARE, "")).startswith("Labels4Free ")
    except (ValueError, AttributeError, RecursionError):
        return False


def may_write(path: Path) -> bool:
    """Whether there is nothing of that name, or a file of ours."""
    return not os.path.lexists(path) or is_ours(path)


def check_may_write(path: Path) -> None:
    """Raises `UserError` where `may_write` says no; to be asked before anything is computed, and before writing."""
    if not may_write(path):
        kind = "is a link" if path.is_symlink() else "is a folder" if path.is_dir() else "is not of this program"
        raise UserError(f"{path} {kind} and is left alone; choose another name, or move it away.")


def free_stem(folder: Path, stem: str, endings: Sequence[str], taken: set[str] | None = None) -> str:
    """The stem of files in `folder`, one for each of `endings`, none of which replaces a file that is not ours.

    That is `stem`, shortened where the names would be too long, or else with the first number that is free. `taken`
    are stems that were given away before, in the form in which file systems compare names; the answer is added.
    """
    taken = set() if taken is None else taken
    longest, number = max(endings, key=lambda ending: len(os.fsencode(ending))), 1
    while True:
        wanted = stem if number == 1 else f"{stem}-{number}"
        name = fitted(wanted, longest, longest_name(folder)).removesuffix(longest)
        compared = unicodedata.normalize("NFC", name).casefold()
        if compared not in taken and all(may_write(folder / f"{name}{ending}") for ending in endings):
            taken.add(compared)
            return name
        number += 1


def left_alone(folder: Path, stem: str, endings: Sequence[str], name: str) -> str | None:
    """The sentence that files keep their place and ours are called `name`, None where `stem` was free."""
    names = [fitted(stem, ending, longest_name(folder)) for ending in endings]
    others = [other for other in names if not may_write(folder / other)]
    if not others:
        return None
    return f"{' and '.join(others)} in {folder}: not written by this program and left alone; ours are called {name}."


# How a picture was drawn


@dataclass(frozen=True)
class Recipe:
    """How a picture was drawn, as far as its infotext tells: from a `seed`, or from the codes `w_plus`."""

    class_name: str
    seed: int | None
    style: Style
    background: str | None = None  # label of what was put behind it (see `Background`); None for its own
    edge: EdgeOptions = field(default_factory=EdgeOptions)  # how the mask was edited for that
    where: Canvas | Spot | None = None  # the subject was put; None where it stayed
    w_plus: WPlus | None = None
    brushed: bool = False  # the mask was painted on; what, is not told


def read_recipe(infotext: str | None) -> Recipe | None:
    """The recipe in an infotext of ours, whatever a web UI wrote before or after it; None in any other text.

    Never raises for a text: one that is too long, cut off or out of bounds is not ours.
    """
    fields = _fields(infotext)
    label, cutoff = fields.get("Background"), fields.get("Truncation cutoff")
    try:
        if not CLASS_NAME.fullmatch(fields["Class"]):
            return None
        if label is not None and (len(label) > LONGEST_LABEL or not label.isprintable()):
            return None
        noise_mode = fields.get("Noise", "random")
        w_plus = WPlus.from_fields(fields) if "Codes" in fields else None
        psi = 1.0 if w_plus else _number(fields["Truncation psi"])
        style = Style(psi, None if cutoff is None else _whole(cutoff), noise_mode)
        grow, threshold = fields.get("Grow", "0"), fields.get("Threshold")
        edge = EdgeOptions(
            threshold=None if threshold is None else _number(threshold),
            grow=-_whole(grow[1:]) if grow[:1] == "-" else _whole(grow),
            feather=_number(fields.get("Feather", "0")),
            keep_largest=fields.get("Largest piece only") == "True",
            match_light=_number(fields.get("Light matched", "0")),
            keep_shadow=fields.get("Shadow kept") == "True",
        )
        where = None
        if "Canvas" in fields:
            where = Canvas.parse(fields["Canvas"], fields["Margin"])
        elif "Placed" in fields:
            where = Spot.parse(fields["Placed"], fields.get("Flipped") == "True")
        seed = None if w_plus else check_seed(_whole(fields["Seed"]))
        return Recipe(fields["Class"], seed, style, label, edge, where, w_plus, "Brushed" in fields)
    except (KeyError, ValueError, UserError):
        return None


def recipe_of(source: Source) -> Recipe | None:
    """`read_recipe` of a picture file's header. Raises `UserError` for what is missing, damaged or no picture."""
    return read_recipe(read_infotext(source))


def required_recipe(source: Source, title: str) -> Recipe:
    """The recipe in a picture file. Raises `UserError` that says what can be done where it has none.

    `title` names the class that was asked to segment it.
    """
    infotext = read_infotext(source)
    recipe = read_recipe(infotext)
    if recipe is None:
        if "W plus" in _fields(infotext):
            raise UserError("This picture was drawn from a W+ file, which its text only names; give that file instead.")
        refuse_photograph(title)
    return recipe


def refuse_photograph(title: str) -> NoReturn:
    raise UserError(
        f"{title} has no photo segmenter yet, so only pictures that this plug-in drew and saved as PNG have a mask; "
        "it learns photographs with `l4f learn-photographs` or, on the page, in Models."
    )


def _fields(infotext: str | None) -> dict[str, str]:
    """The fields of the line that this plug-in wrote; none where there is no such line."""
    if isinstance(infotext, str) and len(infotext) <= LONGEST_TEXT:
        # The newest line wins: a web UI that goes on from one of our pictures keeps the old text above the new one.
        for line in reversed(infotext.splitlines()):
            if len(line) <= LONGEST_LINE and _OUR_LINE.search(line):
                return parse_infotext(line)
    return {}


def _whole(written: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", written):
        raise ValueError(written)
    return int(written)


def _number(written: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{0,20})?(e[-+]?[0-9]{1,3})?", written):
        raise ValueError(written)
    return float(written)


# What a picture can be drawn from


@dataclass(frozen=True, eq=False)
class WPlus:
    """Style codes of a subject. Raises `UserError` for codes of another shape, or that are not finite."""

    codes: np.ndarray  # float32 [num_styles, style_dim], already truncated; [1, style_dim] is one style for all layers
    noise_seed: int | None = None  # of the noise maps; without it those stored with the class are used

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
    def fields(self) -> dict[str, object]:
        """What an infotext says of the codes: their digest, and all of them where that is short and loses nothing.

        Subjects that were made by mixing have few styles, each the same over several layers: "Styles" counts the
        layers of each, "Codes" holds them as little-endian float16 in base64 for addresses.
        """
        told: dict[str, object] = {"W plus": self.digest}
        starts = [0, *(1 + np.flatnonzero((self.codes[1:] != self.codes[:-1]).any(axis=1)))]
        with np.errstate(over="ignore"):
            styles = self.codes[starts].astype("<f2")
        written = base64.urlsafe_b64encode(styles.tobytes()).decode()
        if len(written) <= LONGEST_CODES and np.array_equal(styles.astype(np.float32), self.codes[starts]):
            told["Styles"] = " ".join(map(str, np.diff([*starts, len(self.codes)])))
            told["Codes"] = written
            if self.noise_seed is not None:
                told["Noise seed"] = self.noise_seed
        return told

    @classmethod
    def from_fields(cls, told: Mapping[str, str]) -> WPlus:
        """What `fields` told. Raises `KeyError`, `ValueError` or `UserError` for anything that it would not tell."""
        counts = [_whole(count) for count in told["Styles"].split(" ", MOST_STYLES)]
        if not all(counts) or sum(counts) > MOST_STYLES or len(told["Codes"]) > LONGEST_CODES:
            raise ValueError(told["Styles"])
        content = base64.b64decode(told["Codes"], b"-_", validate=True)
        styles = np.frombuffer(content, "<f2").astype(np.float32).reshape(len(counts), -1)
        seed = told.get("Noise seed")
        codes = cls(np.repeat(styles, counts, axis=0), None if seed is None else _whole(seed))
        if codes.digest != told["W plus"]:
            raise ValueError(told["W plus"])
        return codes

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the codes, which infotext names them by."""
        return hashlib.sha256(self.codes.astype("<f4").tobytes()).hexdigest()[:16]
