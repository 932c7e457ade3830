"""The discriminator's half of a round, which the generator's training and that of the masks share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from ..networks import Discriminator
from .divergence import demand_finite_update
from .losses import discriminator_loss, r1_penalty


class Verdict(NamedTuple):
    """What a discriminator said ``[N, 1]`` of real and made pictures, and what is worth logging."""

    real_logits: Tensor
    fake_logits: Tensor
    metrics: dict[str, float]


def teach_discriminator(
    discriminator: Discriminator,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    *,
    r1_weight: float,
    r1_interval: int,
    rounds: int,
) -> Verdict:
    """One update on pictures ``[N, 3, R, R]`` in [-1, 1].

    R1 is lazy: taken every ``r1_interval`` rounds and weighed as much more (StyleGAN2, appendix B).
    """
    with_penalty = r1_weight > 0 and rounds % r1_interval == 0
    real = real.detach().requires_grad_(with_penalty)
    real_logits, fake_logits = discriminator(real), discriminator(fake)
    loss = discriminator_loss(real_logits, fake_logits)
    metrics = {"discriminator_loss": loss.item()}
    if with_penalty:
        penalty = r1_penalty(real_logits, real)
        loss = loss + penalty * (r1_weight / 2 * r1_interval)
        metrics["r1_penalty"] = penalty.item()
    descend(optimizer, loss)
    return Verdict(real_logits.detach(), fake_logits.detach(), metrics)


@contextmanager
def as_a_judge(discriminator: Discriminator) -> Iterator[Discriminator]:
    """The discriminator, which only hands gradients on."""
    discriminator.requires_grad_(False)
    try:
        yield discriminator
    finally:
        discriminator.requires_grad_(True)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of ``loss``. Raises ``Diverged`` where that leads out of the finite numbers."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    demand_finite_update(optimizer, loss)
