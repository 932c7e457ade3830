"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676).

With few pictures a discriminator learns them by heart. It never does where it sees only augmented pictures, real and
generated alike. Here are the paper's pixel, geometric and colour transformations (section 2.3 and appendix B, "bgc"),
with bilinear sampling in place of its wavelet filters, and the control of their probability (section 3).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from . import together
from .pictures import Crop, cropped, letterboxed

OVERFITTING_TARGET = 0.6
BATCHES_AN_ADJUSTMENT = 4
# The paper rises from 0 to 1 over 500,000 pictures, of 25 million, and over 100,000 where it fine-tunes. Runs here
# show a million or so.
PICTURES_TO_FULL_STRENGTH = 100_000
MOST_PROBABILITY = 0.8  # above it, augmentations leak into the pictures (section 2.2)


def augment(images: Tensor, probability: float, random: torch.Generator, crop: Crop | None = None) -> Tensor:
    """Transform ``images [N, 3, R, R]`` in [-1, 1], each way with ``probability`` per sample.

    Args:
        random: a CPU generator, so that a run can be repeated.
        crop: (top, bottom, left, right) of the part that holds the pictures; letter-box bars outside of it stay.

    Gradients flow through, once: the sampling has no second derivative.
    """
    if probability <= 0:
        return images
    crop = crop or (0, images.shape[2], 0, images.shape[3])
    inner = cropped(images, crop)
    draws = _Draws(inner, probability, random)
    return letterboxed(_recolour(_warp(inner, draws), draws), images, crop)


class _Draws:
    """Random numbers ``[N]`` on the pictures' device; a transformation that is not chosen gets 0."""

    def __init__(self, images: Tensor, probability: float, random: torch.Generator):
        self.images, self.probability, self.random = images, probability, random
        self.count = images.shape[0] * together.shares()

    def uniform(self, low: float, high: float, probability: float | None = None) -> Tensor:
        draw = torch.rand(self.count, generator=self.random) * (high - low) + low
        return self._if_chosen(draw, self.probability if probability is None else probability)

    def normal(self, deviation: float) -> Tensor:
        return self._if_chosen(torch.randn(self.count, generator=self.random) * deviation, self.probability)

    def _if_chosen(self, draw: Tensor, probability: float) -> Tensor:
        chosen = torch.rand(draw.shape, generator=self.random) < probability
        return together.share(torch.where(chosen, draw, 0.0)).to(self.images)


def _warp(images: Tensor, draws: _Draws) -> Tensor:
    """Mirror, quarter turns, shifts, scales and rotations, as one affine map; borders are reflected."""
    height, width = images.shape[2:]
    # A place in the result, in pixels from the middle, is taken through these maps to a place in the picture.
    mirror = 1 - 2 * draws.uniform(0, 2).floor()
    turns = draws.uniform(0, 4).floor() * (math.pi / 2)
    whole_shift = [(draws.uniform(-0.125, 0.125) * side).round() for side in (width, height)]
    scale = torch.exp2(draws.normal(0.2))
    rotation = 1 - math.sqrt(1 - min(draws.probability, 1.0))  # of two rotations together: the probability
    before = draws.uniform(-math.pi, math.pi, probability=rotation)
    stretch = torch.exp2(draws.normal(0.2))
    after = draws.uniform(-math.pi, math.pi, probability=rotation)
    shift = [draws.normal(0.125) * side for side in (width, height)]
    matrix = _turn(before) @ _scale(scale * stretch, scale / stretch) @ _turn(after) @ _turn(turns)
    matrix = matrix @ _scale(mirror, torch.ones_like(mirror))
    offset = torch.stack([whole_shift[0] + shift[0], whole_shift[1] + shift[1]], dim=1)
    # affine_grid counts both axes from -1 to 1.
    half = images.new_tensor([width / 2, height / 2])
    theta = torch.cat([matrix * half / half.view(2, 1), (offset / half).unsqueeze(2)], dim=2)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _turn(angle: Tensor) -> Tensor:
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1)


def _scale(horizontal: Tensor, vertical: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([horizontal, vertical], dim=1))


def _recolour(images: Tensor, draws: _Draws) -> Tensor:
    """Brightness, contrast, inverted luma, hue and saturation, as one affine map of the colours."""
    count = images.shape[0]
    brightness = draws.normal(0.2)
    contrast = torch.exp2(draws.normal(0.5))
    invert = draws.uniform(0, 2).floor()
    hue = draws.uniform(-math.pi, math.pi)
    saturation = torch.exp2(draws.normal(1.0))
    grey = images.new_full((3, 3), 1 / 3)  # projects a colour on the axis of greys
    colourful = torch.eye(3).to(images) - grey
    # A turn around the axis of greys: what crosses it is the cross product with the axis.
    across = images.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    hue, saturation, invert, contrast = (value.view(count, 1, 1) for value in (hue, saturation, invert, contrast))
    turned = hue.cos() * colourful + hue.sin() * across
    matrix = contrast * (grey * (1 - 2 * invert) + saturation * turned)
    offset = (matrix @ brightness.view(count, 1, 1).expand(count, 3, 1)).view(count, 3, 1, 1)
    return (matrix @ images.flatten(2)).view_as(images) + offset


@dataclass
class AdaptiveProbability:
    """Raises the probability of augmentation while the discriminator overfits, lowers it otherwise.

    The measure is r_t, the mean sign of the logits at real pictures over four batches (equation 1): 0 where the
    discriminator tells nothing of them, 1 where it knows them all.
    """

    probability: float = 0.0
    overfitting: float = 0.0  # the measure's last value
    # Since then:
    signs: float = 0.0
    pictures: int = 0
    batches: int = 0

    def update(self, sign: float, pictures: int) -> None:
        """Take the mean sign of the logits at a batch of so many pictures into account."""
        self.signs += sign * pictures
        self.pictures += pictures
        self.batches += 1
        if self.batches < BATCHES_AN_ADJUSTMENT:
            return
        self.overfitting = self.signs / self.pictures
        step = self.pictures / PICTURES_TO_FULL_STRENGTH
        step = step if self.overfitting > OVERFITTING_TARGET else -step
        self.probability = min(max(self.probability + step, 0.0), MOST_PROBABILITY)
        self.signs, self.pictures, self.batches = 0.0, 0, 0
