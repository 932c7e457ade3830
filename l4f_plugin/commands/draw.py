"""`l4f generate`, `swap` and `motion`: what a class draws."""

import argparse
from dataclasses import replace

from .. import arguments
from ..animations import FORMATS, check_animation, format_of
from ..arguments import ENLARGED, LARGEST_BATCH, Background, EdgeOptions
from ..bundles.files import make_folder
from ..errors import UserError
from . import (
    Answer,
    add_drawing,
    add_edge,
    add_out,
    given,
    load_pipeline,
    report,
    show_progress,
    style_of,
    write_subject,
)

OF_THE_CLASS = object()  # what --threshold without a number stands for


def add_generate(parser: argparse.ArgumentParser) -> None:
    add_drawing(parser, style=True)
    parser.add_argument("--seeds", default="-1", help="numbers and ranges as in 0-7,12; -1 draws one (default)")
    text = (
        "folder for seed0000.png, seed0000_alpha.png, seed0000_cutout.png and seed0000_background.png; earlier "
        "results are replaced, other files stay and the results get a number"
    )
    add_out(parser, "DIR", text)
    parser.add_argument("--no-background", action="store_true", help="leave the backgrounds out: half the time")
    text = "write the style codes too, as seed0000_w_plus.safetensors"
    parser.add_argument("--save-w-plus", action="store_true", help=text)
    parser.add_argument("--batch-size", type=int, default=4, help="pictures drawn at once (default: 4)")
    text = "write the same pictures at so many times their size"
    parser.add_argument("--enlarge", type=int, choices=ENLARGED, default=1, help=text)


def generate(args: argparse.Namespace) -> Answer:
    """Draws and writes one batch after the other; what is written stays when a later one fails."""
    seeds = list(dict.fromkeys(arguments.parse_seeds(args.seeds)))
    arguments.check_integer("The batch size", args.batch_size, 1, LARGEST_BATCH)
    style, folder = style_of(args), make_folder(args.out)
    pipeline = load_pipeline(args)
    samples = pipeline.stream(
        seeds, **style, batch_size=args.batch_size, with_background=not args.no_background, progress=show_progress
    )
    written = []
    for sample in samples:
        area = None if sample.alpha is None else round(float(sample.alpha.mean()), 4)
        files = write_subject(sample.enlarged(args.enlarge), folder, with_w_plus=args.save_w_plus)
        told = {"seed": sample.seed, "truncation_psi": sample.style.truncation_psi, "mask_area": area}
        written.append({**told, **files})
        if not args.json:
            print(f"seed {sample.seed}: {files['picture']}")
    name = pipeline.config.name
    if pipeline.bundle.alpha is None:
        report(f"{name} has no masks yet; learn them with: l4f learn-masks {name}")
    dtype = str(pipeline.dtype).removeprefix("torch.")
    return Answer({"class": name, "device": pipeline.device, "dtype": dtype, "samples": written})


def add_swap(parser: argparse.ArgumentParser) -> None:
    add_drawing(parser, style=True)
    parser.add_argument("--seed", type=int, default=-1, help="the subject; -1 draws one (default)")
    text = (
        "seed:7 (the background of another sample), a picture file, '#3366ff' (in quotes), blur:8 (the subject's own, "
        "blurred) or transparent"
    )
    parser.add_argument("--background", required=True, help=text)
    add_out(parser, "FILE", "PNG file; an earlier result is replaced, other files are left alone")
    text = "make the mask hard at this level from 0 to 1; without a number at the class's own (default: soft mask)"
    parser.add_argument("--threshold", type=float, nargs="?", const=OF_THE_CLASS, help=text)
    add_edge(parser)
    text = (
        "where the subject's middle, its lower end and how high it is, in shares of the result's sides; the result has "
        "the size of a background picture (default for those: 0.5,1.0,0.67)"
    )
    parser.add_argument("--placed", metavar="CENTRE,BOTTOM,HEIGHT", help=text)
    text = "the result has the size that the class draws, and a background picture is cropped to it"
    parser.add_argument("--class-size", action="store_true", help=text)
    parser.add_argument("--flipped", action="store_true", help="mirror the placed subject")


def swap(args: argparse.Namespace) -> Answer:
    seed = arguments.draw_seed() if args.seed == -1 else arguments.check_seed(args.seed)
    threshold = None if args.threshold is OF_THE_CLASS else args.threshold
    edge = EdgeOptions(**{**given(args, EdgeOptions), "threshold": threshold})  # mistakes before weights are read
    style = style_of(args)
    background = Background.parse(args.background)
    if background.note:
        report(background.note)
    where = arguments.wanted_spot(args.placed, args.flipped, args.class_size, background.kind == "picture")
    if args.out.suffix.lower() != ".png":
        raise UserError(f"{args.out} is written as PNG; give it a name that ends in .png.")
    make_folder(args.out.parent)

    from ..images import write_png
    from ..provenance import check_may_write

    check_may_write(args.out)
    pipeline = load_pipeline(args)
    if args.threshold is OF_THE_CLASS:
        edge = replace(edge, threshold=pipeline.config.alpha_threshold)
    result = pipeline.swap(seed, background, where=where, **vars(edge), **style)
    check_may_write(args.out)
    write_png(args.out, result.composite, result.infotext)
    data = {
        "class": pipeline.config.name,
        "seed": seed,
        "background": background.label,
        "threshold": edge.threshold,
        "truncation_psi": result.subject.style.truncation_psi,
        "device": pipeline.device,
        "size": result.composite.size,
        "picture": args.out,
    }
    return Answer(data, f"seed {seed} before {background.label}: {args.out}")


def add_motion(parser: argparse.ArgumentParser) -> None:
    add_drawing(parser)
    parser.add_argument("--seeds", required=True, help="two or more, as in 1,2,3: the way leads from one to the next")
    text = "ends in .webp, .apng or .png, or .webm; an earlier result is replaced, other files are left alone"
    add_out(parser, "FILE", text)
    parser.add_argument("--format", choices=FORMATS, help="default: as the file's ending says; webm needs ffmpeg")
    parser.add_argument("--frames", type=int, default=90, help="how many (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=30, help="frames a second (default: %(default)s)")
    parser.add_argument("--loop", action="store_true", help="lead back to the first seed, so that it repeats smoothly")
    text = "straight through the styles (default), or around their mean"
    parser.add_argument("--interpolation", choices=("linear", "spherical"), default="linear", help=text)


def motion(args: argparse.Namespace) -> Answer:
    seeds = arguments.parse_seeds(args.seeds)
    format_name = format_of(args.out, args.format)
    check_animation(format_name, args.frames, args.fps)
    if args.truncation_psi is not None:
        arguments.check_truncation_psi(args.truncation_psi)

    from ..animations import write_animation
    from ..motion import check_motion, draw_motion, motion_infotext
    from ..provenance import check_may_write

    check_motion(len(seeds), args.frames, args.interpolation)
    make_folder(args.out.parent)
    check_may_write(args.out)
    pipeline = load_pipeline(args)
    check_animation(format_name, args.frames, args.fps, pipeline.picture_size)
    psi = pipeline.config.truncation_psi if args.truncation_psi is None else args.truncation_psi
    subjects, how = pipeline.codes(seeds, psi), {"interpolation": args.interpolation, "loop": args.loop}
    frames = draw_motion(pipeline, subjects, args.frames, progress=show_progress, **how)
    check_may_write(args.out)
    name = pipeline.config.name
    write_animation(args.out, frames, format_name, args.fps, motion_infotext(name, seeds))
    seconds = args.frames / args.fps
    data = {"class": name, "seeds": seeds, "format": format_name, "frames": args.frames, "seconds": seconds}
    return Answer({**data, "file": args.out}, f"{args.frames} frames, {seconds:.1f} s: {args.out}")
