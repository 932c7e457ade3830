"""``l4f learn-photographs CLASS``: a photo segmenter for a class that has masks, without a data set."""

from __future__ import annotations

import argparse

from . import add_learning_arguments, print_learned, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_learning_arguments(parser, "replace the segmenter that is there by one that it teaches, which is better")
    parser.epilog = (
        "It takes about 10 minutes on one processor core for pictures of 128 px. Stopped by Ctrl-C or a "
        "crash, the same command goes on from there."
    )


def run(args: argparse.Namespace) -> int:
    """Draw pictures, learn from them, put the segmenter into the bundle."""
    from ..training.class_photographs import learn_photographs

    folder = learn_photographs(args.class_name, device=args.device, again=args.again, report=report)
    return print_learned(args, folder, "finds its object in photographs now")
