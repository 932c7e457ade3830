"""Run-length encoding of masks as the COCO format has it."""

from __future__ import annotations

import numpy as np


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a boolean `[H, W]`, column by column; the first run, maybe of length 0, is background."""
    pixels = np.concatenate([[False], mask.ravel(order="F")])
    starts = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(np.concatenate([[0], starts, [mask.size]])).tolist()


def compressed(mask: np.ndarray) -> dict:
    """A mask as COCO's `{"size": [height, width], "counts": text}`.

    From the fourth run on the difference to the run before the last is written. Each number is cut into groups of five
    bits, low ones first, bit six telling that more follow, and each group is written as the character 48 higher; the
    last group carries the sign.
    """
    lengths, text = run_lengths(mask), []
    for place, length in enumerate(lengths):
        number = length - lengths[place - 2] if place > 2 else length
        while True:
            group, number = number & 31, number >> 5
            # Done once what is left is nothing but the sign that the group already carries.
            last = number == (-1 if group & 16 else 0)
            text.append(chr(48 + (group if last else group | 32)))
            if last:
                break
    return {"size": list(mask.shape), "counts": "".join(text)}
