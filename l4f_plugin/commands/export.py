"""`l4f export CLASS --count N --format folder|coco|yolo|webdataset|huggingface --out DIR`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from ..datasets.curation import Curation
from ..datasets.export_plan import BACKGROUNDS, DEFAULT_BATCH, DEFAULT_SHARD, FORMATS, ExportSettings, shares
from . import (
    add_class_argument,
    add_device_arguments,
    add_json_argument,
    add_style_arguments,
    make_folder,
    print_json,
    report,
    report_passed_over,
    show_progress,
)

MOST_NAMED = 1000  # characters
_USUAL = Curation()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_class_argument(parser)
    parser.add_argument("--count", type=int, required=True, help="pictures in the set; what curation drops is replaced")
    parser.add_argument("--format", required=True, choices=FORMATS, help="how the set is laid out")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new folder, or one where the same command was stopped: it goes on from there",
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="longer side; larger pictures are averaged down (default: as the class draws)",
    )
    parser.add_argument("--first-seed", type=int, default=0, metavar="SEED", help="where the seeds begin (default: 0)")
    parser.add_argument(
        "--split",
        default="0.8,0.1,0.1",
        metavar="SHARES",
        help="shares of train, validation and test (default: 0.8,0.1,0.1)",
    )
    parser.add_argument(
        "--backgrounds",
        default="own",
        metavar="KINDS",
        help=f"one or more of {', '.join(BACKGROUNDS)} with commas between; each picture gets one "
        "of them at random: its own (default), another seed's, a plain colour, a picture of yours",
    )
    parser.add_argument("--background-pictures", type=Path, metavar="FOLDER", help="your pictures, for that last kind")
    _add_curation_arguments(parser)
    parser.add_argument(
        "--shard-size",
        type=int,
        default=DEFAULT_SHARD,
        metavar="PICTURES",
        help=f"what is drawn before it counts as done (default: {DEFAULT_SHARD})",
    )
    parser.add_argument(
        "--batch-size", type=int, default=DEFAULT_BATCH, help=f"pictures drawn at once (default: {DEFAULT_BATCH})"
    )
    parser.add_argument(
        "--estimate", action="store_true", help="only say how long it would take here, and how much space"
    )
    parser.epilog = (
        "Under torchrun (RANK and WORLD_SIZE) each process draws its share of the shards. Folders of "
        "several machines become one set with: l4f merge-export DIR DIR --out DIR"
    )
    add_style_arguments(parser)
    add_device_arguments(parser)
    add_json_argument(parser)


def _add_curation_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--min-area",
        type=float,
        default=_USUAL.min_area,
        metavar="SHARE",
        help=f"drop masks that cover less of the picture (default: {_USUAL.min_area})",
    )
    parser.add_argument(
        "--max-area",
        type=float,
        default=_USUAL.max_area,
        metavar="SHARE",
        help=f"drop masks that cover more (default: {_USUAL.max_area})",
    )
    parser.add_argument(
        "--max-uncertainty",
        type=float,
        default=_USUAL.max_uncertainty,
        metavar="NUMBER",
        help=f"drop masks that are softer, from 0 (hard) to 1 (faint; default: {_USUAL.max_uncertainty})",
    )
    parser.add_argument(
        "--min-largest-piece",
        type=float,
        default=_USUAL.min_largest_piece,
        metavar="SHARE",
        help=f"drop masks whose largest piece is less of the whole (default: {_USUAL.min_largest_piece})",
    )
    parser.add_argument("--no-curation", action="store_true", help="keep every mask")


def run(arguments: argparse.Namespace) -> int:
    """Exports, or goes on with it."""
    settings = _settings(arguments)

    from ..datasets import export
    from ..datasets.export_backgrounds import PictureFolder
    from ..pipeline import Labels4FreePipeline

    rank = export.Rank.of(os.environ)
    pictures = None
    if arguments.background_pictures:
        pictures = PictureFolder.of(arguments.background_pictures, arguments.out)
        report_passed_over(pictures.found)
        if further := pictures.found.first_frames():
            report(f"{further} backgrounds have several frames or pages, of which only the first is used.")
    if not arguments.estimate:
        make_folder(arguments.out)
    pipeline = Labels4FreePipeline.from_pretrained(
        arguments.class_name, device=arguments.device or export.local_device(os.environ), dtype=arguments.dtype
    )
    plan = export.make_plan(pipeline, settings, pictures)
    if arguments.estimate:
        return _tell_estimate(export.estimate(plan, lambda: nullcontext(pipeline), pictures), arguments)
    whole = export.export(
        plan, arguments.out, lambda: nullcontext(pipeline), pictures=pictures, rank=rank, progress=show_progress
    )
    unreadable = pictures.unreadable if pictures else {}
    if unreadable:
        report(
            f"{len(unreadable)} background pictures could not be read and were passed over: "
            f"{', '.join(sorted(unreadable))[:MOST_NAMED]}"
        )
    if arguments.json:
        print_json(
            {
                "class": plan.source.name,
                "format": settings.format,
                "pictures": settings.count,
                "size": plan.picture_size,
                "folder": arguments.out,
                "complete": whole,
                "unreadable": unreadable,
            }
        )
    elif whole:
        print(f"{settings.count:,} pictures with masks: {arguments.out} (see README.md there)")
    else:
        print(f"the shards of rank {rank.rank} are done: {arguments.out}", file=sys.stderr)
    return 0


def _settings(arguments: argparse.Namespace) -> ExportSettings:
    curation = Curation(arguments.min_area, arguments.max_area, arguments.max_uncertainty, arguments.min_largest_piece)
    return ExportSettings(
        count=arguments.count,
        format=arguments.format,
        size=arguments.size,
        truncation_psi=arguments.truncation_psi,
        truncation_cutoff=arguments.truncation_cutoff,
        noise_mode=arguments.noise_mode,
        first_seed=arguments.first_seed,
        split=shares(arguments.split),
        backgrounds=tuple(kind.strip() for kind in arguments.backgrounds.split(",")),
        curation=None if arguments.no_curation else curation,
        shard_size=arguments.shard_size,
        batch_size=arguments.batch_size,
    )


def _tell_estimate(found, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json({"seconds": round(found.seconds, 1), "bytes": found.bytes})
    else:
        print(f"about {found.seconds / 60:.1f} minutes on this device, {found.bytes / 1e6:,.0f} MB")
    return 0
