"""What all trainings have in common: settings, random numbers, a count of steps, a state to go on from, and sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..drawing import as_pixels
from ..images import sheet_of
from ..networks import Generator
from . import together
from .updates import demand_finite

MEAN_DECAY = 0.95  # of running means over some 20 steps, so that a trouble shows within 100


class Trainer:
    """One optimiser step after another; knows nothing of files, bars and signals (``loop.py`` does).

    Random numbers are drawn on the CPU, so that a run can be repeated. ``kept`` names the networks and optimisers that
    the next step depends on; ``plain`` the tensors and numbers.
    """

    kept: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    collapsed: str | None = None
    """What is wrong with the masks where training cannot mend it, in words; None where nothing is."""
    trouble: str | None = None
    """What it may not recover from by itself, a name of ``troubles.py``; None where nothing is."""

    def __init__(self, settings: Any, device: torch.device | str):
        self.settings, self.device = settings, torch.device(device)
        self.random = torch.Generator().manual_seed(settings.seed)
        self.rounds = 0
        self.parts = getattr(settings, "accumulate", 1)
        self.batch = together.share_of(settings.batch_size, self.parts)
        """Pictures that this process computes at a time."""

    @property
    def pictures_seen(self) -> int:
        """Pictures that took part in the steps so far."""
        return self.rounds * self.settings.batch_size

    def step(self) -> dict[str, float]:
        """One update of everything. Returns what is worth logging."""
        raise NotImplementedError

    def sample_grid(self) -> Image.Image:
        """A sheet of samples from fixed random numbers."""
        raise NotImplementedError

    def state(self) -> dict:
        """Everything the next step depends on but what the settings identify: nested dictionaries of tensors."""
        state = {"settings": asdict(self.settings), "rounds": self.rounds, "random": self.random.get_state()}
        state |= {name: getattr(self, name) for name in self.plain}
        return state | {name: getattr(self, name).state_dict() for name in self.kept}

    def load_state(self, state: dict) -> None:
        """Continue exactly where ``state()`` was taken."""
        for name in self.kept:
            getattr(self, name).load_state_dict(state[name])
        for name in self.plain:
            if name in state:  # else from before it was kept
                setattr(self, name, state[name])
        self.random.set_state(state["random"])
        self.rounds = state["rounds"]

    def descend(
        self, optimizer: torch.optim.Optimizer, loss_of: Callable[[], tuple[Tensor, dict[str, float]]]
    ) -> dict[str, float]:
        """One step down the gradient of what ``loss_of`` gives for each part of the batch; the means of its numbers.

        All parts draw the same random numbers, those of the whole batch, and keep their rows. Means are over all
        processes too. Raises ``Diverged`` where the step leads out of the finite numbers.
        """
        random, told = self.random.get_state(), []
        optimizer.zero_grad(set_to_none=True)
        for number in range(self.parts):
            self.random.set_state(random)
            with together.part(number, self.parts):
                loss, metrics = loss_of()
                (loss / self.parts).backward()
            told.append(metrics)
            seen = loss.detach().float()
            del loss  # with its graph, before that of the next part
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        together.average([seen, *gradients])
        optimizer.step()
        demand_finite([seen, *gradients, *weights])
        return together.averaged({name: sum(metrics[name] for metrics in told) / len(told) for name in told[0]})

    def _follow(self, values: Mapping[str, float]) -> None:
        """Takes values of a step into the running means ``mean_NAME`` of what tells trouble."""
        for name, value in values.items():
            mean = getattr(self, f"mean_{name}")
            setattr(self, f"mean_{name}", MEAN_DECAY * mean + (1 - MEAN_DECAY) * value)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal random numbers on the device, rows of what is computed now."""
        whole = torch.randn(shape[0] * together.shares(), *shape[1:], generator=self.random)
        return together.share(whole).to(self.device)

    def noise_maps(self, generator: Generator, count: int) -> list[Tensor]:
        """One noise map for each convolution of a generator."""
        return [self.normal(count, 1, size, size) for size in generator.config.convolution_resolutions]

    def frozen(self, network: nn.Module) -> nn.Module:
        """A network that only computes, on the device."""
        return network.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def trained(self, network: nn.Module) -> nn.Module:
        """A network that learns, on the device."""
        return network.to(self.device, memory_format=torch.channels_last).train().requires_grad_(True)


def picture_grid(images: Tensor, columns: int) -> Image.Image:
    """``images [N, 3, R, R]`` in [-1, 1], laid out in rows."""
    return sheet_of([Image.fromarray(picture) for picture in as_pixels(images)], columns)


def mask_grid(images: Tensor, alpha: Tensor, columns: int, *more: Tensor) -> Image.Image:
    """Picture, mask and cut-out on grey for each sample, and ``more`` pictures of it, side by side."""
    masks = (alpha * 2 - 1).expand(-1, 3, -1, -1)
    cutouts = images * alpha - 0.1 * (1 - alpha)
    panels = torch.stack([images, masks, cutouts, *more], dim=1)
    return picture_grid(panels.flatten(0, 1), panels.shape[1] * columns)
