"""What updates of networks have in common: finite numbers, averages of weights, learning rates, the precision.

The moment a training leaves the finite numbers is noticed in the step where it happens: from there on no step brings
anything back, and what is written then is lost.
"""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ..processor import bfloat16_is_native


class Diverged(Exception):
    """A loss, a gradient, a weight or a state is NaN or infinite. The loop around the trainers puts it into words."""


def demand_finite(tensors: Iterable[Tensor]) -> None:
    """Raises `Diverged` unless every value is finite. The device is waited for once, however many tensors there are.

    Values beyond 1e19 count as infinite: their squares are, in float32, and no training comes back from there.
    """
    floats = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if floats:
        norms = torch._foreach_norm(floats)
        device = norms[0].device
        if not bool(torch.isfinite(torch.stack([norm.to(device, torch.float32) for norm in norms])).all()):
            raise Diverged


def warmed_up(decay: float, step: int) -> float:
    """The share of the average that is kept at a step: less at first, when old weights are worth nothing."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(averaged: nn.Module, current: nn.Module, keep: float) -> None:
    """Moves the averaged parameters toward the current ones, of which they take the share 1 - ``keep``."""
    torch._foreach_lerp_(list(averaged.parameters()), list(current.parameters()), 1 - keep)


def learning_rate_share(position: float, rise: float = 0.0) -> float:
    """Of the highest learning rate, at ``position`` in [0, 1]: rises over ``rise``, then falls to 0 along a cosine."""
    if position < rise:
        return position / rise
    return (1 + math.cos(math.pi * (position - rise) / (1 - rise))) / 2


def fastest_dtype(device: torch.device) -> str:
    """Precision for feature maps in training: bfloat16 where the processor computes in it, else float32."""
    return "bfloat16" if bfloat16_is_native(device) else "float32"


def autocast(device: torch.device, dtype: str) -> AbstractContextManager:
    """Computes convolutions in ``dtype``; "float32" leaves everything as it is, on devices without autocast too."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, dtype=getattr(torch, dtype))
