"""Whether a photograph looks like the pictures of a class: what a bundle keeps of the class's own, to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import fields

# A photograph of less confidence does not look like the class: photographs of a class look more real to its
# discriminator than most pictures that the class draws.
LIMIT = 0.33
DOUBT_WEIGHT = 0.4


@dataclass(frozen=True)
class Likeness:
    """Mean and standard deviation of two figures over pictures that the class draws, see `photos.py`."""

    verdict_mean: float  # the logit of the class's discriminator
    verdict_deviation: float
    doubt_mean: float  # how undecided the photo segmenter's mask is
    doubt_deviation: float

    @classmethod
    def parse(cls, data: fields.Fields, name: str) -> Likeness:
        """From the decoded JSON of `config.json`. Raises `Invalid`."""
        kept = fields.table(data, name)
        try:
            least = {"verdict_deviation": 1e-9, "doubt_deviation": 1e-9}
            return cls(**{part: fields.number(kept, part, least.get(part, -1e9), 1e9) for part in cls.__annotations__})
        except fields.Invalid as error:
            raise fields.Invalid(f"of '{name}' {error}") from error

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
    if round(confidence, 2) == 0:
        return f"No subject like {title} was found (confidence 0): the mask may mean nothing."
    return f"This does not look like {title} (confidence {confidence:.2f}): the mask may mean nothing."
