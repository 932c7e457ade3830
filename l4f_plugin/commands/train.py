"""``l4f train generator FOLDER``, ``alpha BUNDLE [FOLDER]``, ``student BUNDLE`` and ``refine BUNDLE``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ..errors import Cancelled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the trainings."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="generator|alpha|student|refine")
    _add_generator_arguments(kinds.add_parser("generator", help="train a generator from a folder of pictures"))
    _add_alpha_arguments(kinds.add_parser("alpha", help="train the masks of a bundle; needs no pictures by default"))
    _add_student_arguments(kinds.add_parser("student", help="train a segmenter of photographs from a class with masks"))
    _add_refine_arguments(kinds.add_parser("refine", help="let the masks learn from the segmenter of photographs"))


def run(args: argparse.Namespace) -> int:
    """Train, and say where the result is. Raises `Cancelled` when stopped before the end."""
    kinds = {"generator": _train_generator, "alpha": _train_alpha, "student": _train_student, "refine": _refine}
    if not kinds[args.kind](args):
        raise Cancelled
    return 0


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="run folder: states, metrics, sheets, bundle; a run that is found there goes on",
    )
    parser.add_argument("--batch-size", type=_positive, help="pictures a step; as the recipe says by default")
    parser.add_argument("--learning-rate", type=float, help="as the recipe says by default")
    parser.add_argument("--seed", type=int, help="of everything random; see --threads")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; the best there is by default")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="precision of the feature maps")
    parser.add_argument(
        "--threads",
        type=_positive,
        help="processor threads; with 1 the same seed repeats a run to the bit on the same machine",
    )
    parser.add_argument("--save-minutes", type=float, default=5.0, help="the most work that a kill can lose")


def _add_adversarial_arguments(parser: argparse.ArgumentParser) -> None:
    _add_common_arguments(parser)
    parser.add_argument(
        "--r1-weight",
        type=float,
        help="of the discriminator's gradient penalty; more is steadier and slower, as the recipe says by default",
    )


def _add_generator_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="pictures, searched with subfolders")
    parser.add_argument("--pictures", type=_positive, default=1_000_000, help="how many to show in all")
    parser.add_argument("--resolution", type=int, default=64, help="a power of two from 32 to 1024")
    parser.add_argument("--from", dest="source", help="bundle to start from; one of half the resolution is grown")
    parser.add_argument("--name", help="class name in the bundle; the folder's name by default")
    parser.add_argument("--licence", default="unknown", help="of the resulting weights, for the model card")
    parser.add_argument("--channel-base", type=_positive, default=2048, help="channels are base / resolution ...")
    parser.add_argument("--channel-max", type=_positive, default=256, help="... at most this, at least 16")
    parser.add_argument("--discriminator-channel-base", type=_positive, help="as --channel-base by default")
    parser.add_argument("--discriminator-channel-max", type=_positive, help="as --channel-max by default")
    parser.add_argument(
        "--augmentation",
        choices=["none", "fixed", "adaptive"],
        default="none",
        help="of what the discriminator sees, for a few thousand pictures or less; none by default",
    )
    parser.add_argument(
        "--letterbox",
        type=_aspect,
        metavar="W:H",
        help="keep this shape of picture, with black bars beside it that the class cuts off again; square by default",
    )
    parser.add_argument(
        "--path-length-weight",
        type=float,
        default=0.0,
        help="of a smooth way from code to picture; 0, the default, leaves it out",
    )
    parser.add_argument(
        "--style-mixing", type=float, default=0.5, help="share of the pictures with two styles, 0.5 by default"
    )
    parser.add_argument("--ema-half-life", type=_positive, help="of the averaged weights, in pictures")
    parser.add_argument("--no-noise", action="store_true", help="no per-pixel noise inputs; better for drawings")
    parser.add_argument("--no-flip", action="store_true", help="do not mirror pictures")
    _add_adversarial_arguments(parser)


def _add_alpha_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="class name, folder or Hub repository with a generator")
    parser.add_argument("folder", type=Path, nargs="?", help="real pictures (only --recipe paper uses them)")
    parser.add_argument(
        "--recipe",
        choices=["default", "paper"],
        default="default",
        help="as tuned here, or as published, which wants real pictures",
    )
    parser.add_argument("--steps", type=_positive, help="as the recipe says by default")
    parser.add_argument(
        "--truncation-psi", type=float, help="of the pictures to learn from; as the recipe says by default"
    )
    _add_adversarial_arguments(parser)


def _add_student_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="class name, folder or Hub repository with a generator and masks")
    parser.add_argument("--steps", type=_positive, help="2000 by default, about 10 minutes on one processor core")
    parser.add_argument("--pictures", type=_positive, help="how many to draw to learn from, 4000 by default")
    parser.add_argument(
        "--teacher",
        choices=["alpha", "student"],
        help="whose masks to learn from; by default the class's earlier student where it has one",
    )
    _add_common_arguments(parser)


def _add_refine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="class name, folder or Hub repository with masks and a photo segmenter")
    parser.add_argument("--steps", type=_positive, help="600 by default, about 3 minutes on one processor core")
    _add_common_arguments(parser)


def _train_generator(args: argparse.Namespace) -> bool:
    from ..hub.download import resolve
    from ..training.generator import GeneratorSettings
    from ..training.pictures import letterbox
    from ..training.runs import train_generator

    device = _prepare(args)
    discriminator_base = args.discriminator_channel_base or args.channel_base
    discriminator_max = args.discriminator_channel_max or args.channel_max
    settings = GeneratorSettings(
        resolution=args.resolution,
        channels=_channel_table(args.resolution, args.channel_base, args.channel_max),
        discriminator_channels=_channel_table(args.resolution, discriminator_base, discriminator_max),
        augmentation=args.augmentation,
        crop=letterbox(args.resolution, args.letterbox) if args.letterbox else None,
        path_length_weight=args.path_length_weight,
        style_mixing=args.style_mixing,
        noise=not args.no_noise,
        flip=not args.no_flip,
        **_given(args, "batch_size", "learning_rate", "r1_weight", "ema_half_life", "seed", feature_dtype="dtype"),
    )
    return train_generator(
        args.folder,
        args.out,
        settings,
        args.pictures,
        source=resolve(args.source, with_discriminator=True) if args.source else None,
        class_name=args.name,
        licence=args.licence,
        device=device,
        save_seconds=args.save_minutes * 60,
    )


def _train_alpha(args: argparse.Namespace) -> bool:
    from ..bundles.config import read_config
    from ..hub.download import resolve
    from ..training.recipes import AlphaSettings, paper_recipe
    from ..training.runs import train_alpha

    device = _prepare(args)
    # The default recipe's discriminator goes on from the bundle's own, and the bundle keeps what it holds.
    source = resolve(args.bundle, with_discriminator=True)
    recipe = paper_recipe(read_config(source).class_name) if args.recipe == "paper" else AlphaSettings()
    given = _given(
        args, "batch_size", "learning_rate", "r1_weight", "steps", "truncation_psi", "seed", feature_dtype="dtype"
    )
    return train_alpha(
        source,
        args.out,
        dataclasses.replace(recipe, **given),
        folder=args.folder,
        device=device,
        save_seconds=args.save_minutes * 60,
    )


def _train_student(args: argparse.Namespace) -> bool:
    from ..bundles.config import read_config
    from ..hub.download import resolve
    from ..training.student import StudentSettings, student_resolution
    from ..training.student_runs import train_student

    device = _prepare(args)
    # Going on to train the bundle's other networks stays possible: the discriminator is kept.
    source = resolve(args.bundle, with_discriminator=True)
    settings = StudentSettings(
        resolution=student_resolution(read_config(source).generator.resolution),
        **_given(args, "batch_size", "learning_rate", "steps", "pictures", "seed", feature_dtype="dtype"),
    )
    return train_student(
        source, args.out, settings, teacher=args.teacher, device=device, save_seconds=args.save_minutes * 60
    )


def _refine(args: argparse.Namespace) -> bool:
    from ..hub.download import resolve
    from ..training.refinement import RefinementSettings
    from ..training.runs import refine_alpha

    device = _prepare(args)
    source = resolve(args.bundle, with_discriminator=True)
    given = _given(args, "batch_size", "learning_rate", "steps", "seed", feature_dtype="dtype")
    settings = RefinementSettings(**given)
    return refine_alpha(source, args.out, settings, device=device, save_seconds=args.save_minutes * 60)


def _given(args: argparse.Namespace, *names: str, **renamed: str) -> dict:
    """The options that were given, by the name of the setting; the others keep the recipe's value."""
    options = {name: name for name in names} | renamed
    return {name: getattr(args, option) for name, option in options.items() if getattr(args, option) is not None}


def _prepare(args: argparse.Namespace):
    """The device to train on; fills in the precision that is fastest there."""
    import torch

    from ..runtime import choose_device
    from ..training.precision import fastest_dtype

    if args.threads:
        torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    args.dtype = args.dtype or fastest_dtype(device)
    return device


def _channel_table(resolution: int, base: int, most: int) -> dict[int, int]:
    """Channels at 4, 8, ... ``resolution``: base / r within [16, most], and within what is asked below 16."""
    sizes = [4]
    while sizes[-1] < resolution:
        sizes.append(sizes[-1] * 2)
    return {size: max(min(16, most), min(most, base // size)) for size in sizes}


def _aspect(text: str) -> float:
    width, _, height = text.partition(":")
    if not (width.isdecimal() and height.isdecimal() and 1 / 4 <= int(width) / max(int(height), 1) <= 4):
        raise argparse.ArgumentTypeError(f"must be width:height, for example 3:4, at most 4 to 1, not {text!r}")
    return int(width) / int(height)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value
