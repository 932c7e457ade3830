"""``python3 -m benchmarks.training_speed``: how many pictures a second a generator is trained with at 128 px.

In each precision with the ways of convolution that are chosen here, and with PyTorch's own operators throughout, in
alternation. Printed are medians and the ratio of the pair.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor

from l4f_plugin.networks import convolution
from l4f_plugin.processor import Bfloat16, bfloat16_support
from l4f_plugin.training.generator_training import GeneratorSettings, GeneratorTrainer

from .generation import alternate, ratio_of
from .masks import processor

STEPS = 16  # one of them with R1


class Noise:
    """Stands for a folder of pictures."""

    def batch(self, count: int, random: torch.Generator, flip: bool) -> Tensor:
        """Pictures ``[count, 3, 128, 128]`` in [-1, 1]."""
        return torch.rand(count, 3, 128, 128, generator=random) * 2 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    print(
        f"{processor()}; instruction sets up to {limit}; bfloat16: {bfloat16_support().value}; "
        f"{torch.get_num_threads()} threads"
    )
    for dtype in ("bfloat16", "float32"):
        settings = GeneratorSettings(resolution=128, feature_dtype=dtype)
        chosen, library = (rounds(settings, chosen) for chosen in (True, False))
        seconds = alternate([chosen, library], args.repetitions)
        rates = [STEPS * settings.batch_size / statistics.median(times) for times in seconds]
        print(
            f"{dtype}: {rates[0]:.1f} pictures a second, with PyTorch's own convolutions {rates[1]:.1f}; "
            f"{ratio_of(*seconds[::-1]):.2f} times as fast",
            flush=True,
        )


def rounds(settings: GeneratorSettings, chosen: bool) -> Callable[[], None]:
    """A function that trains for ``STEPS`` steps; not ``chosen``: by PyTorch's own operators in that precision."""
    trainer = GeneratorTrainer(settings, Noise())

    def train() -> None:
        for _ in range(STEPS):
            trainer.step()

    # What vector units compute needs no other way than the library's.
    return train if chosen else mock.patch.object(convolution, "bfloat16_support", lambda: Bfloat16.VECTORS)(train)


if __name__ == "__main__":
    main()
