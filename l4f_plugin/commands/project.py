"""`l4f project CLASS FILES... --out DIR`: style codes from which the class draws given pictures again."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ..arguments import PROJECTION_STEPS, check_integer
from . import (
    add_class_argument,
    add_device_arguments,
    add_json_argument,
    make_folder,
    print_json,
    report,
    report_passed_over,
    show_progress,
)

ENDINGS = ["_projected.png", "_alpha.png", "_cutout.png", "_w_plus.safetensors"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_class_argument(parser)
    parser.add_argument(
        "pictures",
        metavar="FILES",
        type=Path,
        nargs="+",
        help="pictures, folders with their subfolders, or ZIP and TAR archives of them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for NAME_projected.png, which the class draws, _alpha.png and _cutout.png of the "
        "picture itself, and _w_plus.safetensors, which `l4f segment CLASS --w-plus FILE` draws again; "
        "earlier results are replaced, other files stay and the results get a number",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=PROJECTION_STEPS,
        help="of gradient descent; more come closer (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the pictures among which the start is looked for")
    add_device_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Finds the codes of each picture and writes them; 2 where a picture could not be read."""
    from ..photo_batch import find_photos

    check_integer("The number of steps", arguments.steps, 2, 10_000)
    pictures = find_photos(arguments.pictures)
    folder = make_folder(arguments.out)

    from ..bundles.bundle import load_bundle
    from ..errors import UserError
    from ..frames import first_frame_only
    from ..hub.download import resolve
    from ..images import write_png
    from ..own_files import free_stem, left_alone
    from ..pipeline import Labels4FreePipeline
    from ..projection import project

    source = resolve(arguments.class_name, with_discriminator=True)
    pipeline = Labels4FreePipeline(
        load_bundle(source, with_discriminator=True), device=arguments.device, dtype=arguments.dtype
    )
    report_passed_over(pictures)
    results, taken = [], set()
    for picture in pictures:
        begun, stem = time.monotonic(), free_stem(folder, picture.stem, ENDINGS, taken)
        try:
            source = picture.source()
            notes = [
                note
                for note in (left_alone(folder, picture.stem, ENDINGS, stem), first_frame_only(source, picture.name))
                if note
            ]
            found = project(pipeline, source, steps=arguments.steps, seed=arguments.seed, progress=show_progress)
        except UserError as error:
            if len(pictures) == 1:
                raise
            print(f"l4f: {picture.name}: {error}", file=sys.stderr)
            results.append({"source": picture.path, "name": picture.name, "problem": str(error)})
            continue
        sample, photo = found.sample, found.photo
        written = {
            "projected": (sample.picture(), sample),
            "alpha": (photo.mask(), photo),
            "cutout": (photo.cutout(), photo),
        }
        for note in notes:
            report(f"{picture.name}: {note}")
        files = {kind: folder / f"{stem}_{kind}.png" for kind in written}
        for kind, (image, origin) in written.items():
            write_png(files[kind], image, origin.infotext())
        files["w_plus"] = folder / f"{stem}_w_plus.safetensors"
        sample.w_plus.save(files["w_plus"])
        seconds = round(time.monotonic() - begun, 1)
        results.append(
            {
                "source": picture.path,
                "name": picture.name,
                "problem": None,
                "distance": found.distance,
                "seconds": seconds,
                "notes": notes,
                **files,
            }
        )
        if not arguments.json:
            print(f"{picture.name}: {files['projected']}, {files['w_plus']} ({seconds:g} s)")
    if arguments.json:
        print_json({"class": pipeline.config.name, "pictures": results, "passed_over": pictures.passed_over})
    return 2 if any(result["problem"] for result in results) else 0
