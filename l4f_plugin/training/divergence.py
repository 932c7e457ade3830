"""The moment a training leaves the finite numbers, noticed in the step where it happens.

From there on no step brings anything back, and what is written then is lost. So whatever learns is looked at after each
update, and no state is written that holds anything else than finite numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


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


def demand_finite_update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Raises `Diverged` unless a loss, its gradients and the weights after the update are finite."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    demand_finite([loss, *gradients, *weights])
