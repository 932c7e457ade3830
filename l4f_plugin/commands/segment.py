"""`l4f segment` and `project`: what a class finds in given pictures."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import MARGIN, PROJECTION_STEPS, Background, Canvas, EdgeOptions, check_integer, check_seed, draw_seed
from ..bundles.files import make_folder
from ..errors import UserError
from . import (
    Answer,
    add_drawing,
    add_edge,
    add_out,
    complain,
    given,
    load_pipeline,
    report,
    report_passed_over,
    show_progress,
    style_of,
    write_subject,
)

if TYPE_CHECKING:
    from ..picture_files import PictureSet
    from ..pipeline import Labels4FreePipeline
    from ..provenance import Recipe, WPlus

ZIP_STEM = "segmented"
PROJECTED_ENDINGS = ["_projected.png", "_alpha.png", "_cutout.png", "_w_plus.safetensors"]


def add_segment(parser: argparse.ArgumentParser) -> None:
    add_drawing(parser, style=True)
    text = (
        "photographs of the class, folders with their subfolders, or ZIP and TAR archives; what was segmented before "
        "is passed over"
    )
    parser.add_argument("photos", metavar="FILES", type=Path, nargs="*", help=text)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--seed", type=int, help="the picture of this seed; -1 draws one")
    text = (
        "style codes that `l4f generate --save-w-plus` or the page saved, or a projector of NVIDIA's or rosinality's "
        "(.npz, .npy, .pt)"
    )
    source.add_argument("--w-plus", type=Path, metavar="FILE", help=text)
    text = "a PNG that this plug-in saved: its text names the seed; others are taken for photographs"
    source.add_argument("--picture", type=Path, metavar="FILE", help=text)
    text = "folder for NAME_alpha.png, NAME_cutout.png and so on; earlier results are replaced, other files stay"
    add_out(parser, "DIR", text)
    photos = parser.add_argument_group("photographs")
    text = (
        "writes NAME_composite.png too: seed:7 (of the class), a picture file, '#3366ff' (in quotes) or blur:8 (the "
        "photograph's own, blurred)"
    )
    photos.add_argument("--background", help=text)
    photos.add_argument("--threshold", type=float, help="make the mask hard at this level from 0 to 1")
    add_edge(photos, keep_largest=True)
    photos.add_argument(
        "--jpeg", action="store_true", help="composites as JPEG: smaller files, for shops; needs an opaque background"
    )
    text = "centre the subject, as large as fits, in results of this size, as in 1600x1600 (default: the photograph's)"
    photos.add_argument("--canvas", metavar="WIDTHxHEIGHT", help=text)
    text = f"left free on all sides of the canvas, a share of its shorter one (default: {MARGIN:.0%}%)"
    photos.add_argument("--margin", metavar="SHARE", help=text)
    photos.add_argument(
        "--zip", action="store_true", help=f"put the results of this command into {ZIP_STEM}.zip as well"
    )
    photos.add_argument("--again", action="store_true", help="segment anew what was segmented before")


def segment(args: argparse.Namespace) -> Answer:
    """Finds the subject of what was named and writes it; 2 where a photograph could not be read."""
    photos, subject = _sources(args)
    edge = EdgeOptions(**given(args, EdgeOptions))
    if args.canvas is None and args.margin is not None:
        raise UserError("A margin belongs to a canvas; give --canvas 1600x1600 too.")
    margin = MARGIN if args.margin is None else args.margin
    canvas = None if args.canvas is None else Canvas.parse(args.canvas, margin)
    background = None if args.background is None else Background.parse(args.background)
    if background and background.note:
        report(background.note)
    if args.jpeg and (background is None or background.kind == "transparent"):
        raise UserError("A JPEG holds no transparency; give a --background too, such as '#ffffff'.")
    changed = background or canvas or args.zip or edge != EdgeOptions(keep_largest=True)
    if changed and (args.seed is not None or args.w_plus):
        raise UserError(
            "Background, canvas, archive and changes of the edge are for photographs; for what the class draws, use "
            "l4f swap."
        )
    style, folder = style_of(args), make_folder(args.out)

    from ..picture_files import PictureFile, PictureSet

    pipeline = load_pipeline(args)
    if args.picture is not None:
        subject = pipeline.recipe_of_picture(args.picture)
        photos = None if subject else PictureSet([PictureFile.of(args.picture)])
    if photos is not None:
        return _segment_photos(pipeline, photos, args, background, edge, canvas)
    sample = pipeline.segment(subject, **style)
    stem = (args.w_plus or args.picture).stem if sample.seed is None else None
    files, area = write_subject(sample, folder, stem=stem), round(float(sample.required_alpha().mean()), 4)
    data = {"class": pipeline.config.name, "seed": sample.seed, "mask_area": area, **files}
    return Answer(data, f"the subject covers {area:.0%}: {files['alpha']}, {files['cutout']}")


def _sources(args: argparse.Namespace) -> tuple[PictureSet | None, int | WPlus | Recipe | None]:
    """Photographs, or else what stands for a picture that the class draws."""
    from ..picture_files import find_photos
    from ..provenance import WPlus, recipe_of

    named = bool(args.photos) + sum(given is not None for given in (args.seed, args.w_plus, args.picture))
    if not named:
        raise UserError(
            f"Nothing is named that {args.class_name} shall find its object in; name photographs behind the class: "
            "l4f segment CLASS PHOTOS; or give --seed, --w-plus or --picture."
        )
    if named > 1:
        raise UserError("Give photographs or one of --seed, --w-plus and --picture, not several of them.")
    if args.photos:
        return find_photos(args.photos), None
    if args.picture is not None:
        recipe_of(args.picture)  # complains about what is no picture, before weights are read
        return None, None
    if args.w_plus is not None:
        return None, WPlus.load(args.w_plus)
    return None, draw_seed() if args.seed == -1 else check_seed(args.seed)


def _segment_photos(
    pipeline: Labels4FreePipeline, photos: PictureSet, args: argparse.Namespace, *how: object
) -> Answer:
    """`how` are background, edge and canvas."""
    from ..bundles import catalogue
    from ..bundles.likeness import is_strange
    from ..photo_batch import pack, segment_photos
    from ..photos import Rivals
    from ..provenance import free_stem, left_alone

    report_passed_over(photos)
    results, folder = [], args.out
    rivals = Rivals((e for e in catalogue.classes() if e.name != pipeline.config.name), pipeline.device)
    found = segment_photos(pipeline, photos, folder, *how, jpeg=args.jpeg, again=args.again, progress=show_progress)
    for picture, result in zip(photos, found, strict=True):
        results.append(result)
        if result.problem:
            complain(result.problem if result.name in result.problem else f"{result.name}: {result.problem}")
        for note in result.notes:
            report(f"{result.name}: {note}")
        if is_strange(result.confidence) and (fits := rivals.best(picture.source())):
            report(f"{result.name}: {fits[0].title} fits better (confidence {fits[1]:.2f}): l4f segment {fits[0].name}")
    archive = None
    if args.zip:
        archive = pack(results, folder / f"{free_stem(folder, ZIP_STEM, ['.zip'])}.zip")
        if note := left_alone(folder, ZIP_STEM, [".zip"], archive.stem):
            report(note)
    failed = sum(result.problem is not None for result in results)
    kept = sum(result.kept for result in results)
    told = ("source", "name", "problem", "kept", "notes", "confidence", "dropped", "along_edge")
    listed = [{**{name: getattr(result, name) for name in told}, **result.files} for result in results]
    data = {"class": pipeline.config.name, "photos": listed, "passed_over": photos.passed_over, "zip": archive}
    before = f", {kept} of them before" if kept else ""
    words = f"{len(results) - failed} of {len(results)} photographs segmented{before}: {archive or folder}"
    return Answer(data, words, 2 if failed else 0)


def add_project(parser: argparse.ArgumentParser) -> None:
    add_drawing(parser, psi=False)
    text = "pictures, folders with their subfolders, or ZIP and TAR archives of them"
    parser.add_argument("pictures", metavar="FILES", type=Path, nargs="+", help=text)
    text = (
        "folder for NAME_projected.png, which the class draws, _alpha.png and _cutout.png of the picture itself, and "
        "_w_plus.safetensors, which `l4f segment CLASS --w-plus FILE` draws again; earlier results are replaced, "
        "other files stay and the results get a number"
    )
    add_out(parser, "DIR", text)
    text = "of gradient descent; more come closer (default: %(default)s)"
    parser.add_argument("--steps", type=int, default=PROJECTION_STEPS, help=text)
    parser.add_argument("--seed", type=int, default=0, help="of the pictures among which the start is looked for")


def project(args: argparse.Namespace) -> Answer:
    """Finds style codes from which the class draws each picture again; 2 where a picture could not be read."""
    from ..picture_files import find_photos

    check_integer("The number of steps", args.steps, 2, 10_000)
    pictures = find_photos(args.pictures)
    folder = make_folder(args.out)

    from ..bundles.bundle import load_bundle
    from ..hub.download import resolve
    from ..pipeline import Labels4FreePipeline
    from ..provenance import free_stem

    bundle = load_bundle(resolve(args.class_name, with_discriminator=True), with_discriminator=True)
    pipeline = Labels4FreePipeline(bundle, device=args.device, dtype=args.dtype)
    report_passed_over(pictures)
    results, taken = [], set()
    for picture in pictures:
        told = {"source": picture.path, "name": picture.name, "problem": None}
        begun, stem = time.monotonic(), free_stem(folder, picture.stem, PROJECTED_ENDINGS, taken)
        try:
            told |= _project(pipeline, picture, folder, stem, args)
        except UserError as error:
            if len(pictures) == 1:
                raise
            complain(f"{picture.name}: {error}")
            results.append(told | {"problem": str(error)})
            continue
        results.append(told | {"seconds": round(time.monotonic() - begun, 1)})
        if not args.json:
            print("{name}: {projected}, {w_plus} ({seconds:g} s)".format(**results[-1]))
    data = {"class": pipeline.config.name, "pictures": results, "passed_over": pictures.passed_over}
    return Answer(data, code=2 if any(result["problem"] for result in results) else 0)


def _project(pipeline: Labels4FreePipeline, picture, folder: Path, stem: str, args: argparse.Namespace) -> dict:
    from ..images import first_frame_only
    from ..projection import project
    from ..provenance import left_alone
    from ..subject import write_parts

    source = picture.source()
    said = [left_alone(folder, picture.stem, PROJECTED_ENDINGS, stem), first_frame_only(source, picture.name)]
    found = project(pipeline, source, steps=args.steps, seed=args.seed, progress=show_progress)
    notes = [note for note in said if note]
    for note in notes:
        report(f"{picture.name}: {note}")
    sample, photo = found.sample, found.photo
    drawn = {"projected": sample.picture, "w_plus": sample.w_plus}
    files = write_parts(folder, stem, drawn, sample.infotext())
    seen = write_parts(folder, stem, {"mask": photo.mask, "cutout": photo.cutout}, photo.infotext())
    files |= {"alpha": seen["mask"], "cutout": seen["cutout"]}
    return {"distance": found.distance, "notes": notes, **files}
