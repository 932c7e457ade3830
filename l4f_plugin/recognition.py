"""Whether a photograph shows what a class draws.

A segmenter that has seen nothing but its class finds "it" in anything. Two figures tell a strange picture: the class's
discriminator, which has learned what real pictures of the class look like, and the segmenter's own doubt. Both are
compared with their values over pictures that the class draws, so no photograph and no label is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image

from .bundles.config import ObjectClass
from .bundles.likeness import Likeness
from .drawing import crop_of
from .networks import Discriminator

LEAST_PIXELS = 10  # added to a mask's area, so that an empty one is all doubt


def doubt_of(coarse: np.ndarray) -> float:
    """How undecided a segmenter's mask float32 `[h, w]` in [0, 1] is, before its edge is fitted: about -7 to 0.

    The logarithm of sum min(alpha, 1 - alpha) / sum alpha.
    """
    undecided = float(np.minimum(coarse, 1 - coarse).sum(dtype=np.float64))
    return math.log(undecided / (float(coarse.sum(dtype=np.float64)) + LEAST_PIXELS) + 1e-3)


@torch.inference_mode()
def verdict_of(discriminator: Discriminator, config: ObjectClass, image: np.ndarray, alpha: np.ndarray) -> float:
    """The discriminator's logit of the part of a picture uint8 `[H, W, 3]` that has the class's shape.

    The part is as large as fits, with the middle of the subject, by its mask float32 `[h, w]`, as near to its own
    middle as can be; a class that draws bars gets them. The mean of the part and its mirror image.
    """
    top, bottom, left, right = crop_of(config)
    width, height = right - left, bottom - top
    scale = min(image.shape[1] / width, image.shape[0] / height)
    box = _around(_middle(alpha), (width * scale, height * scale), image.shape[1::-1])
    part = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    square = np.full((2, config.generator.resolution, config.generator.resolution, 3), -1, np.float32)
    square[0, top:bottom, left:right] = np.asarray(part, np.float32) / 127.5 - 1
    square[1, top:bottom, left:right] = square[0, top:bottom, left:right][:, ::-1]
    device = next(discriminator.parameters()).device
    pictures = torch.from_numpy(square).permute(0, 3, 1, 2).to(device)
    # One by one: a batch of look-alikes is what a discriminator is wary of.
    return sum(discriminator(picture[None]).item() for picture in pictures) / len(pictures)


def likeness_of(verdicts: Iterable[float], doubts: Iterable[float]) -> Likeness:
    """What a bundle keeps of the figures over pictures of its own, at least two of each."""
    figures = [np.fromiter(values, np.float64) for values in (verdicts, doubts)]
    return Likeness(*(round(float(part), 4) for values in figures for part in (values.mean(), values.std() + 1e-3)))


def _middle(alpha: np.ndarray) -> tuple[float, float]:
    """Of a mask, as shares of its width and height; that of the picture where it is empty."""
    mass = float(alpha.sum(dtype=np.float64))
    if mass < 1:
        return 0.5, 0.5
    rows, columns = alpha.sum(axis=1, dtype=np.float64), alpha.sum(axis=0, dtype=np.float64)
    return tuple(float((line * (np.arange(len(line)) + 0.5)).sum()) / mass / len(line) for line in (columns, rows))


def _around(
    middle: tuple[float, float], size: tuple[float, float], whole: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The box (left, top, right, bottom) of that size in a picture, as near to `middle` as can be."""
    starts = [
        min(max(share * full - part / 2, 0.0), full - part)
        for share, part, full in zip(middle, size, whole, strict=True)
    ]
    return (*starts, *(start + part for start, part in zip(starts, size, strict=True)))
