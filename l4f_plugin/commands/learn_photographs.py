"""``l4f learn-photographs CLASS``: a photo segmenter for a class that has masks, without a data set."""

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
    parser.add_argument("--again", action="store_true",
                        help="replace the segmenter that is there by one that it teaches, which is better")
    parser.epilog = ("It takes about 10 minutes on one processor core for pictures of 128 px. Stopped by Ctrl-C or a "
                     "crash, the same command goes on from there.")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Draw pictures, learn from them, put the segmenter into the bundle."""
    from ..training.class_photographs import learn_photographs

    def say(message: str) -> None:
        print(message, file=sys.stderr)

    folder = learn_photographs(args.class_name, device=args.device, again=args.again, report=say)
    if folder is None:
        return INTERRUPTED
    if args.json:
        print_json({"class": args.class_name, "folder": folder})
    else:
        print(f"{args.class_name} finds its object in photographs now: {folder}")
    return 0
