"""`l4f segment CLASS FILES... --out DIR`, and the same for `--seed 3`, `--w-plus FILE` or `--picture FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Background, EdgeOptions, check_seed, check_truncation_psi, draw_seed
from ..errors import UserError
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
    write_sample,
)

if TYPE_CHECKING:
    from ..picture_files import PictureSet
    from ..pipeline import Labels4FreePipeline
    from ..provenance import Recipe, WPlus

ZIP_STEM = "segmented"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_class_argument(parser)
    parser.add_argument(
        "photos",
        metavar="FILES",
        type=Path,
        nargs="*",
        help="photographs of the class, folders with their subfolders, or ZIP and TAR archives; what "
        "was segmented before is passed over",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--seed", type=int, help="the picture of this seed; -1 draws one")
    source.add_argument(
        "--w-plus",
        type=Path,
        metavar="FILE",
        help="style codes that `l4f generate --save-w-plus` or the page saved, or a projector of "
        "NVIDIA's or rosinality's (.npz, .npy, .pt)",
    )
    source.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="a PNG that this plug-in saved: its text names the seed; others are taken for photographs",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for NAME_alpha.png, NAME_cutout.png and so on; earlier results are replaced, "
        "other files stay and the results get a number",
    )
    photos = parser.add_argument_group("photographs")
    photos.add_argument(
        "--background",
        help="writes NAME_composite.png too: seed:7 (of the class), a picture file, "
        "'#3366ff' (in quotes) or blur:8 (the photograph's own, blurred)",
    )
    photos.add_argument("--threshold", type=float, help="make the mask hard at this level from 0 to 1")
    photos.add_argument(
        "--grow", type=int, default=0, metavar="PIXELS", help="enlarge the mask, or shrink it with a negative number"
    )
    photos.add_argument("--feather", type=float, default=0.0, metavar="PIXELS", help="soften the mask's edge")
    photos.add_argument("--keep-largest", action="store_true", help="drop all but the largest piece of the mask")
    photos.add_argument("--zip", action="store_true", help=f"put all results into {ZIP_STEM}.zip as well")
    photos.add_argument("--again", action="store_true", help="segment anew what was segmented before")
    add_style_arguments(parser)
    add_device_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Finds the subject of what was named and writes it; 2 where a photograph could not be read."""
    photos, subject = _sources(arguments)
    picture = arguments.picture
    edge = EdgeOptions(arguments.threshold, arguments.grow, arguments.feather, arguments.keep_largest)
    background = None if arguments.background is None else Background.parse(arguments.background)
    if background and background.note:
        report(background.note)
    if arguments.truncation_psi is not None:
        check_truncation_psi(arguments.truncation_psi)
    folder = make_folder(arguments.out)

    from ..picture_files import PictureFile, PictureSet
    from ..pipeline import Labels4FreePipeline

    pipeline = Labels4FreePipeline.from_pretrained(arguments.class_name, device=arguments.device, dtype=arguments.dtype)
    if picture is not None:
        subject = pipeline.recipe_of_picture(picture)
        photos = None if subject else PictureSet([PictureFile.of(picture)])
    if photos is not None:
        return _segment_photos(pipeline, photos, folder, background, edge, arguments)
    return _segment_subject(pipeline, subject, folder, arguments)


def _sources(arguments: argparse.Namespace) -> tuple[PictureSet | None, int | WPlus | Recipe | None]:
    """Photographs, or else what stands for a picture that the class draws."""
    from ..photo_batch import find_photos
    from ..provenance import WPlus, recipe_of

    drawn = [arguments.seed, arguments.w_plus, arguments.picture]
    if bool(arguments.photos) + sum(given is not None for given in drawn) != 1:
        raise UserError(
            "Either photographs or one of --seed, --w-plus and --picture is required; see `l4f segment --help`."
        )
    if arguments.photos:
        return find_photos(arguments.photos), None
    if arguments.picture is not None:
        recipe_of(arguments.picture)  # complains about what is no picture, before weights are read
        return None, None
    if arguments.w_plus is not None:
        return None, WPlus.load(arguments.w_plus)
    return None, draw_seed() if arguments.seed == -1 else check_seed(arguments.seed)


def _segment_photos(
    pipeline: Labels4FreePipeline,
    photos: PictureSet,
    folder: Path,
    background: Background | None,
    edge: EdgeOptions,
    arguments: argparse.Namespace,
) -> int:
    from ..own_files import free_stem, left_alone
    from ..photo_batch import pack, segment_photos

    report_passed_over(photos)
    results = []
    for result in segment_photos(
        pipeline, photos, folder, background, edge, again=arguments.again, progress=show_progress
    ):
        results.append(result)
        if result.problem:
            print(f"l4f: {result.name}: {result.problem}", file=sys.stderr)
        for note in result.notes:
            report(f"{result.name}: {note}")
    archive = None
    if arguments.zip:
        archive = pack(results, folder / f"{free_stem(folder, ZIP_STEM, ['.zip'])}.zip")
        if note := left_alone(folder, ZIP_STEM, [".zip"], archive.stem):
            report(note)
    failed = sum(result.problem is not None for result in results)
    if arguments.json:
        print_json(
            {
                "class": pipeline.config.name,
                "photos": [
                    {
                        "source": result.source,
                        "name": result.name,
                        "problem": result.problem,
                        "kept": result.kept,
                        "notes": result.notes,
                        "confidence": result.confidence,
                        **result.files,
                    }
                    for result in results
                ],
                "passed_over": photos.passed_over,
                "zip": archive,
            }
        )
    else:
        kept = sum(result.kept for result in results)
        before = f", {kept} of them before" if kept else ""
        print(f"{len(results) - failed} of {len(results)} photographs segmented{before}: {archive or folder}")
    return 2 if failed else 0


def _segment_subject(
    pipeline: Labels4FreePipeline, subject: int | WPlus | Recipe, folder: Path, arguments: argparse.Namespace
) -> int:
    sample = pipeline.segment(
        subject,
        truncation_psi=arguments.truncation_psi,
        truncation_cutoff=arguments.truncation_cutoff,
        noise_mode=arguments.noise_mode,
    )
    files = write_sample(sample, folder)
    area = round(float(sample.required_alpha().mean()), 4)
    if arguments.json:
        print_json({"class": pipeline.config.name, "seed": sample.seed, "mask_area": area, **files})
    else:
        print(f"the subject covers {area:.0%}: {files['alpha']}, {files['cutout']}")
    return 0
