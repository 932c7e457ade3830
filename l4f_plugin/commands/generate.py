"""`l4f generate CLASS --seeds 0-7 --out DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..arguments import LARGEST_BATCH, check_integer, check_truncation_psi, parse_seeds
from . import (
    add_class_argument,
    add_device_arguments,
    add_json_argument,
    add_style_arguments,
    make_folder,
    print_json,
    show_progress,
    write_sample,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_class_argument(parser)
    parser.add_argument("--seeds", default="-1", help="numbers and ranges as in 0-7,12; -1 draws one (default)")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for seed0000.png, "
        "seed0000_alpha.png, seed0000_cutout.png and seed0000_background.png; earlier "
        "results are replaced, other files stay and the results get a number",
    )
    parser.add_argument(
        "--no-background", action="store_true", help="leave the backgrounds out, which takes half the time"
    )
    parser.add_argument(
        "--save-w-plus", action="store_true", help="write the style codes too, as seed0000_w_plus.safetensors"
    )
    parser.add_argument("--batch-size", type=int, default=4, help="pictures drawn at once (default: 4)")
    add_style_arguments(parser)
    add_device_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draws and writes one batch after the other; what is written stays when a later one fails."""
    seeds = list(dict.fromkeys(parse_seeds(arguments.seeds)))
    check_integer("The batch size", arguments.batch_size, 1, LARGEST_BATCH)
    if arguments.truncation_psi is not None:
        check_truncation_psi(arguments.truncation_psi)
    folder = make_folder(arguments.out)

    from ..pipeline import Labels4FreePipeline

    pipeline = Labels4FreePipeline.from_pretrained(arguments.class_name, device=arguments.device, dtype=arguments.dtype)
    samples = pipeline.stream(
        seeds,
        arguments.truncation_psi,
        arguments.truncation_cutoff,
        arguments.noise_mode,
        arguments.batch_size,
        with_background=not arguments.no_background,
        progress=show_progress,
    )
    written = []
    for sample in samples:
        files = write_sample(sample, folder, with_w_plus=arguments.save_w_plus)
        written.append(
            {
                "seed": sample.seed,
                "truncation_psi": sample.truncation_psi,
                "mask_area": None if sample.alpha is None else round(float(sample.alpha.mean()), 4),
                **files,
            }
        )
        if not arguments.json:
            print(f"seed {sample.seed}: {files['picture']}")
    name = pipeline.config.name
    if pipeline.bundle.alpha is None:
        print(f"{name} has no masks yet; learn them with: l4f learn-masks {name}", file=sys.stderr)
    if arguments.json:
        print_json(
            {
                "class": name,
                "device": str(pipeline.device),
                "dtype": str(pipeline.dtype).removeprefix("torch."),
                "samples": written,
            }
        )
    return 0
