"""What a labelled set is made of: the settings, the class, and the seeds of every shard. Needs no torch.

Two runs into one folder must agree on all of it: then a shard holds the same pictures whoever draws it, and the same
bytes however often one machine draws it with as many threads.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .. import __version__, arguments
from ..bundles.files import read_json, unreadable
from ..errors import UserError
from ..picture_files import STATE_FOLDER
from .curation import Curation

FORMATS = ("folder", "coco", "yolo", "webdataset", "huggingface")
SPLITS = ("train", "validation", "test")
BACKGROUNDS = ("own", "seeds", "colours", "pictures")
MOST_PICTURES = 10_000_000
LARGEST_SHARD = 10_000
SMALLEST_SIDE = 16
DEFAULT_SHARD, DEFAULT_BATCH = 500, 16
DEFAULT_SPLIT = (0.8, 0.1, 0.1)
PLAN_NAME = "plan.json"
_LARGEST_PLAN = 1 << 20


@dataclass(frozen=True)
class ExportSettings:
    """What a user asks for. Raises `UserError` for what is out of bounds.

    `backgrounds` are kinds to choose from at random: "own" (as drawn), "seeds" (another sample's), "colours" and
    "pictures" (the user's, see `export_backgrounds`). Limits of `curation` that are None are set by the class's own
    pictures when the set begins.
    """

    count: int  # of pictures that are written, those that curation drops not counted
    format: str
    size: int | None = None  # of the longer side in pixels; None keeps the class's own
    truncation_psi: float | None = None
    truncation_cutoff: int | None = None
    noise_mode: str = "random"
    first_seed: int = 0
    split: tuple[float, float, float] = DEFAULT_SPLIT  # shares of train, validation and test, which add up to 1
    backgrounds: tuple[str, ...] = ("own",)
    curation: Curation | None = field(default_factory=Curation)  # None keeps every picture
    shard_size: int = DEFAULT_SHARD  # about so many pictures a crash can cost
    batch_size: int = DEFAULT_BATCH  # pictures drawn at once; a picture's last bit depends on it

    def __post_init__(self) -> None:
        arguments.check_integer("The number of pictures", self.count, 1, MOST_PICTURES)
        if self.format not in FORMATS:
            raise UserError(f"The format must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, not {self.format!s:.40}.")
        if self.size is not None:
            arguments.check_integer("The size", self.size, SMALLEST_SIDE, 1 << 14)
        if self.truncation_psi is not None:
            arguments.check_truncation_psi(self.truncation_psi)
        arguments.check_noise_mode(self.noise_mode)
        arguments.check_seed(self.first_seed)
        arguments.check_integer("The number of pictures in a shard", self.shard_size, 1, LARGEST_SHARD)
        arguments.check_integer("The batch size", self.batch_size, 2, arguments.LARGEST_BATCH)
        if len(self.split) != len(SPLITS):
            raise UserError("The split wants three shares, of train, validation and test, as in 0.8,0.1,0.1.")
        for share in self.split:
            arguments.check_number("A share of the split", share, 0, 1)
        if abs(sum(self.split) - 1) > 1e-6:
            raise UserError(f"The shares of the split add up to {sum(self.split):g}; make that 1, as in 0.8,0.1,0.1.")
        kinds = self.backgrounds
        if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(BACKGROUNDS):
            raise UserError(
                f"The backgrounds {','.join(map(str, kinds))[:60]!r} are not known; name one or more of "
                f"{', '.join(BACKGROUNDS)}, with commas between."
            )

    @property
    def style(self) -> dict[str, Any]:
        """How pictures look, as `Labels4FreePipeline.stream` takes it."""
        return {name: getattr(self, name) for name in ("truncation_psi", "truncation_cutoff", "noise_mode")}

    def command(self, class_name: str) -> str:
        """The command that makes this set again, into a folder DIR."""
        words = [
            f"l4f export {class_name} --count {self.count} --format {self.format}",
            f"--size {self.size}" if self.size is not None else "",
            f"--truncation-psi {self.truncation_psi:g}",
            f"--truncation-cutoff {self.truncation_cutoff}" if self.truncation_cutoff is not None else "",
            f"--noise-mode {self.noise_mode}" if self.noise_mode != "random" else "",
            f"--first-seed {self.first_seed}",
            "--split " + ",".join(f"{share:g}" for share in self.split),
            "--backgrounds " + ",".join(self.backgrounds),
            "--background-pictures FOLDER" if "pictures" in self.backgrounds else "",
            *(self.curation.options() if self.curation else ["--no-curation"]),
            f"--shard-size {self.shard_size} --batch-size {self.batch_size} --out DIR",
        ]
        return " ".join(filter(None, words))


@dataclass(frozen=True)
class ExportedClass:
    name: str
    title: str
    licence: str
    source: str
    fingerprint: str  # tells these weights from others
    picture_size: tuple[int, int]  # (width, height) as the class draws
    alpha_threshold: float


@dataclass(frozen=True)
class ExportPlan:
    """Settings, class and all else that decides on a byte: precision, the user's pictures, the program's version."""

    settings: ExportSettings
    source: ExportedClass
    dtype: str
    pictures: str = ""  # fingerprint of the user's background pictures
    version: str = __version__

    def __post_init__(self) -> None:
        longest = max(self.source.picture_size)
        if self.settings.size is not None and self.settings.size > longest:
            raise UserError(
                f"{self.source.title} draws pictures of {longest} pixels, so the size must be a whole number from "
                f"{SMALLEST_SIDE} to {longest}, not {self.settings.size}."
            )

    @property
    def picture_size(self) -> tuple[int, int]:
        """(width, height) of the exported pictures."""
        width, height = self.source.picture_size
        scale = (self.settings.size or max(width, height)) / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    @property
    def shards(self) -> int:
        return -(-self.settings.count // self.settings.shard_size)

    def quota(self, shard: int) -> int:
        count = self.settings.count
        return count * (shard + 1) // self.shards - count * shard // self.shards

    def candidates(self, shard: int) -> Iterator[int]:
        """The seeds to try for that shard, without end; no other shard tries them."""
        seeds = itertools.count(self.settings.first_seed + shard, self.shards)
        return (seed % (arguments.LARGEST_SEED + 1) for seed in seeds)

    def split_of(self, seed: int) -> str:
        """The split of a seed, whatever else is exported with it: "train", "validation" or "test"."""
        digest = hashlib.sha256(f"split {seed}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        train, validation, _ = self.settings.split
        return SPLITS[0] if place < train else SPLITS[1] if place < train + validation else SPLITS[2]

    @property
    def splits(self) -> list[str]:
        return [name for name, share in zip(SPLITS, self.settings.split, strict=True) if share > 0]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def shares(written: str) -> tuple[float, ...]:
    """The split as people write it: 0.8,0.1,0.1. Raises `UserError` for what is no number."""
    words = [word for word in re.split(r"[,\s]+", written.strip()) if word]
    if not all(re.fullmatch(r"\d*\.?\d+|\d+\.", word) for word in words):
        raise UserError(f"{written[:40]!r} is no split; write three shares as in 0.8,0.1,0.1.")
    return tuple(float(word) for word in words)


def plan_path(folder: Path) -> Path:
    return folder / STATE_FOLDER / PLAN_NAME


def read_plan(folder: Path) -> ExportPlan | None:
    """The plan of the set in `folder`, None where there is none. Raises `UserError` where it is damaged."""
    path = plan_path(folder)
    try:
        data = read_json(path, _LARGEST_PLAN)
        settings = dict(data.pop("settings"))
        curation = settings.pop("curation")
        settings["split"], settings["backgrounds"] = tuple(settings["split"]), tuple(settings["backgrounds"])
        source = dict(data.pop("source"))
        source["picture_size"] = tuple(source["picture_size"])
        chosen = Curation(**curation) if curation else None
        return ExportPlan(ExportSettings(**settings, curation=chosen), ExportedClass(**source), **data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(error, path) from error
    except (ValueError, TypeError, KeyError, AttributeError, UserError) as error:
        raise UserError(f"{path} is damaged; export into another folder.") from error


def check_same(plan: ExportPlan, other: ExportPlan, folder: Path) -> None:
    """Raises `UserError` naming the first thing in which the plan in `folder`, `other`, differs.

    Limits of curation that nobody set may be whatever they are there.
    """
    for mine, theirs in ((plan.settings, other.settings), (plan.source, other.source), (plan, other)):
        for one in fields(mine):
            if one.name in ("settings", "source"):
                continue
            new, old = getattr(mine, one.name), getattr(theirs, one.name)
            if one.name == "curation" and new and old and new.agrees_with(old):
                continue
            if new != old:
                old, new = (", ".join(map(str, value)) if isinstance(value, tuple) else value for value in (old, new))
                raise UserError(
                    f"{folder} holds an export with another {one.name.replace('_', ' ')} ({old!s:.60}, not "
                    f"{new!s:.60}); choose another folder, or the same options to go on with it."
                )
