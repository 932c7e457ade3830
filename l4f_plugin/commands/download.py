"""``l4f download CLASS``: fetches a class now, so that its first use finds it."""

from __future__ import annotations

import argparse
import sys

from . import add_json_argument, confirm, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "class_name",
        metavar="CLASS",
        help="a name that `l4f classes` lists, or a Hugging Face repository as owner/name",
    )
    parser.add_argument(
        "--accept-licence", action="store_true", help="you have read the licence of the weights and accept it"
    )
    parser.add_argument(
        "--keep-original",
        action="store_true",
        default=None,
        help="keep a checkpoint that is converted in the Hub's cache (default: drop it, unless "
        "LABELS4FREE_KEEP_ORIGINALS=1)",
    )
    parser.add_argument("--force", action="store_true", help="fetch it although it is here: for an update or a mend")
    parser.add_argument("--revision", help="branch, tag or commit of the repository")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Download, verify and, where need be, convert; say where the bundle is."""
    from ..bundles import licences
    from ..bundles.catalogue import classes
    from ..hub.download import resolve

    def fetch(accepted: bool):
        return resolve(
            args.class_name,
            accept_licence=accepted,
            keep_original=args.keep_original,
            force_download=args.force,
            revision=args.revision,
        )

    try:
        folder = fetch(args.accept_licence)
    except licences.NotAccepted as error:
        asked = f"{error.wanted.name} is under {error.wanted.licence_in_words}. Do you accept that?"
        if not sys.stdin.isatty() or not confirm(asked):
            raise
        folder = fetch(True)
    if args.json:
        listed = [entry for entry in classes() if entry.location == str(folder)]
        print_json({"folder": folder, "class": listed[0].listed() if listed else None})
        return 0
    print(f"{args.class_name} is in {folder}")
    return 0
