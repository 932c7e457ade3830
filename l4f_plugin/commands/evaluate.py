"""`l4f evaluate masks --predicted DIR --truth DIR` and `l4f evaluate class CLASS`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import MOST_PICTURES, check_integer
from . import add_class_argument, add_device_arguments, add_json_argument, print_json, show_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the two kinds of evaluation."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="masks|class")
    masks = kinds.add_parser("masks", help="compare two folders of masks, paired by file name")
    masks.add_argument("--predicted", type=Path, required=True, metavar="DIR", help="the masks to measure")
    masks.add_argument("--truth", type=Path, required=True, metavar="DIR", help="the true masks")
    masks.add_argument(
        "--threshold", type=float, default=0.5, help="masks are object from this value on (default: 0.5)"
    )
    add_json_argument(masks)
    judged = kinds.add_parser("class", help="judge the masks and pictures of an object class")
    add_class_argument(judged)
    judged.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="labelled pictures of the class, with train, validation and test "
        "(default: the set of its name among the data sets that were made here)",
    )
    judged.add_argument("--pictures", type=int, default=1000, help="generated pictures for each psi (default: 1000)")
    judged.add_argument("--markdown", action="store_true", help="print a section for the model card")
    add_device_arguments(judged)
    add_json_argument(judged)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    return {"masks": _evaluate_masks, "class": _evaluate_class}[arguments.kind](arguments)


def _evaluate_masks(arguments: argparse.Namespace) -> int:
    from ..evaluation.masks import compare_folders
    from ..evaluation.report import folder_text

    comparison = compare_folders(arguments.predicted, arguments.truth, arguments.threshold)
    if arguments.json:
        print_json(comparison.as_dict())
    else:
        print(folder_text(comparison))
    return 0


def _evaluate_class(arguments: argparse.Namespace) -> int:
    check_integer("The number of pictures", arguments.pictures, 2, MOST_PICTURES)

    from ..checkpoints.folders import cache_folder
    from ..evaluation.object_class import evaluate_class
    from ..evaluation.report import class_markdown, class_text
    from ..pipeline import Labels4FreePipeline

    pipeline = Labels4FreePipeline.from_pretrained(arguments.class_name, device=arguments.device, dtype=arguments.dtype)
    dataset = arguments.data or cache_folder() / "datasets" / pipeline.config.class_name
    report = evaluate_class(pipeline, dataset, cache_folder() / "judges", arguments.pictures, progress=show_progress)
    if arguments.json:
        print_json(report.as_dict())
    else:
        print(class_markdown(report) if arguments.markdown else class_text(report))
    return 0
