"""`l4f motion CLASS --seeds 1,2,3 --frames 90 --out FILE`: an animation with transparency."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..animations import FORMATS, check_animation, format_of
from ..arguments import check_truncation_psi, parse_seeds
from . import add_class_argument, add_device_arguments, add_json_argument, make_folder, print_json, show_progress

DEFAULT_FRAMES, DEFAULT_FPS = 90, 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_class_argument(parser)
    parser.add_argument("--seeds", required=True, help="two or more, as in 1,2,3: the way leads from one to the next")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="ends in .webp, .apng or .png, or .webm; an earlier result is replaced, other files are left alone",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: as the file's ending says; webm needs ffmpeg")
    parser.add_argument("--frames", type=int, default=DEFAULT_FRAMES, help=f"how many (default: {DEFAULT_FRAMES})")
    parser.add_argument("--fps", type=int, default=DEFAULT_FPS, help=f"frames a second (default: {DEFAULT_FPS})")
    parser.add_argument("--loop", action="store_true", help="lead back to the first seed, so that it repeats smoothly")
    parser.add_argument(
        "--interpolation",
        choices=("linear", "spherical"),
        default="linear",
        help="straight through the styles (default), or around their mean",
    )
    parser.add_argument("--truncation-psi", type=float, metavar="PSI", help="from -2 to 2 (default: the class's own)")
    add_device_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draws the frames and writes one file."""
    seeds = parse_seeds(arguments.seeds)
    format_name = format_of(arguments.out, arguments.format)
    check_animation(format_name, arguments.frames, arguments.fps)
    if arguments.truncation_psi is not None:
        check_truncation_psi(arguments.truncation_psi)

    from ..animations import write_animation
    from ..motion import check_motion, draw_motion, motion_infotext
    from ..own_files import check_may_write
    from ..pipeline import Labels4FreePipeline

    check_motion(seeds, arguments.frames, arguments.interpolation)
    make_folder(arguments.out.parent)
    check_may_write(arguments.out)
    pipeline = Labels4FreePipeline.from_pretrained(arguments.class_name, device=arguments.device, dtype=arguments.dtype)
    check_animation(format_name, arguments.frames, arguments.fps, pipeline.picture_size)
    frames = draw_motion(
        pipeline,
        seeds,
        arguments.frames,
        interpolation=arguments.interpolation,
        loop=arguments.loop,
        truncation_psi=arguments.truncation_psi,
        progress=show_progress,
    )
    check_may_write(arguments.out)
    text = motion_infotext(pipeline.config.name, seeds)
    write_animation(arguments.out, frames, format_name, arguments.fps, text)
    if arguments.json:
        print_json(
            {
                "class": pipeline.config.name,
                "seeds": seeds,
                "format": format_name,
                "frames": arguments.frames,
                "seconds": arguments.frames / arguments.fps,
                "file": arguments.out,
            }
        )
    else:
        print(f"{arguments.frames} frames, {arguments.frames / arguments.fps:.1f} s: {arguments.out}")
    return 0
