"""Differentiable augmentation of pictures before the discriminator sees them.

With few pictures a discriminator learns them by heart; showing it only augmented pictures, real and generated alike,
prevents that (Zhao et al. 2020, arXiv 2006.10738). The strength may follow the overfitting that is observed, as in
adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676).
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

OVERFITTING_TARGET = 0.6
PICTURES_TO_FULL_STRENGTH = 500_000


def augment(images: Tensor, probability: float, random: torch.Generator) -> Tensor:
    """Flip, shift, recolour and blank parts of ``images [N, 3, R, R]``, each with ``probability`` per sample.

    Gradients flow through. Draws come from ``random`` (a CPU generator), so that a run can be repeated.
    """
    if probability <= 0:
        return images
    draws = _Draws(images, probability, random)
    images = torch.where(draws.chosen(), images.flip(3), images)
    images = _shift(images, draws)
    images = _recolour(images, draws)
    return _blank(images, draws)


class _Draws:
    """Random numbers per sample, shaped to multiply pictures."""

    def __init__(self, images: Tensor, probability: float, random: torch.Generator):
        self.images, self.probability, self.random = images, probability, random

    def uniform(self, low: float, high: float) -> Tensor:
        draw = torch.rand(self.images.shape[0], 1, 1, 1, generator=self.random)
        return (draw * (high - low) + low).to(self.images)

    def chosen(self) -> Tensor:
        return self.uniform(0.0, 1.0) < self.probability


def _shift(images: Tensor, draws: _Draws) -> Tensor:
    """Whole-pixel translation by up to an eighth of the side, borders reflected."""
    reach = images.shape[2] // 8
    samples, size = images.shape[0], images.shape[2]
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    chosen = draws.chosen()
    rows, columns = (
        torch.where(chosen, draws.uniform(0, 2 * reach + 1).floor().clamp(max=2 * reach), reach).long().view(-1, 1)
        for _ in range(2)
    )
    ramp = torch.arange(size, device=images.device)
    sample = torch.arange(samples, device=images.device).view(-1, 1, 1)
    shifted = padded.permute(0, 2, 3, 1)[sample, (rows + ramp).unsqueeze(2), (columns + ramp).unsqueeze(1)]
    return shifted.permute(0, 3, 1, 2)


def _recolour(images: Tensor, draws: _Draws) -> Tensor:
    """Brightness, saturation and contrast."""
    recoloured = images + draws.uniform(-0.3, 0.3)
    grey = recoloured.mean(dim=1, keepdim=True)
    recoloured = torch.lerp(grey.expand_as(recoloured), recoloured, draws.uniform(0.5, 1.5))
    mean = recoloured.mean(dim=(1, 2, 3), keepdim=True)
    recoloured = torch.lerp(mean.expand_as(recoloured), recoloured, draws.uniform(0.7, 1.3))
    return torch.where(draws.chosen(), recoloured, images)


def _blank(images: Tensor, draws: _Draws) -> Tensor:
    """A grey square of half the side at a random place."""
    size = images.shape[2]
    ramp = torch.arange(size, device=images.device, dtype=images.dtype)
    row, column = draws.uniform(0, size), draws.uniform(0, size)
    inside = ((ramp.view(1, 1, -1, 1) - row).abs() < size / 4) & ((ramp.view(1, 1, 1, -1) - column).abs() < size / 4)
    return torch.where(inside & draws.chosen(), torch.zeros_like(images), images)


class AdaptiveProbability:
    """Raises the probability of augmentation while the discriminator overfits, lowers it otherwise.

    The measure is r_t = mean sign of the logits at real pictures (ADA, equation 1).
    """

    def __init__(self, probability: float = 0.0):
        self.probability = probability

    def update(self, real_logits: Tensor) -> None:
        """Take one batch of logits ``[N, 1]`` into account."""
        overfitting = real_logits.detach().sign().mean().item()
        step = real_logits.shape[0] / PICTURES_TO_FULL_STRENGTH
        step = step if overfitting > OVERFITTING_TARGET else -step
        self.probability = min(max(self.probability + step, 0.0), 0.8)
