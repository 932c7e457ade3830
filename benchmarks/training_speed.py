"""Training of a generator at 128 px, with the ways of convolution chosen here and with PyTorch's own throughout."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor

from l4f_plugin.networks import convolution
from l4f_plugin.processor import Bfloat16
from l4f_plugin.training.generator import GeneratorSettings, GeneratorTrainer

STEPS = 16  # one of them with R1


class Noise:
    """Stands for a folder of pictures."""

    def batch(self, count: int, random: torch.Generator, flip: bool) -> Tensor:
        return torch.rand(count, 3, 128, 128, generator=random) * 2 - 1


def rounds(dtype: str, chosen: bool) -> tuple[Callable[[], None], int]:
    """A function that trains for so many pictures; not ``chosen``: every convolution is PyTorch's own, in ``dtype``."""
    settings = GeneratorSettings(resolution=128, feature_dtype=dtype)
    trainer = GeneratorTrainer(settings, Noise())
    # What vector units compute needs no other way than the library's.
    before = mock.patch.object(convolution, "bfloat16_support", lambda: Bfloat16.VECTORS)

    def train() -> None:
        for _ in range(STEPS):
            trainer.step()

    return (train if chosen else before(train)), STEPS * settings.batch_size
