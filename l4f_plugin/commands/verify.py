"""``l4f verify [CLASS ...]``: are the files of the classes on this computer what they should be?"""

from __future__ import annotations

import argparse
import sys

from . import add_json_argument, print_json, show_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "class_names",
        metavar="CLASS",
        nargs="*",
        help="names that `l4f classes` lists, or folders of bundles (default: all that are installed)",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Check sizes and hashes; 2 where a class is not whole."""
    from ..bundles import catalogue
    from ..errors import UserError

    names = args.class_names or [entry.name for entry in catalogue.classes() if entry.installed or entry.problem]
    results = []
    for name in names:
        try:
            folder = catalogue.verify(name, progress=show_progress)
            results.append({"class": name, "verified": True, "folder": folder, "problem": None})
        except UserError as error:
            results.append({"class": name, "verified": False, "folder": None, "problem": str(error)})
    if args.json:
        print_json(results)
    else:
        for result in results:
            if result["verified"]:
                print(f"{result['class']}: verified")
            else:
                print(f"l4f: {result['class']}: {result['problem']}", file=sys.stderr)
        if not results:
            print("No class is installed; `l4f classes` lists what there is.")
    return 0 if all(result["verified"] for result in results) else 2
