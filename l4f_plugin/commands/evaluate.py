"""`l4f evaluate masks --predicted DIR --truth DIR`, `l4f evaluate class CLASS` and `l4f evaluate photos CLASS`."""

import argparse
from collections.abc import Collection
from pathlib import Path

from ..arguments import MOST_PICTURES, check_integer
from . import Answer, add_drawing, add_json, complain, load_pipeline, report, show_progress

MOST_STEPS = 1_000_000
MOST_TOLD = 20


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="masks|class|photos")
    masks = kinds.add_parser("masks", help="compare two folders of masks, paired by file name")
    masks.add_argument("--predicted", type=Path, required=True, metavar="DIR", help="the masks to measure")
    masks.add_argument("--truth", type=Path, required=True, metavar="DIR", help="the true masks")
    text = "masks are object from this value on (default: 0.5)"
    masks.add_argument("--threshold", type=float, default=0.5, help=text)
    add_json(masks)
    masks.set_defaults(evaluate=_evaluate_masks)
    judged = kinds.add_parser("class", help="judge the masks and pictures of an object class")
    _add_class(judged)
    judged.add_argument("--pictures", type=int, default=1000, help="generated pictures for each psi (default: 1000)")
    judged.set_defaults(evaluate=_evaluate_class)
    photos = kinds.add_parser("photos", help="measure the segmenter of photographs on held-out labelled pictures")
    _add_class(photos)
    photos.add_argument("--pictures", type=int, help="held-out pictures to measure on (default: all)")
    text = "also train the same student on true masks and judge the class's masks, to tell where the error comes from"
    photos.add_argument("--limits", action="store_true", help=text)
    photos.add_argument("--limit-steps", type=int, default=2000, help="steps of that training (default: 2000)")
    photos.add_argument("--sheet", type=Path, metavar="FILE", help="PNG of the ten worst: picture, mask, true mask")
    photos.set_defaults(evaluate=_evaluate_photos)


def _add_class(parser: argparse.ArgumentParser) -> None:
    add_drawing(parser, psi=False)
    text = (
        "labelled pictures of the class, with train, validation and test (default: the set of its name among the data "
        "sets that were made here)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help=text)
    parser.add_argument("--markdown", action="store_true", help="print a section for the model card")


def evaluate(args: argparse.Namespace) -> Answer:
    return args.evaluate(args)


def _tell(left_out: Collection[str]) -> None:
    """Says which pictures were left out, the first of them."""
    for sentence in list(left_out)[:MOST_TOLD]:
        complain(f"left out: {sentence}")
    if len(left_out) > MOST_TOLD:
        complain(f"{len(left_out) - MOST_TOLD} more pictures were left out")


def _evaluate_masks(args: argparse.Namespace) -> Answer:
    from ..evaluation.mask_metrics import compare_folders

    comparison = compare_folders(args.predicted, args.truth, args.threshold)
    _tell(comparison.left_out.values())
    return Answer(comparison.as_dict(), comparison.as_text())


def _evaluate_class(args: argparse.Namespace) -> Answer:
    check_integer("The number of pictures", args.pictures, 2, MOST_PICTURES)

    from ..bundles.folders import cache_folder
    from ..evaluation.class_evaluation import class_text, evaluate_class

    pipeline = load_pipeline(args)
    dataset = args.data or cache_folder() / "datasets" / pipeline.config.name
    found = evaluate_class(pipeline, dataset, cache_folder() / "judges", args.pictures, progress=show_progress)
    _tell(found.left_out)
    return Answer(found.as_dict(), class_text(found, args.markdown))


def _evaluate_photos(args: argparse.Namespace) -> Answer:
    if args.pictures is not None:
        check_integer("The number of pictures", args.pictures, 1, MOST_PICTURES)
    check_integer("The number of steps", args.limit_steps, 1, MOST_STEPS)

    from ..bundles.folders import cache_folder
    from ..evaluation.photo_evaluation import evaluate_photos, limit_settings, photo_text
    from ..images import write_png
    from ..provenance import check_may_write, sheet_text

    if args.sheet is not None:
        check_may_write(args.sheet)
    pipeline = load_pipeline(args)
    found, worst = evaluate_photos(
        pipeline,
        args.data or cache_folder() / "datasets" / pipeline.config.name,
        pictures=args.pictures,
        limits_folder=cache_folder() / "judges" if args.limits else None,
        settings=limit_settings(pipeline, args.limit_steps),
        report=report,
        progress=show_progress,
    )
    if args.sheet is not None:
        check_may_write(args.sheet)
        write_png(args.sheet, worst, sheet_text("worst photographs"))
    _tell(found.left_out)
    return Answer(found.as_dict(), photo_text(found, args.markdown))
