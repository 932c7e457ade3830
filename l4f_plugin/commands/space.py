"""``l4f space BUNDLE_OR_REPO SPACE_ID``: a demonstration of a class becomes a Gradio Space."""

from __future__ import annotations

import argparse

from . import report
from .publish import add_publishing_arguments, declared_by, print_outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "bundle",
        metavar="BUNDLE_OR_REPO",
        help="a class, the folder of a bundle, or a repository as owner/name, which is pinned by its present revision",
    )
    parser.add_argument("space", metavar="SPACE_ID", help="the Space to make or update, as owner/name")
    parser.add_argument("--copy", action="store_true", help="copy weights of a repository in instead of pinning them")
    add_publishing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Share, or write the folder; say where it is."""
    from ..publishing.space import SpaceOptions, prepare_space, publish_space

    options = SpaceOptions(declared_by(args), args.private, args.copy)
    if args.dry_run is not None:
        prepare_space(args.bundle, args.space, args.dry_run, options, report)
        print_outcome(args, args.space, hint="; try it with: python app.py in that folder")
    else:
        print_outcome(args, args.space, address=publish_space(args.bundle, args.space, options, report))
    return 0
