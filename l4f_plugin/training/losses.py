"""Objectives of adversarial training, one function each. Logits are ``[N, 1]``; higher means more real."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the discriminator (Goodfellow et al. 2014)."""
    return functional.softplus(-real_logits).mean() + functional.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator."""
    return functional.softplus(-fake_logits).mean()


def r1_penalty(real_logits: Tensor, real_images: Tensor) -> Tensor:
    """Mean squared gradient of the logits at real pictures (Mescheder et al. 2018); weigh with gamma / 2.

    ``real_images`` must require a gradient before the logits are computed.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()


def path_length_penalty(images: Tensor, w_plus: Tensor, mean_length: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Path length regularisation (StyleGAN2, equation 4).

    Args:
        images: ``[N, 3, R, R]`` drawn from ``w_plus [N, L, style_dim]``, which requires a gradient.
        mean_length: scalar, running mean of the lengths.
        noise: standard normal, shape of ``images``.

    Returns the penalty and the lengths ``[N]`` of this batch.
    """
    scaled = noise / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * scaled).sum(), w_plus, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    return (lengths - mean_length).square().mean(), lengths


def binarisation(alpha: Tensor) -> Tensor:
    """Mean of min(alpha, 1 - alpha): zero where every pixel is decided (Labels4Free, equation 4)."""
    return torch.minimum(alpha, 1.0 - alpha).mean()


def area_below(alpha: Tensor, least: float) -> Tensor:
    """How far each mask's mean area ``[N, 1, H, W]`` falls short of ``least``, averaged (Labels4Free, equation 5)."""
    return functional.relu(least - alpha.mean(dim=(1, 2, 3))).mean()


def area_above(alpha: Tensor, most: float) -> Tensor:
    """How far each mask's mean area exceeds ``most``, averaged."""
    return functional.relu(alpha.mean(dim=(1, 2, 3)) - most).mean()
