"""Which masks are good enough to learn from: measures of a mask, and limits on them. Arrays only.

A limit that nobody sets follows from the class itself: how large its subjects are, how soft their edges, and into how
many pieces they fall differs between classes, and a picture that is far outside of what is usual in its own class
says more about the network that made the mask. "Far outside" is `FAR` times the distance between the quartiles beyond
them (Tukey 1977): of areas on a logit scale, of uncertainty on a logarithmic one, of what lies apart on a plain one.

Measured on the shipped class `avatar` with 64 pictures to set the limits and 400 to try them: 0.5 % are dropped at psi
0.7, 1.5 % at psi 1.0 and 2.0 % at psi 1.3. At psi 1.0 the masks that are dropped agree with the class's photo
segmenter to a mean IoU of .911, those that are kept to .949. Of 400 exact masks of the drawn sets (tools/avatar), which
should all be kept, 7 of avatars are dropped, 5 of avatars at 1.3 of their size, none at .55, and none of the robots,
which stand up to three in a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .. import compositing
from ..arguments import check_number

TOO_SMALL, TOO_LARGE, UNCERTAIN, IN_PIECES = "too small", "too large", "uncertain", "in pieces"
REASONS = (TOO_SMALL, TOO_LARGE, UNCERTAIN, IN_PIECES)

FAR = 3.0
LEAST_SPREAD = 0.1  # between the quartiles of a logit or a logarithm: a class that hardly varies may vary a little
SPECKS = 0.03  # of a mask that may lie apart in any class


@dataclass(frozen=True)
class MaskMeasures:
    """Of a soft mask and its hard form.

    `uncertainty`, 0 to 1, is the sum of min(a, 1 - a) by the mask's mass: 0 for a hard mask, 1 for one that nowhere
    reaches .5.
    """

    area: int  # of the hard mask, in pixels
    soft_area: float  # of the soft one
    share: float  # of all pixels that `area` is
    box: tuple[int, int, int, int]  # left, top, width, height of the hard mask in pixels; four zeros where it is empty
    uncertainty: float
    largest_piece: float  # share of the hard mask in its largest 8-connected piece


@dataclass(frozen=True)
class Curation:
    """Limits on a mask, see `MaskMeasures`: shares of the picture, uncertainty, share of the largest piece.

    A limit of None drops nothing until `completed` puts a number in its place.
    """

    min_area: float | None = None
    max_area: float | None = None
    max_uncertainty: float | None = None
    min_largest_piece: float | None = None

    def __post_init__(self) -> None:
        for said, value, least in (
            ("smallest area", self.min_area, 0),
            ("largest area", self.max_area, self.min_area or 0),
            ("largest uncertainty", self.max_uncertainty, 0),
            ("smallest share of the largest piece", self.min_largest_piece, 0),
        ):
            if value is not None:
                check_number(f"The {said}", value, least, 1)

    @property
    def is_complete(self) -> bool:
        return None not in asdict(self).values()

    def completed(self, masks: Sequence[MaskMeasures]) -> Curation:
        """With numbers for the limits that are None, from `masks` of the class."""
        usual = [mask for mask in masks if ANY_CLASS.reason_to_drop(mask) is None]
        found = asdict(ANY_CLASS)
        if usual:
            shares = np.array([mask.share for mask in usual])
            lowest, highest = _fences(np.log(shares / (1 - shares)), LEAST_SPREAD)
            doubts = np.log([max(mask.uncertainty, 1e-3) for mask in usual])
            apart = np.array([1 - mask.largest_piece for mask in usual])
            found["min_area"] = max(found["min_area"], 1 / (1 + np.exp(-lowest)))
            found["max_area"] = min(found["max_area"], 1 / (1 + np.exp(-highest)))
            found["max_uncertainty"] = min(found["max_uncertainty"], np.exp(_fences(doubts, LEAST_SPREAD)[1]))
            found["min_largest_piece"] = max(1 - max(_fences(apart, 0)[1], SPECKS), 0)
        own = {name: round(float(value), 3) for name, value in found.items()}
        return Curation(**{name: own[name] if value is None else value for name, value in asdict(self).items()})

    def agrees_with(self, other: Curation) -> bool:
        """Whether `other` has the same limits wherever this one has numbers."""
        return all(value in (None, getattr(other, name)) for name, value in asdict(self).items())

    def reason_to_drop(self, mask: MaskMeasures) -> str | None:
        """One of `REASONS`, None for a mask to keep."""
        for reason, value, lowest, highest in (
            (TOO_SMALL, mask.share, self.min_area, None),
            (TOO_LARGE, mask.share, None, self.max_area),
            (UNCERTAIN, mask.uncertainty, None, self.max_uncertainty),
            (IN_PIECES, mask.largest_piece, self.min_largest_piece, None),
        ):
            if (lowest is not None and value < lowest) or (highest is not None and value > highest):
                return reason
        return None

    def options(self) -> list[str]:
        """As the command line takes them."""
        return [f"--{name.replace('_', '-')} {value:g}" for name, value in asdict(self).items() if value is not None]


ANY_CLASS = Curation(0.001, 0.999, 0.5, 0.0)  # no class needs masks of nothing, of everything, or half of doubt


def _fences(values: np.ndarray, least_spread: float) -> tuple[float, float]:
    low, high = np.quantile(values, [0.25, 0.75])
    reach = FAR * max(high - low, least_spread)
    return low - reach, high + reach


def measure(alpha: np.ndarray, hard: np.ndarray) -> MaskMeasures:
    """Measures a mask, `alpha` float32 `[H, W]` in [0, 1] and its `hard` form, boolean."""
    area, mass = int(hard.sum()), float(alpha.sum(dtype=np.float64))
    doubt = float(np.minimum(alpha, 1 - alpha).sum(dtype=np.float64))
    largest = 0.0
    if area:
        largest = np.count_nonzero(compositing.largest_piece(hard.astype(np.float32))[0]) / area
    left, top, right, bottom = compositing.mask_box(hard) or (0, 0, 0, 0)
    box = left, top, right - left, bottom - top
    return MaskMeasures(area, mass, area / hard.size, box, doubt / mass if mass else 0.0, largest)
