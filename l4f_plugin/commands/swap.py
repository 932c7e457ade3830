"""`l4f swap CLASS --seed 3 --background seed:7 --out FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Background, EdgeOptions, check_seed, check_truncation_psi, draw_seed
from ..errors import UserError
from . import (
    add_class_argument,
    add_device_arguments,
    add_json_argument,
    add_style_arguments,
    make_folder,
    print_json,
    report,
)

OF_THE_CLASS = object()  # what --threshold without a number stands for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_class_argument(parser)
    parser.add_argument("--seed", type=int, default=-1, help="the subject; -1 draws one (default)")
    parser.add_argument(
        "--background",
        required=True,
        help="seed:7 (the background of another sample), a picture "
        "file, '#3366ff' (in quotes), blur:8 (the subject's own, blurred) or transparent",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="PNG file; an earlier result is replaced, other files are left alone",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        nargs="?",
        const=OF_THE_CLASS,
        help="make the mask hard at this level from 0 to 1; without a number at the class's own (default: soft mask)",
    )
    parser.add_argument(
        "--grow", type=int, default=0, metavar="PIXELS", help="enlarge the mask, or shrink it with a negative number"
    )
    parser.add_argument("--feather", type=float, default=0.0, metavar="PIXELS", help="soften the mask's edge")
    parser.add_argument("--keep-largest", action="store_true", help="drop all but the largest piece of the mask")
    add_style_arguments(parser)
    add_device_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draws the subject, puts it before the background and writes one picture."""
    seed = draw_seed() if arguments.seed == -1 else check_seed(arguments.seed)
    threshold = None if arguments.threshold is OF_THE_CLASS else arguments.threshold
    EdgeOptions(threshold, arguments.grow, arguments.feather)  # mistakes are said before weights are read
    if arguments.truncation_psi is not None:
        check_truncation_psi(arguments.truncation_psi)
    background = Background.parse(arguments.background)
    if background.note:
        report(background.note)
    if arguments.out.suffix.lower() != ".png":
        raise UserError(f"{arguments.out} is written as PNG; give it a name that ends in .png.")
    make_folder(arguments.out.parent)

    from ..images import write_png
    from ..own_files import check_may_write

    check_may_write(arguments.out)

    from ..pipeline import Labels4FreePipeline

    pipeline = Labels4FreePipeline.from_pretrained(arguments.class_name, device=arguments.device, dtype=arguments.dtype)
    if arguments.threshold is OF_THE_CLASS:
        threshold = pipeline.config.alpha_threshold
    result = pipeline.swap(
        seed,
        background,
        threshold=threshold,
        grow=arguments.grow,
        feather=arguments.feather,
        keep_largest=arguments.keep_largest,
        truncation_psi=arguments.truncation_psi,
        truncation_cutoff=arguments.truncation_cutoff,
        noise_mode=arguments.noise_mode,
    )
    check_may_write(arguments.out)
    write_png(arguments.out, result.composite, result.infotext)
    if arguments.json:
        print_json(
            {
                "class": pipeline.config.name,
                "seed": seed,
                "background": background.label,
                "threshold": threshold,
                "truncation_psi": result.sample.truncation_psi,
                "device": str(pipeline.device),
                "picture": arguments.out,
            }
        )
    else:
        print(f"seed {seed} before {background.label}: {arguments.out}")
    return 0
