"""`l4f evaluate masks --predicted DIR --truth DIR`, `l4f evaluate class CLASS` and `l4f evaluate photos CLASS`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path

from ..arguments import MOST_PICTURES, check_integer
from . import add_class_argument, add_device_arguments, add_json_argument, print_json, show_progress

MOST_STEPS = 1_000_000
MOST_TOLD = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the kinds of evaluation."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="masks|class|photos")
    masks = kinds.add_parser("masks", help="compare two folders of masks, paired by file name")
    masks.add_argument("--predicted", type=Path, required=True, metavar="DIR", help="the masks to measure")
    masks.add_argument("--truth", type=Path, required=True, metavar="DIR", help="the true masks")
    masks.add_argument(
        "--threshold", type=float, default=0.5, help="masks are object from this value on (default: 0.5)"
    )
    add_json_argument(masks)
    judged = kinds.add_parser("class", help="judge the masks and pictures of an object class")
    add_class_argument(judged)
    _add_data_argument(judged)
    judged.add_argument("--pictures", type=int, default=1000, help="generated pictures for each psi (default: 1000)")
    judged.add_argument("--markdown", action="store_true", help="print a section for the model card")
    add_device_arguments(judged)
    add_json_argument(judged)
    photos = kinds.add_parser("photos", help="measure the segmenter of photographs on held-out labelled pictures")
    add_class_argument(photos)
    _add_data_argument(photos)
    photos.add_argument("--pictures", type=int, help="held-out pictures to measure on (default: all)")
    photos.add_argument(
        "--limits",
        action="store_true",
        help="also train the same student on true masks and judge the "
        "class's masks, to tell where the error comes from",
    )
    photos.add_argument("--limit-steps", type=int, default=2000, help="steps of that training (default: 2000)")
    photos.add_argument("--sheet", type=Path, metavar="FILE", help="PNG of the ten worst: picture, mask, true mask")
    photos.add_argument("--markdown", action="store_true", help="print a section for the model card")
    add_device_arguments(photos)
    add_json_argument(photos)


def _add_data_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="labelled pictures of the class, with train, validation and test "
        "(default: the set of its name among the data sets that were made here)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    return {"masks": _evaluate_masks, "class": _evaluate_class, "photos": _evaluate_photos}[arguments.kind](arguments)


def _tell(left_out: Collection[str]) -> None:
    """Says which pictures were left out, the first of them."""
    for sentence in list(left_out)[:MOST_TOLD]:
        print(f"l4f: left out: {sentence}", file=sys.stderr)
    if len(left_out) > MOST_TOLD:
        print(f"l4f: {len(left_out) - MOST_TOLD} more pictures were left out", file=sys.stderr)


def _evaluate_masks(arguments: argparse.Namespace) -> int:
    from ..evaluation.masks import compare_folders
    from ..evaluation.report import folder_text

    comparison = compare_folders(arguments.predicted, arguments.truth, arguments.threshold)
    _tell(comparison.left_out.values())
    if arguments.json:
        print_json(comparison.as_dict())
    else:
        print(folder_text(comparison))
    return 0


def _evaluate_class(arguments: argparse.Namespace) -> int:
    check_integer("The number of pictures", arguments.pictures, 2, MOST_PICTURES)

    from ..bundles.folders import cache_folder
    from ..evaluation.object_class import evaluate_class
    from ..evaluation.report import class_markdown, class_text
    from ..pipeline import Labels4FreePipeline

    pipeline = Labels4FreePipeline.from_pretrained(arguments.class_name, device=arguments.device, dtype=arguments.dtype)
    dataset = arguments.data or cache_folder() / "datasets" / pipeline.config.name
    report = evaluate_class(pipeline, dataset, cache_folder() / "judges", arguments.pictures, progress=show_progress)
    _tell(report.left_out)
    if arguments.json:
        print_json(report.as_dict())
    else:
        print(class_markdown(report) if arguments.markdown else class_text(report))
    return 0


def _evaluate_photos(arguments: argparse.Namespace) -> int:
    if arguments.pictures is not None:
        check_integer("The number of pictures", arguments.pictures, 1, MOST_PICTURES)
    check_integer("The number of steps", arguments.limit_steps, 1, MOST_STEPS)

    from ..bundles.folders import cache_folder
    from ..evaluation.photo_report import photo_markdown, photo_text
    from ..evaluation.photos import evaluate_photos, limit_settings
    from ..images import write_png
    from ..own_files import check_may_write, sheet_text
    from ..pipeline import Labels4FreePipeline

    if arguments.sheet is not None:
        check_may_write(arguments.sheet)

    pipeline = Labels4FreePipeline.from_pretrained(arguments.class_name, device=arguments.device, dtype=arguments.dtype)
    report, worst = evaluate_photos(
        pipeline,
        arguments.data or cache_folder() / "datasets" / pipeline.config.name,
        pictures=arguments.pictures,
        limits_folder=cache_folder() / "judges" if arguments.limits else None,
        settings=limit_settings(pipeline, arguments.limit_steps),
        report=lambda line: print(line, file=sys.stderr),
        progress=show_progress,
    )
    if arguments.sheet is not None:
        check_may_write(arguments.sheet)
        write_png(arguments.sheet, worst, sheet_text("worst photographs"))
    _tell(report.left_out)
    if arguments.json:
        print_json(report.as_dict())
    else:
        print(photo_markdown(report) if arguments.markdown else photo_text(report))
    return 0
