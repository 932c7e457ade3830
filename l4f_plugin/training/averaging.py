"""The average of a network's weights over its training, which is what is kept of it."""

from __future__ import annotations

import torch
from torch import nn


def warmed_up(decay: float, step: int) -> float:
    """The share of the average that is kept at a step: less at first, when old weights are worth nothing."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(averaged: nn.Module, current: nn.Module, keep: float) -> None:
    """Moves the averaged parameters toward the current ones, of which they take the share 1 - ``keep``."""
    torch._foreach_lerp_(list(averaged.parameters()), list(current.parameters()), 1 - keep)
