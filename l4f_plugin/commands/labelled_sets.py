"""`l4f export` and `merge-export`: labelled sets of pictures."""

import argparse
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ..bundles.files import make_folder
from ..datasets.curation import Curation
from ..datasets.export_plan import BACKGROUNDS, DEFAULT_BATCH, DEFAULT_SHARD, FORMATS, ExportSettings, shares
from . import Answer, add_drawing, add_json, add_out, given, load_pipeline, report, report_passed_over, show_progress

MOST_NAMED = 1000  # characters


def add_export(parser: argparse.ArgumentParser) -> None:
    add_drawing(parser, style=True)
    text = "pictures in the set; what curation drops is replaced"
    parser.add_argument("--count", type=int, required=True, help=text)
    parser.add_argument("--format", required=True, choices=FORMATS, help="how the set is laid out")
    add_out(parser, "DIR", "a new folder, or one where the same command was stopped: it goes on from there")
    text = "longer side; larger pictures are averaged down (default: as the class draws)"
    parser.add_argument("--size", type=int, metavar="PIXELS", help=text)
    parser.add_argument("--first-seed", type=int, default=0, metavar="SEED", help="where the seeds begin (default: 0)")
    text = "shares of train, validation and test (default: %(default)s)"
    parser.add_argument("--split", default="0.8,0.1,0.1", metavar="SHARES", help=text)
    text = (
        f"one or more of {', '.join(BACKGROUNDS)} with commas between; each picture gets one of them at random: its "
        "own (default), another seed's, a plain colour, a picture of yours"
    )
    parser.add_argument("--backgrounds", default="own", metavar="KINDS", help=text)
    parser.add_argument("--background-pictures", type=Path, metavar="FOLDER", help="your pictures, for that last kind")
    for name, metavar, text in (
        ("--min-area", "SHARE", "that cover less of the picture"),
        ("--max-area", "SHARE", "that cover more"),
        ("--max-uncertainty", "NUMBER", "that are softer, from 0 (hard) to 1 (faint)"),
        ("--min-largest-piece", "SHARE", "whose largest piece is less of the whole"),
    ):
        text = f"drop masks {text} (default: far outside of what is usual in the class)"
        parser.add_argument(name, type=float, metavar=metavar, help=text)
    parser.add_argument("--no-curation", action="store_true", help="keep every mask")
    text = "what is drawn before it counts as done (default: %(default)s)"
    parser.add_argument("--shard-size", type=int, default=DEFAULT_SHARD, metavar="PICTURES", help=text)
    text = "pictures drawn at once (default: %(default)s)"
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH, help=text)
    text = "only say how long it would take here, and how much space"
    parser.add_argument("--estimate", action="store_true", help=text)
    parser.epilog = (
        "Under torchrun (RANK and WORLD_SIZE) each process draws its share of the shards. Folders of "
        "several machines become one set with: l4f merge-export DIR DIR --out DIR"
    )


def export(args: argparse.Namespace) -> Answer:
    args.curation = Curation(**given(args, Curation))
    args.split, args.backgrounds = shares(args.split), tuple(kind.strip() for kind in args.backgrounds.split(","))
    settings = ExportSettings(**given(args, ExportSettings))
    if args.no_curation:
        settings = replace(settings, curation=None)

    from ..datasets import exporting
    from ..datasets.export_backgrounds import BackgroundFolder

    rank = exporting.rank_of(os.environ)
    pictures = None
    if args.background_pictures:
        pictures = BackgroundFolder.of(args.background_pictures, args.out)
        report_passed_over(pictures.found)
        if further := pictures.found.first_frames():
            report(f"{further} backgrounds have several frames or pages, of which only the first is used.")
    if not args.estimate:
        make_folder(args.out)
    args.device = args.device or exporting.local_device(os.environ)
    pipeline = load_pipeline(args)
    plan = exporting.make_plan(pipeline, settings, pictures)
    if args.estimate:
        seconds, size = exporting.estimate(plan, lambda: nullcontext(pipeline), pictures)
        words = f"about {seconds / 60:.1f} minutes on this device, {size / 1e6:,.0f} MB"
        return Answer({"seconds": round(seconds, 1), "bytes": size}, words)
    whole = exporting.export(
        plan, args.out, lambda: nullcontext(pipeline), pictures=pictures, rank=rank, progress=show_progress
    )
    unreadable = pictures.unreadable if pictures else {}
    if unreadable:
        named = ", ".join(sorted(unreadable))[:MOST_NAMED]
        report(f"{len(unreadable)} background pictures could not be read and were passed over: {named}")
    if not whole and not args.json:
        report(f"the shards of rank {rank[0]} are done: {args.out}")
    data = {
        "class": plan.source.name,
        "format": settings.format,
        "pictures": settings.count,
        "size": plan.picture_size,
        "folder": args.out,
        "complete": whole,
        "unreadable": unreadable,
    }
    return Answer(data, f"{settings.count:,} pictures with masks: {args.out} (see README.md there)" if whole else "")


def add_merge_export(parser: argparse.ArgumentParser) -> None:
    text = "folders that the same `l4f export` wrote, each with some of the shards"
    parser.add_argument("parts", nargs="+", type=Path, metavar="DIR", help=text)
    add_out(parser, "DIR", "a new folder, or one of the parts, which then gets what it lacks")
    add_json(parser)


def merge_export(args: argparse.Namespace) -> Answer:
    """Makes one set of what several machines exported: copies, checks hashes, writes annotations and card."""
    from ..datasets.exporting import merge

    make_folder(args.out)
    plan = merge(args.parts, args.out, progress=show_progress)
    data = {"class": plan.source.name, "pictures": plan.settings.count, "folder": args.out}
    return Answer(data, f"{plan.settings.count:,} pictures with masks: {args.out}")
