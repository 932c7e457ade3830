"""``l4f learn-masks CLASS``: masks for a class that has none yet, without a data set."""

from __future__ import annotations

import argparse

from . import add_learning_arguments, print_json, print_learned, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_learning_arguments(parser, "replace masks that are there")
    parser.add_argument("--estimate", action="store_true", help="only say how long it would take here")
    parser.epilog = (
        "Stopped by Ctrl-C or a crash, the same command goes on from there. The authors of Labels4Free "
        "published alpha networks for ffhq, horse, cat and car; one that you have as a file is imported "
        "instead with: l4f convert BUNDLE NEW_BUNDLE --alpha FILE"
    )


def run(args: argparse.Namespace) -> int:
    """Say how long it will take, learn, put the masks into the bundle."""
    from ..training.class_masks import estimate_seconds, in_words, learn_masks

    if args.estimate:
        seconds = estimate_seconds(args.class_name, args.device)
        if args.json:
            print_json({"class": args.class_name, "seconds": seconds})
        else:
            print(f"Learning masks for {args.class_name} takes {in_words(seconds)} on this device.")
        return 0
    folder = learn_masks(args.class_name, device=args.device, again=args.again, report=report)
    return print_learned(args, folder, "has masks now")
