"""Which masks are good enough to learn from: measures of a mask, and bounds on them. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import compositing
from ..arguments import check_number

TOO_SMALL, TOO_LARGE, UNCERTAIN, IN_PIECES = "too small", "too large", "uncertain", "in pieces"
REASONS = (TOO_SMALL, TOO_LARGE, UNCERTAIN, IN_PIECES)


@dataclass(frozen=True)
class MaskMeasures:
    """`area` and `soft_area` in pixels, of the hard and of the soft mask; `share` is `area` by all pixels.

    `box` (left, top, width, height) in pixels holds the hard mask, four zeros where that is empty. `uncertainty`, 0 to
    1, is the sum of min(a, 1 - a) by the mask's mass: 0 for a hard mask, 1 for one that nowhere reaches .5.
    `largest_piece` is the share of the hard mask in its largest 8-connected piece.
    """

    area: int
    soft_area: float
    share: float
    box: tuple[int, int, int, int]
    uncertainty: float
    largest_piece: float


@dataclass(frozen=True)
class Curation:
    """Bounds on a mask, see `MaskMeasures`: shares of the picture, uncertainty, share of the largest piece."""

    min_area: float = 0.02
    max_area: float = 0.85
    max_uncertainty: float = 0.2
    min_largest_piece: float = 0.9

    def __post_init__(self) -> None:
        check_number("The smallest area", self.min_area, 0, 1)
        check_number("The largest area", self.max_area, self.min_area, 1)
        check_number("The largest uncertainty", self.max_uncertainty, 0, 1)
        check_number("The smallest share of the largest piece", self.min_largest_piece, 0, 1)

    def reason_to_drop(self, mask: MaskMeasures) -> str | None:
        """One of `REASONS`, None for a mask to keep."""
        if mask.share < self.min_area:
            return TOO_SMALL
        if mask.share > self.max_area:
            return TOO_LARGE
        if mask.uncertainty > self.max_uncertainty:
            return UNCERTAIN
        return IN_PIECES if mask.largest_piece < self.min_largest_piece else None

    def options(self) -> list[str]:
        """As the command line takes them."""
        return [f"--{name.replace('_', '-')} {value:g}" for name, value in vars(self).items()]


def hard_mask(alpha: np.ndarray, threshold: float) -> np.ndarray:
    """Boolean `[H, W]`: where `alpha` is above the class's threshold."""
    return alpha > threshold


def measure(alpha: np.ndarray, hard: np.ndarray) -> MaskMeasures:
    """Measures a mask, `alpha` float32 `[H, W]` in [0, 1] and its `hard` form."""
    area, mass = int(hard.sum()), float(alpha.sum(dtype=np.float64))
    doubt = float(np.minimum(alpha, 1 - alpha).sum(dtype=np.float64))
    largest = 0.0
    if area:
        largest = np.count_nonzero(compositing.largest_component(hard.astype(np.float32))) / area
    return MaskMeasures(area, mass, area / hard.size, box_of(hard), doubt / mass if mass else 0.0, largest)


def box_of(hard: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a boolean mask; four zeros where it is empty."""
    rows, columns = np.flatnonzero(hard.any(axis=1)), np.flatnonzero(hard.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
