"""Everything random about a picture, drawn from its seed alone: neither batch nor company changes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .networks import GeneratorConfig


@dataclass(frozen=True)
class RandomInputs:
    """Everything random about a seed, drawn on the CPU in this order: two latents, then the noise maps."""

    z: Tensor  # [latent_dim]
    background_z: Tensor  # [latent_dim]
    noise: list[Tensor]  # [1, h, w] for each convolution; empty unless the noise mode is "random"

    @classmethod
    def of(cls, seed: int, config: GeneratorConfig, noise_mode: str) -> RandomInputs:
        """The inputs of `seed` for such a generator."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(config.latent_dim, generator=random)
        background_z = torch.randn(config.latent_dim, generator=random)
        sides = config.convolution_resolutions if noise_mode == "random" else []
        return cls(z, background_z, [torch.randn(1, side, side, generator=random) for side in sides])


def stacked_noise(inputs: Sequence[RandomInputs], device: torch.device) -> list[Tensor]:
    """The noise maps of a batch, `[N, 1, h, w]` for each convolution."""
    return [torch.stack(layer).to(device) for layer in zip(*(one.noise for one in inputs), strict=True)]
