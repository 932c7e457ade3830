"""`l4f merge-export DIR DIR --out DIR`: one set of what several machines exported."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_json_argument, make_folder, print_json, show_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "parts",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders that the same `l4f export` wrote, each with some of the shards",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new folder, or one of the parts, which then gets what it lacks",
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Copies, checks every hash, writes annotations, card and checksums."""
    from ..datasets.merge import merge

    make_folder(arguments.out)
    plan = merge(arguments.parts, arguments.out, progress=show_progress)
    if arguments.json:
        print_json({"class": plan.source.name, "pictures": plan.settings.count, "folder": arguments.out})
    else:
        print(f"{plan.settings.count:,} pictures with masks: {arguments.out}")
    return 0
