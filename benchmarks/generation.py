"""``python3 -m benchmarks.generation``: our generator against others, in one run.

All compute the same pictures from the same weights at 256 px with the published 512-channel tables: ours, its naive
twin and, with ``--reference FOLDER``, NVIDIA's own program (a checkout of NVlabs/stylegan2-ada-pytorch). Printed, as
JSON, are the median seconds a picture over alternating repetitions, the ratio of each pair, and the peak memory of a
process that runs only one of them; the price of a background and a mask, and what bfloat16 changes.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from l4f_plugin.architecture import published_channels
from l4f_plugin.networks import AlphaNetwork, Generator, GeneratorConfig, SynthesisOutput
from l4f_plugin.processor import bfloat16_support

from .masks import processor
from .other_generators import NaiveGenerator, load_reference

BATCH_SIZES = (1, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--reference", type=Path, metavar="FOLDER", help="checkout of NVlabs/stylegan2-ada-pytorch")
    parser.add_argument("--peak-memory-of", choices=["ours", "naive", "ours-bfloat16"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_memory_of:
        print(_peak_memory(args.peak_memory_of, args.resolution))
        return
    print(json.dumps(measure(args.resolution, args.repetitions, args.reference), indent=1))


@torch.inference_mode(False)  # as pipelines hold weights; of others nothing that is prepared from them is kept
def build(resolution: int) -> tuple[Generator, NaiveGenerator, AlphaNetwork]:
    """Random weights in published shapes; noise and biases are set, so that no term is zero."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution, published_channels(resolution))).eval().requires_grad_(False)
    generator.to(memory_format=torch.channels_last)
    for convolution in generator.synthesis.convolutions:
        convolution.noise_strength.fill_(0.1)
        torch.nn.init.normal_(convolution.bias, std=0.1)
    alpha = AlphaNetwork(generator.config.feature_channels).eval().requires_grad_(False)
    naive = Generator(generator.config).eval().requires_grad_(False)  # weights of its own, in default memory format
    naive.load_state_dict(generator.state_dict())
    return generator, NaiveGenerator(naive), alpha


@torch.inference_mode()
def measure(resolution: int, repetitions: int, reference: Path | None = None) -> dict:
    generator, naive, alpha = build(resolution)
    others: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"naive": naive}
    if reference is not None:
        others["NVIDIA"] = load_reference(reference, generator)
    report: dict = {
        "processor": processor(),
        "instruction sets up to": os.environ.get("ONEDNN_MAX_CPU_ISA", "all"),
        "bfloat16 by": bfloat16_support().value,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "resolution": resolution,
    }
    for count in BATCH_SIZES:
        w_plus = generator.truncate(generator.mapping(torch.randn(count, 512)))
        dtypes = {"ours float32": torch.float32, "ours bfloat16": torch.bfloat16}
        runs = {name: partial(draw, generator, dtype, w_plus) for name, dtype in dtypes.items()}
        image, masks = runs["ours float32"]().image, [alpha(run().features) for run in runs.values()]
        runs |= {f"{name} float32": partial(run, w_plus) for name, run in others.items()}
        seconds = dict(zip(runs, alternate(list(runs.values()), repetitions), strict=True))
        report[f"batch {count}"] = {
            "seconds a picture": {name: statistics.median(times) / count for name, times in seconds.items()},
            **{
                f"{name} float32 / {kind}": ratio_of(seconds[f"{name} float32"], seconds[kind])
                for name in others
                for kind in ("ours float32", "ours bfloat16")
            },
            **{
                f"deviation of ours from {name} (relative to the largest value)": _deviation(image, run(w_plus))
                for name, run in others.items()
            },
            "deviation bfloat16 of the mask (largest, mean)": [
                (masks[1] - masks[0]).abs().max().item(),
                (masks[1] - masks[0]).abs().mean().item(),
            ],
        }
    w_plus = generator.truncate(generator.mapping(torch.randn(4, 512)))
    gate = torch.cat([torch.ones(4), torch.zeros(4)])

    def with_background_and_mask():
        output = draw(generator, torch.float32, w_plus.repeat(2, 1, 1), "stored", gate)
        return alpha([feature[:4] for feature in output.features])

    seconds = alternate([with_background_and_mask, partial(draw, generator, torch.float32, w_plus)], repetitions)
    report["subject + background + mask / subject, batch 4"] = ratio_of(seconds[0], seconds[1])
    report["peak memory MiB over importing torch"] = {
        kind: _measure_peak_memory(kind, resolution) for kind in ("naive", "ours", "ours-bfloat16")
    }
    return report


def draw(generator: Generator, dtype: torch.dtype, w_plus: torch.Tensor, *how: object) -> SynthesisOutput:
    """What our generator draws of W+ codes with feature maps of that precision."""
    generator.synthesis.feature_dtype = dtype
    return generator.synthesis(w_plus, *how)


def _deviation(image: torch.Tensor, of: torch.Tensor) -> float:
    return ((image - of).abs().max() / of.abs().max()).item()


def alternate(runs: list[Callable[[], object]], repetitions: int) -> list[list[float]]:
    """Seconds of each run, taken in turn so that a machine that slows down slows all of them."""
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repetitions):
        for run, times in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return seconds


def ratio_of(numerator: list[float], denominator: list[float]) -> float:
    """Median of the ratios of runs that followed each other."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def _measure_peak_memory(kind: str, resolution: int) -> float:
    command = [sys.executable, "-m", "benchmarks.generation", "--peak-memory-of", kind, "--resolution", str(resolution)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@torch.inference_mode()
def _peak_memory(kind: str, resolution: int) -> float:
    before = _resident_kib("VmRSS")
    generator, naive, _ = build(resolution)
    w_plus = generator.truncate(generator.mapping(torch.randn(4, 512)))
    if kind == "naive":
        naive(w_plus)
    else:
        draw(generator, torch.bfloat16 if kind == "ours-bfloat16" else torch.float32, w_plus)
    return (_resident_kib("VmHWM") - before) / 1024


def _resident_kib(field: str) -> int:
    """Memory of this process as Linux counts it; getrusage would include the parent's from before exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{field}:\s+(\d+)", status)[1])


if __name__ == "__main__":
    main()
