"""`l4f publish` and `space`: a class becomes a model repository, or a demonstration, on the Hub."""

import argparse
from functools import partial
from pathlib import Path

from . import Answer, add_device, add_json, given, report


def add_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a class of `l4f classes`, or the folder of a bundle")
    parser.add_argument("repository", metavar="REPO_ID", help="the repository to make or update, as owner/name")
    text = "Markdown with metrics for the card, as `l4f evaluate class CLASS --markdown` prints"
    parser.add_argument("--measured", type=Path, metavar="FILE", help=text)
    add_device(parser)
    _add_terms(parser)


def publish(args: argparse.Namespace) -> Answer:
    from ..hub.sharing.model_repository import publish
    from ..sample_sheet import draw_samples

    options = _publication(args, measured=args.measured, draw=partial(draw_samples, device=args.device))
    return _outcome(args, publish(args.bundle, args.repository, options, report))


def add_space(parser: argparse.ArgumentParser) -> None:
    text = "a class, the folder of a bundle, or a repository as owner/name, which is pinned by its present revision"
    parser.add_argument("bundle", metavar="BUNDLE_OR_REPO", help=text)
    parser.add_argument("repository", metavar="SPACE_ID", help="the Space to make or update, as owner/name")
    parser.add_argument("--copy", action="store_true", help="copy weights of a repository in instead of pinning them")
    _add_terms(parser)


def space(args: argparse.Namespace) -> Answer:
    from ..hub.sharing.space import publish_space

    address = publish_space(args.bundle, args.repository, _publication(args, copy=args.copy), report)
    return _outcome(args, address, "; try it with: python app.py in that folder")


def _add_terms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--private", action="store_true", help="only you and whom you let in can see it")
    text = "write the folder that would be uploaded to the new or empty DIR, and upload nothing"
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help=text)
    text = "the licence of weights whose licence is unknown, such as CC0-1.0"
    parser.add_argument("--declare-licence", dest="licence", metavar="LICENCE", help=text)
    parser.add_argument("--licence-file", type=Path, metavar="FILE", help="the text of that licence, to go along")
    parser.add_argument("--attribution", metavar="TEXT", help="whose work it is made of, where the licence asks")
    parser.add_argument("--without-masks", action="store_true", help="leave the alpha network out")
    text = "the masks were learned by you, where the bundle does not tell"
    parser.add_argument("--own-masks", action="store_true", help=text)
    add_json(parser)


def _publication(args: argparse.Namespace, **more):
    from ..hub.sharing.model_repository import Publication
    from ..hub.sharing.terms import Declared

    return Publication(Declared(**given(args, Declared)), private=args.private, dry=args.dry_run, **more)


def _outcome(args: argparse.Namespace, address: str | None, hint: str = "") -> Answer:
    """Where it is now: at its `address`, or in the folder that would be uploaded, with a `hint` for a person."""
    words = address or f"{args.dry_run} holds what would be uploaded to {args.repository}{hint}"
    return Answer({"repository": args.repository, "address": address, "folder": args.dry_run}, words)
