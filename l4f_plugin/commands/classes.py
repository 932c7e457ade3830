"""``l4f classes``: the object classes on offer."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--json", action="store_true", help="print the list for a program")


def run(args: argparse.Namespace) -> int:
    """List the classes, one a line."""
    from ..checkpoints import catalogue

    entries = catalogue.classes()
    if args.json:
        print(json.dumps([asdict(entry) for entry in entries]))
        return 0
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        state = "installed" if entry.installed else "not installed"
        about = entry.problem or f"{entry.title}, {entry.resolution} px, {entry.licence}, {state}"
        print(f"{entry.name:{width}}  {about}")
        print(f"{'':{width}}  {entry.location}")
    print(f"Bundles put into {catalogue.models_folder()} are found by their folder's name.")
    return 0
