"""Ways from one subject to others, as style codes `[num_styles, style_dim]` float32. Nothing is drawn here.

Coarse, middle and fine are the layers up to 8 px, from 16 to 32 px and above, as in StyleGAN (Karras et al. 2019),
section 3.1; where a class has too few layers for that, thirds of them. What comes out can be written as float16
without loss, so that the text of a picture holds it, see `WPlus.fields`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .errors import UserError
from .provenance import WPlus

if TYPE_CHECKING:
    from .directions import Directions

PARTS = ("coarse", "middle", "fine")
RANGES = ("all", *PARTS)  # of layers: a direction may act on one of them
LARGEST_STRENGTH = 3.0  # standard deviations that a subject may go along a direction, either way
NEIGHBOURS, NEARNESS = 8, 0.8  # nearness 1 stays with the subject, 0 leads to the others


def layers(name: str, count: int) -> slice:
    bounds = (0, 4, 8, count) if count > 9 else (0, count // 3, 2 * count // 3, count)
    number = RANGES.index(name)
    return slice(0, count) if number == 0 else slice(bounds[number - 1], bounds[number])


def key(name: str, number: int) -> str:
    """The key of a direction restricted to a range, as in `coarse-3`."""
    return f"{name}-{number}"


def parse_key(written: str, count: int) -> tuple[str, int]:
    """What `key` wrote, of `count` directions. Raises `UserError`."""
    name, _, number = written.partition("-")
    if name not in RANGES or number not in map(str, range(count)):
        raise UserError(f"{written!s:.40} is no direction; use coarse-0 or another that is listed.")
    return name, int(number)


@dataclass(frozen=True, eq=False)
class Look:
    """A subject and how far it has been moved from there."""

    base: WPlus  # its codes without truncation
    variety: float  # the truncation psi, where 0 is the mean subject
    strengths: Mapping[str, float] = field(default_factory=dict)  # standard deviations, by keys as in `coarse-3`

    @classmethod
    def at(cls, codes: WPlus, variety: float, centre: np.ndarray) -> Look:
        """The look that is `codes` as they are, with that variety, so that more or less of it may follow."""
        if abs(variety) < 0.1:  # too near to the mean to be told from it
            return cls(codes, 1.0)
        return cls(WPlus(centre + (codes.codes - centre) / np.float32(variety), codes.noise_seed), variety)

    def codes(self, directions: Directions, centre: np.ndarray) -> WPlus:
        """Its style codes; `centre [style_dim]` is the mean style of the class."""
        codes = centre + np.float32(self.variety) * (self.base.codes - centre)
        for written, strength in self.strengths.items():
            name, number = parse_key(written, len(directions))
            step = strength * directions.deviations[number] * directions.components[number]
            codes[layers(name, len(codes))] += step
        return storable(codes, self.base.noise_seed)


def storable(codes: np.ndarray, noise_seed: int | None) -> WPlus:
    return WPlus(codes.astype(np.float16).astype(np.float32), noise_seed)


def mixed(coarse: WPlus, middle: WPlus, fine: WPlus) -> WPlus:
    """The styles of up to three subjects in one; its fine noise is that of the `fine` one."""
    codes = fine.codes.copy()
    for part, subject in zip(PARTS, (coarse, middle, fine), strict=True):
        where = layers(part, len(codes))
        codes[where] = subject.codes[where]
    return storable(codes, fine.noise_seed)


def mixes(subjects: Sequence[WPlus]) -> list[tuple[tuple[int, int, int], WPlus]]:
    """Every mix of two or three subjects that is none of them, with who gave coarse, middle and fine styles."""
    if not 2 <= len(subjects) <= 3:
        raise UserError("Two or three subjects are mixed; choose as many.")
    chosen = [who for who in product(range(len(subjects)), repeat=3) if len(set(who)) > 1]
    return [(who, mixed(*(subjects[number] for number in who))) for who in chosen]


def between(first: WPlus, second: WPlus, share: float) -> WPlus:
    """On the straight way from the first (0) to the second (1), with the noise of the first but at its end."""
    codes = first.codes + np.float32(share) * (second.codes - first.codes)
    return storable(codes if share < 1 else second.codes, (first if share < 1 else second).noise_seed)


def neighbours(codes: WPlus, others: Sequence[WPlus], centre: np.ndarray) -> list[WPlus]:
    """The subject turned towards each of the others about the `centre`, and about as far from it as before.

    Others are as varied as the subject.
    """
    share = np.float32(NEARNESS), np.float32(np.sqrt(1 - NEARNESS**2))
    moved = (share[0] * (codes.codes - centre) + share[1] * (other.codes - centre) for other in others)
    return [storable(centre + offset, codes.noise_seed) for offset in moved]
