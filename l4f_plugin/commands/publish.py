"""``l4f publish BUNDLE REPO_ID``: a class becomes a model repository on the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import add_json_argument, print_json, report

if TYPE_CHECKING:
    from ..publishing.terms import Declared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a class of `l4f classes`, or the folder of a bundle")
    parser.add_argument("repository", metavar="REPO_ID", help="the repository to make or update, as owner/name")
    parser.add_argument(
        "--measured",
        type=Path,
        metavar="FILE",
        help="Markdown with metrics for the card, as `l4f evaluate class CLASS --markdown` prints",
    )
    parser.add_argument("--device", help="where the sample pictures are drawn: auto (default), cpu, cuda or mps")
    add_publishing_arguments(parser)


def add_publishing_arguments(parser: argparse.ArgumentParser) -> None:
    """What a model repository and a Space have in common."""
    parser.add_argument("--private", action="store_true", help="only you and whom you let in can see it")
    parser.add_argument(
        "--dry-run",
        type=Path,
        metavar="DIR",
        help="write the folder that would be uploaded to the new or empty DIR, and upload nothing",
    )
    parser.add_argument(
        "--declare-licence", metavar="LICENCE", help="the licence of weights whose licence is unknown, such as CC0-1.0"
    )
    parser.add_argument("--licence-file", type=Path, metavar="FILE", help="the text of that licence, to go along")
    parser.add_argument("--attribution", metavar="TEXT", help="whose work it is made of, where the licence asks")
    parser.add_argument("--without-masks", action="store_true", help="leave the alpha network out")
    parser.add_argument(
        "--own-masks", action="store_true", help="the masks were learned by you, where the bundle does not tell"
    )
    add_json_argument(parser)


def declared_by(args: argparse.Namespace) -> Declared:
    """What these options declare."""
    from ..publishing.terms import Declared

    return Declared(args.declare_licence, args.attribution, args.licence_file, args.without_masks, args.own_masks)


def print_outcome(args: argparse.Namespace, repository: str, *, address: str | None = None, hint: str = "") -> None:
    """Where it is now: at its `address`, or in the folder that would be uploaded, with a `hint` for a person."""
    if args.json:
        print_json({"repository": repository, "address": address, "folder": args.dry_run})
    else:
        print(address or f"{args.dry_run} holds what would be uploaded to {repository}{hint}")


def run(args: argparse.Namespace) -> int:
    """Publish, or write the folder; say where it is."""
    from ..publishing.model_repository import Publication, prepare, publish

    publication = Publication(declared_by(args), args.measured, args.private, args.device)
    if args.dry_run is not None:
        prepare(args.bundle, args.repository, args.dry_run, publication, report)
        print_outcome(args, args.repository)
    else:
        print_outcome(args, args.repository, address=publish(args.bundle, args.repository, publication, report))
    return 0
