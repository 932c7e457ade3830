"""``python3 -m benchmarks.convolutions``: every way of computing a convolution, and which of them is chosen.

Forward and backward, in both precisions, for shapes of a 256 px generator (batch 1) and of one that is trained at
128 px (batch 8). Milliseconds of the fastest of some repetitions. ``*`` marks the way that
``l4f_plugin/networks/convolution.py`` chooses on this processor.
"""

from __future__ import annotations

import argparse
import os
import timeit
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from l4f_plugin.networks import convolution
from l4f_plugin.networks.winograd import winograd_convolution
from l4f_plugin.processor import Bfloat16, bfloat16_support

SHAPES = [(1, 512, 512, 32), (1, 512, 256, 64), (1, 256, 128, 128), (8, 128, 64, 32), (8, 32, 16, 64)]
# The ways of ``convolution.py`` under the support for which each is chosen.
WAYS = {"library": Bfloat16.VECTORS, "parities": Bfloat16.MATRICES, "in float32": Bfloat16.EMULATED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    support = bfloat16_support()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    print(f"instruction sets up to {limit}; bfloat16: {support.value}; {torch.get_num_threads()} threads; milliseconds")
    for dtype in (torch.float32, torch.bfloat16):
        ways = WAYS if dtype == torch.bfloat16 else {"library": support}
        for samples, inputs, outputs, side in SHAPES:
            x = torch.randn(samples, inputs, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
            weight, style = torch.randn(outputs, inputs, 3, 3), torch.ones(samples, inputs)
            odd = torch.nn.functional.pad(x, (0, 1, 0, 1)).contiguous(memory_format=torch.channels_last)
            kinds: dict[str, tuple[Callable[..., Tensor], Tensor, Tensor]] = {
                "3x3": (partial(convolution.convolution, padding=1), x, weight),
                "doubling": (convolution.doubling_convolution, x, weight),
                "halving": (partial(convolution.convolution, stride=2), odd, weight),
            }
            for kind, (convolve, operand, filters) in kinds.items():
                times = {}
                for name, pretended in ways.items():
                    with mock.patch.object(convolution, "bfloat16_support", lambda given=pretended: given):
                        mark = "*" if pretended is support else ""
                        times[name + mark] = _forward_and_backward(convolve, operand, filters, args.repetitions)
                if kind == "3x3":
                    with torch.no_grad():
                        chosen = "*" if convolution.by_winograd(x, style, weight) else ""
                        run = partial(winograd_convolution, x, style, weight)
                        times[f"winograd{chosen} (without a gradient)"] = [_fastest(run, args.repetitions)]
                row = "; ".join(f"{name} {' + '.join(f'{t:.1f}' for t in spent)}" for name, spent in times.items())
                print(f"{str(dtype)[6:]} {kind} {samples} x {inputs} -> {outputs} at {side}: {row}", flush=True)


def _forward_and_backward(convolve: Callable[..., Tensor], x: Tensor, weight: Tensor, repetitions: int) -> list[float]:
    with torch.no_grad():
        forward = _fastest(lambda: convolve(x, weight), repetitions)
    x, weight = x.detach().requires_grad_(True), weight.detach().requires_grad_(True)
    y = convolve(x, weight)
    gradient = torch.ones_like(y)
    backward = _fastest(lambda: torch.autograd.grad(y, (x, weight), gradient, retain_graph=True), repetitions)
    return [forward, backward]


def _fastest(run: Callable[[], object], repetitions: int) -> float:
    return min(timeit.repeat(run, number=1, repeat=repetitions + 1)) * 1e3


if __name__ == "__main__":
    main()
