"""Whether a photograph looks like the pictures of a class: what a bundle keeps of the class's own, to compare with."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

LIMIT = 0.33
"""A photograph of less confidence does not look like the class.

Photographs of a class look more real to its discriminator than most pictures that the class draws.
"""
DOUBT_WEIGHT = 0.4


@dataclass(frozen=True)
class Likeness:
    """Mean and standard deviation of two figures over pictures that the class draws, see `photos.py`.

    `verdict` is the logit of the class's discriminator, `doubt` how undecided the photo segmenter's mask is.
    """

    verdict_mean: float
    verdict_deviation: float
    doubt_mean: float
    doubt_deviation: float

    @classmethod
    def parse(cls, data: Any) -> Likeness | None:
        """From the decoded JSON of `config.json`; None where nothing is kept. ValueError for anything else."""
        if data is None:
            return None
        try:
            kept = cls(**{name: float(value) for name, value in data.items() if name in cls.__dataclass_fields__})
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"'likeness' must hold {', '.join(cls.__dataclass_fields__)}") from error
        if not all(map(math.isfinite, asdict(kept).values())) or min(kept.verdict_deviation, kept.doubt_deviation) <= 0:
            raise ValueError("'likeness' must hold finite numbers, and deviations above 0")
        return kept

    def confidence(self, verdict: float, doubt: float) -> float:
        """About the share, in [0, 1], of the class's own pictures that look less like it than this one."""
        strange = (self.verdict_mean - verdict) / self.verdict_deviation
        strange += DOUBT_WEIGHT * (doubt - self.doubt_mean) / self.doubt_deviation
        return math.erfc(strange / math.sqrt(2 * (1 + DOUBT_WEIGHT**2))) / 2


def is_strange(confidence: float | None) -> bool:
    """Whether a photograph does not look like the class; False where nobody judged."""
    return confidence is not None and confidence < LIMIT


def stranger(title: str, confidence: float | None) -> str | None:
    """A sentence for a photograph that does not look like the class, None for one that does or that nobody judged."""
    if not is_strange(confidence):
        return None
    return f"This does not look like {title} (confidence {confidence:.2f}): the mask may mean nothing."
