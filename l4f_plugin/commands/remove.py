"""``l4f remove CLASS``: deletes a class from this computer."""

from __future__ import annotations

import argparse
import sys

from . import add_json_argument, confirm, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("class_name", metavar="CLASS", help="a name that `l4f classes` lists")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Say what will go, ask, delete."""
    from ..errors import UserError
    from ..hub import removal
    from ..hub.transfer import megabytes

    planned = removal.removal(args.class_name)
    if not args.yes:
        if not sys.stdin.isatty():
            size = megabytes(planned.bytes)
            raise UserError(f"This deletes {size} of {args.class_name}; if that is meant, add --yes.")
        for path in planned.paths:
            print(path, file=sys.stderr)
        if not confirm(f"Delete these {megabytes(planned.bytes)} of {args.class_name}?"):
            print("Nothing was deleted.", file=sys.stderr)
            return 1
    done = removal.remove(args.class_name)
    if args.json:
        print_json({"class": done.name, "bytes": done.bytes, "paths": list(done.paths)})
    else:
        print(f"{done.name}: {megabytes(done.bytes)} deleted")
    return 0
