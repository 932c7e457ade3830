"""Adversarial training: objectives, one function each, and the discriminator's half of a round.

Logits are ``[N, 1]``; higher means more real.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..networks import Discriminator


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


def verdict_on(
    real: Tensor, fake: Tensor, discriminator: Discriminator, *, r1_weight: float, r1_interval: int, rounds: int
) -> tuple[Tensor, dict[str, float]]:
    """The discriminator's half of a round on pictures ``[N, 3, R, R]`` in [-1, 1]: loss, and what is worth logging.

    R1 is lazy: taken every ``r1_interval`` rounds and weighed as much more (StyleGAN2, appendix B).
    """
    with_penalty = r1_weight > 0 and rounds % r1_interval == 0
    real = real.detach().requires_grad_(with_penalty)
    real_logits, fake_logits = discriminator(real), discriminator(fake)
    loss = discriminator_loss(real_logits, fake_logits)
    metrics = {
        "discriminator_loss": loss.item(),
        "real_logits": real_logits.mean().item(),
        "fake_logits": fake_logits.mean().item(),
        "real_sign": real_logits.sign().mean().item(),
    }
    if with_penalty:
        penalty = r1_penalty(real_logits, real)
        loss = loss + penalty * (r1_weight / 2 * r1_interval)
        metrics["r1_penalty"] = penalty.item()
    return loss, metrics


@contextmanager
def as_a_judge(discriminator: Discriminator) -> Iterator[Discriminator]:
    """The discriminator, which only hands gradients on."""
    learning = [weight for weight in discriminator.parameters() if weight.requires_grad]
    discriminator.requires_grad_(False)
    try:
        yield discriminator
    finally:
        for weight in learning:
            weight.requires_grad_(True)
