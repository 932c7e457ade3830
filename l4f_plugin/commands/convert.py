"""``l4f convert SOURCE DEST``: a published checkpoint becomes a bundle."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "source", type=Path, help="StyleGAN2 of rosinality's layout (.pt) or NVIDIA's (.pkl), or a bundle"
    )
    parser.add_argument("destination", type=Path, help="folder of the bundle to write")
    parser.add_argument("--alpha", type=Path, metavar="FILE", help="Labels4Free alpha network (.pt)")
    parser.add_argument("--name", help="class name; the folder's by default")
    parser.add_argument("--title", help="name of the class for people")
    parser.add_argument("--licence", help="licence of the weights, such as CC-BY-4.0; unknown by default")
    parser.add_argument("--source-note", metavar="TEXT", help="where the weights come from")
    parser.add_argument("--truncation-psi", type=float, metavar="PSI", help="default of the class, -2 to 2")
    parser.add_argument("--alpha-threshold", type=float, metavar="T", help="default of the class, 0 to 1")
    parser.add_argument(
        "--crop",
        type=int,
        nargs=4,
        metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="rows and columns of a picture to keep; published cars: 64 448 0 512",
    )
    parser.add_argument("--half", action="store_true", help="store float16: half the size, slightly rounded")
    parser.add_argument("--json", action="store_true", help="print the bundle's config for a program")


def run(args: argparse.Namespace) -> int:
    """Convert, and say what the bundle holds."""
    import torch

    from ..convert.conversion import UNKNOWN_LICENCE, convert

    described = {
        "name": args.name,
        "title": args.title,
        "licence": args.licence,
        "source": args.source_note,
        "truncation_psi": args.truncation_psi,
        "alpha_threshold": args.alpha_threshold,
        "crop": tuple(args.crop) if args.crop else None,
    }
    config = convert(
        args.source,
        args.destination,
        alpha=args.alpha,
        described=described,
        dtype=torch.float16 if args.half else torch.float32,
        report=lambda message: print(message, file=sys.stderr),
    )
    if args.json:
        print(json.dumps({"folder": str(args.destination.resolve()), "config": json.loads(config.to_json())}))
        return 0
    generator = config.generator
    print(
        f"{args.destination}: {config.title}, {generator.resolution} px, latent {generator.latent_dim}, "
        f"style {generator.style_dim}, {generator.mapping_layers} mapping layers, holds "
        f"{', '.join(name.removesuffix('.safetensors') for name in sorted(config.files))}"
    )
    if config.licence == UNKNOWN_LICENCE:
        print("The licence is unknown; say which with --licence before you share this bundle.")
    return 0
