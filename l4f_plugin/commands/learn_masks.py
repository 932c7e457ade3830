"""``l4f learn-masks CLASS``: masks for a class that has none yet, without a data set."""

from __future__ import annotations

import argparse
import sys

from . import add_json_argument, print_json

INTERRUPTED = 130  # as a shell reports a program that was stopped by Ctrl-C


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("class_name", metavar="CLASS",
                        help="a name that `l4f classes` lists, or the folder of a bundle")
    parser.add_argument("--device", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument("--estimate", action="store_true", help="only say how long it would take here")
    parser.add_argument("--again", action="store_true", help="replace masks that are there")
    parser.epilog = ("Stopped by Ctrl-C or a crash, the same command goes on from there. The authors of Labels4Free "
                     "published alpha networks for ffhq, horse, cat and car; one that you have as a file is imported "
                     "instead with: l4f convert BUNDLE NEW_BUNDLE --alpha FILE")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Say how long it will take, learn, put the masks into the bundle."""
    from ..training.class_masks import estimate_seconds, in_words, learn_masks

    def say(message: str) -> None:
        print(message, file=sys.stderr)

    if args.estimate:
        seconds = estimate_seconds(args.class_name, args.device)
        if args.json:
            print_json({"class": args.class_name, "seconds": seconds})
        else:
            print(f"Learning masks for {args.class_name} takes {in_words(seconds)} on this device.")
        return 0
    folder = learn_masks(args.class_name, device=args.device, again=args.again, report=say)
    if folder is None:
        return INTERRUPTED
    if args.json:
        print_json({"class": args.class_name, "folder": folder})
    else:
        print(f"{args.class_name} has masks now: {folder}")
    return 0
