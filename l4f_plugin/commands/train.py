"""`l4f learn-masks`, `learn-photographs` and `analyse` for a class; `l4f train` for run folders."""

from __future__ import annotations

import argparse
import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..architecture import resolutions_up_to
from ..arguments import LARGEST_PSI, LARGEST_SEED, check_number
from ..bundles.fields import RESOLUTIONS
from ..errors import Cancelled, UserError
from . import Answer, add_class, add_device, add_json, agreed, given, report, show_progress

if TYPE_CHECKING:
    from ..training.class_run import ClassRun

CURVES = "write the curves as event files for TensorBoard too, which the extra curves brings"
PHOTOGRAPHS = "folder or archive of photographs without labels, to learn from by the masks of the earlier segmenter"
BOUNDS = {
    **dict.fromkeys(("r1_weight", "path_length_weight"), (0, 1e30)),
    "learning_rate": (1e-12, 1e30),
    "style_mixing": (0, 1),
    "truncation_psi": (-LARGEST_PSI, LARGEST_PSI),
    "seed": (0, LARGEST_SEED),
    "save_minutes": (0, 1e6),
}
AGAIN = "The same command goes on where it was stopped by Ctrl-C or a crash."


def add_learn_masks(parser: argparse.ArgumentParser) -> None:
    _add_installed(parser, "replace masks that are there")
    text = "full also learns photographs, refines the masks by them, and learns from a second seed, to compare"
    parser.add_argument("--quality", choices=("quick", "full"), default="quick", help=text)
    parser.add_argument("--estimate", action="store_true", help="only say how long it would take here")
    parser.epilog = (
        f"{AGAIN} The authors of Labels4Free published alpha networks for ffhq, horse, cat and car; one that you have "
        "as a file is imported instead with: l4f convert BUNDLE NEW_BUNDLE --alpha FILE"
    )


def learn_masks(args: argparse.Namespace) -> Answer:
    from ..training import learning, training_time

    if args.estimate:
        seconds = learning.estimate_seconds(args.class_name, args.device)[args.quality]
        words = f"Learning masks for {args.class_name} takes {training_time.in_words(seconds)} on this device."
        return Answer({"class": args.class_name, "seconds": seconds}, words)
    folder = learning.learn_masks(
        args.class_name, quality=args.quality, device=args.device, again=args.again, report=report
    )
    return _learned(args, folder, "has masks now")


def add_learn_photographs(parser: argparse.ArgumentParser) -> None:
    _add_installed(parser, "replace the segmenter that is there by one that it teaches, which is better")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help=PHOTOGRAPHS)
    parser.epilog = f"It takes about 10 minutes on one processor core for pictures of 128 px. {AGAIN}"


def learn_photographs(args: argparse.Namespace) -> Answer:
    from ..training.learning import learn_photographs

    how = {"photographs": args.photographs, "device": args.device, "again": args.again}
    folder = learn_photographs(args.class_name, **how, report=report)
    return _learned(args, folder, "finds its object in photographs now")


def add_analyse(parser: argparse.ArgumentParser) -> None:
    add_class(parser)
    parser.add_argument("--pictures", type=_positive, default=32, help="generated pictures (default: %(default)s)")
    text = "PNG with a figure; an earlier result is replaced, other files are left alone"
    parser.add_argument("--out", type=Path, metavar="FILE", help=text)
    add_device(parser)
    add_json(parser)


def analyse(args: argparse.Namespace) -> Answer:
    """Says which layers and channels carry the object, and which switch that speaks for."""
    from ..bundles.bundle import load_bundle
    from ..hub.download import resolve
    from ..images import write_png
    from ..provenance import check_may_write, sheet_text
    from ..runtime import choose_device
    from ..training.analysis import analyse

    if args.out is not None:
        check_may_write(args.out)
    bundle = load_bundle(resolve(args.class_name))
    found = analyse(bundle, choose_device(args.device), args.pictures, show_progress)
    if args.out is not None:
        write_png(args.out, found.figure(), sheet_text("gradients of a generator"))
    return Answer(found.as_dict(), found.in_words())


def _add_installed(parser: argparse.ArgumentParser, again: str) -> None:
    text = "a name that `l4f classes` lists, or the folder of a bundle"
    parser.add_argument("class_name", metavar="CLASS", help=text)
    parser.add_argument("--again", action="store_true", help=again)
    add_device(parser)
    add_json(parser)


def _learned(args: argparse.Namespace, folder: Path | None, words: str) -> Answer:
    if folder is None:
        raise Cancelled
    return Answer({"class": args.class_name, "folder": folder}, f"{args.class_name} {words}: {folder}")


def add_train(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="class|generator|alpha|student|refine")
    whole = kinds.add_parser("class", help="make a class from a folder of pictures: all stages, one command")
    _add_class(whole)
    whole.set_defaults(train=None)
    for name, (add, function, text) in TRAININGS.items():
        kind = kinds.add_parser(name, help=text)
        add(kind)
        kind.set_defaults(train=function)
        text = "run folder: states, metrics, sheets, bundle; a run that is found there goes on"
        kind.add_argument("--out", type=Path, required=True, help=text)
        kind.add_argument("--batch-size", type=_positive, help="pictures a step; as the recipe says by default")
        kind.add_argument("--learning-rate", type=float, help="as the recipe says by default")
        kind.add_argument("--seed", type=int, help="of everything random; see --threads")
        add_device(kind)
        kind.add_argument(
            "--dtype", dest="feature_dtype", choices=["float32", "bfloat16"], help="precision of the feature maps"
        )
        text = "processor threads; with 1 the same seed repeats a run to the bit on the same machine"
        kind.add_argument("--threads", type=_positive, help=text)
        kind.add_argument("--curves", action="store_true", help=CURVES)
        kind.add_argument("--save-minutes", type=float, default=5.0, help="the most work that a kill can lose")


def train(args: argparse.Namespace) -> Answer:
    """Trains, and says where the result is. Raises `Cancelled` when stopped before the end."""
    # Read when torch is loaded. Threads that wait actively for one whose core is taken made steps nine times longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if args.train is None:
        return _train_class(args)
    for name, bounds in BOUNDS.items():
        if getattr(args, name, None) is not None:
            check_number(f"--{name.replace('_', '-')}", getattr(args, name), *bounds)
    import torch

    from ..training.loop import write_events
    from ..training.together import is_first, team
    from ..training.updates import fastest_dtype

    if args.threads:
        torch.set_num_threads(args.threads)
    with team(args.device) as device:
        args.feature_dtype = args.feature_dtype or fastest_dtype(device)
        finished = args.train(args, {"device": device, "save_seconds": args.save_minutes * 60})
        if args.curves and is_first():
            report(f"The curves are in {write_events(args.out)}.")
        if not finished:
            raise Cancelled
    return Answer(None)


def _add_class(parser: argparse.ArgumentParser) -> None:
    text = "pictures, an archive of them, or a data set of the Hub, OWNER/NAME; leave it out to go on"
    parser.add_argument("folder", nargs="?", type=Path, help=text)
    parser.add_argument("--name", required=True, help="of the class: small letters, digits, - and _")
    text = "draws 32, 64, 128 or 256 pixels; by default the pictures' own size, but at most 64"
    parser.add_argument("--resolution", type=int, help=text)
    text = "how long the generator trains: 20,000, 400,000 (the default) or 1,500,000 pictures; quick ends with masks"
    parser.add_argument("--quality", choices=["quick", "good", "long"], help=text)
    parser.add_argument("--pictures", type=_positive, help="another number of pictures to show")
    text = "cut the middle square, keep the whole between black bars, or bend to a square; as the pictures ask for"
    parser.add_argument("--fit", choices=["crop", "letterbox", "squash"], help=text)
    text = "class to start from, of the same resolution or half of it"
    parser.add_argument("--from", dest="start", metavar="CLASS", help=text)
    parser.add_argument("--licence", default="unknown", help="of the resulting weights, for the model card")
    parser.add_argument("--batch-size", type=_positive, help="pictures a step of the generator, 8 by default")
    _add_shared(parser, "--accumulate", "--freeze-blocks")
    add_device(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--look", action="store_true", help="only say what was found, and how long it would take")
    what.add_argument("--use-best", action="store_true", help="install what there is of a training as the class")
    text = "go on with what helps against the trouble that was told: augmentation, more R1, smaller steps"
    what.add_argument("--mend", action="store_true", help=text)
    what.add_argument("--curves", action="store_true", help=CURVES)
    what.add_argument("--delete", action="store_true", help="delete a training; the installed class stays")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    parser.epilog = AGAIN


def _train_class(args: argparse.Namespace) -> Answer:
    """Looks, plans, trains; Ctrl-C stops it after the step."""
    from ..training.class_run import ClassRun
    from ..training.loop import write_events
    from ..training.picture_survey import place_of

    run = ClassRun(args.name)
    if args.use_best:
        run.use_best(report)
    elif args.curves:
        _ = run.plan
        report(f"The curves are in {write_events(run.folder)}.")
    elif args.mend:
        run.change_plan()
    elif args.delete:
        if not agreed(args, f"the training {run.plan.name} and all its work", [run.folder]):
            return Answer(None, code=1)
        run.delete()
        report(f"The training of {args.name} is deleted.")
    elif args.look or not run.exists:
        _plan_class(args, run)
    if args.look or args.use_best or args.curves or args.delete:
        return Answer(None)
    plan = run.plan
    asked = {name: getattr(args, name) for name in ("resolution", "quality", "fit", "start", "pictures", "batch_size")}
    if others := [name for name, value in asked.items() if value not in (None, getattr(plan, name))]:
        raise UserError(
            f"The training {args.name} began with another {others[0].replace('_', ' ')}, {getattr(plan, others[0])}; "
            "go on with it without options, or choose another name."
        )
    if args.folder and place_of(args.folder, show_progress) != Path(plan.folder):
        raise UserError(
            f"The training {args.name} is of the pictures in {plan.folder}; go on with it without a folder, "
            "or choose another name."
        )
    report(
        f"Samples and all else come into {run.folder}, the first sheet after a few steps; Ctrl-C stops it, and it goes "
        f"on with: l4f train class --name {args.name}"
    )
    try:
        if not run.work(report, show_progress):
            raise Cancelled
    except (Cancelled, KeyboardInterrupt):
        report(f"Stopped. Go on with: l4f train class --name {args.name}")
        report(f"Use what there is with: l4f train class --name {args.name} --use-best")
        raise Cancelled from None
    return Answer(None)


def _plan_class(args: argparse.Namespace, run: ClassRun) -> None:
    """Says what the pictures are, and writes the plan down or, for a look, says how long it takes."""
    from ..training.class_plan import measured, plan_for
    from ..training.picture_survey import place_of, survey

    if args.folder is None:
        _ = run.plan  # says that there is none
    folder = place_of(args.folder, show_progress)
    found = survey(folder, show_progress)
    report(" ".join(found.in_words()))
    names = ("resolution", "quality", "fit", "start", "licence", "device", "pictures", "batch_size")
    names += ("accumulate", "frozen_blocks")
    plan = plan_for(found, run.name, folder, **{name: getattr(args, name) for name in names})
    if not args.look:
        run.begin(plan)
        return
    report(f"Measuring how long that takes at {plan.resolution} px.")
    for line in measured(plan).in_words():
        report(line)


def _add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    r1 = "of the discriminator's gradient penalty; more is steadier and slower, as the recipe says by default"
    freeze = "with --from: so many finest blocks of the discriminator stay as they are (FreezeD, Mo et al. 2020)"
    parts = "compute each batch in so many parts, for less memory; parts of four pictures or more change no weight"
    known = {
        "--r1-weight": {"type": float, "help": r1},
        "--freeze-blocks": {"type": _positive, "dest": "frozen_blocks", "help": freeze},
        "--accumulate": {"type": _positive, "metavar": "PARTS", "help": parts},
    }
    for name in names:
        parser.add_argument(name, **known[name])


def _add_generator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="pictures, searched with subfolders")
    parser.add_argument("--pictures", type=_positive, default=1_000_000, help="how many to show in all")
    text = "side of the pictures (default: %(default)s)"
    parser.add_argument("--resolution", type=int, choices=RESOLUTIONS, default=64, help=text)
    parser.add_argument("--from", dest="source", help="bundle to start from; one of half the resolution is grown")
    parser.add_argument("--name", help="class name in the bundle; the folder's name by default")
    parser.add_argument("--licence", default="unknown", help="of the resulting weights, for the model card")
    parser.add_argument("--channel-base", type=_positive, default=2048, help="channels are base / resolution ...")
    parser.add_argument("--channel-max", type=_positive, default=256, help="... at most this, at least 16")
    parser.add_argument("--discriminator-channel-base", type=_positive, help="as --channel-base by default")
    parser.add_argument("--discriminator-channel-max", type=_positive, help="as --channel-max by default")
    kinds, text = ["none", "fixed", "adaptive"], "of what the discriminator sees, for a few thousand pictures or less"
    parser.add_argument("--augmentation", choices=kinds, default="none", help=text)
    text = "keep this shape of picture, with black bars beside it that the class cuts off again; square by default"
    parser.add_argument("--letterbox", type=_aspect, metavar="W:H", help=text)
    text = "of a smooth way from code to picture; 0, the default, leaves it out"
    parser.add_argument("--path-length-weight", type=float, default=0.0, help=text)
    text = "share of the pictures with two styles, 0.5 by default"
    parser.add_argument("--style-mixing", type=float, default=0.5, help=text)
    parser.add_argument("--ema-half-life", type=_positive, help="of the averaged weights, in pictures")
    text = "no per-pixel noise inputs; better for drawings"
    parser.add_argument("--no-noise", action="store_false", dest="noise", help=text)
    parser.add_argument("--no-flip", action="store_false", dest="flip", help="do not mirror pictures")
    _add_shared(parser, "--freeze-blocks", "--r1-weight", "--accumulate")


def _train_generator(args: argparse.Namespace, common: dict) -> bool:
    from ..hub.download import resolve
    from ..training.generator_training import GeneratorSettings
    from ..training.pictures import letterbox
    from ..training.runs import train_generator

    discriminator_base = args.discriminator_channel_base or args.channel_base
    discriminator_max = args.discriminator_channel_max or args.channel_max
    settings = GeneratorSettings(
        channels=_channel_table(args.resolution, args.channel_base, args.channel_max),
        discriminator_channels=_channel_table(args.resolution, discriminator_base, discriminator_max),
        crop=letterbox(args.resolution, args.letterbox) if args.letterbox else None,
        **given(args, GeneratorSettings),
    )
    return train_generator(
        args.folder,
        args.out,
        settings,
        args.pictures,
        source=resolve(args.source, with_discriminator=True) if args.source else None,
        class_name=args.name,
        licence=args.licence,
        **common,
    )


def _add_alpha(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser, "as the recipe says by default")
    parser.add_argument("folder", type=Path, nargs="?", help="real pictures (only --recipe paper uses them)")
    kinds, text = ["default", "paper"], "as tuned here, or as published, which wants real pictures"
    parser.add_argument("--recipe", choices=kinds, default="default", help=text)
    text = "of the pictures to learn from; as the recipe says by default"
    parser.add_argument("--truncation-psi", type=float, help=text)
    _add_shared(parser, "--r1-weight", "--accumulate")


def _train_alpha(args: argparse.Namespace, common: dict) -> bool:
    from ..bundles.config import read_config
    from ..training.recipes import AlphaSettings, paper_recipe
    from ..training.runs import train_alpha

    source = _whole_bundle(args)
    recipe = paper_recipe(read_config(source).name) if args.recipe == "paper" else AlphaSettings()
    settings = dataclasses.replace(recipe, **given(args, AlphaSettings))
    return train_alpha(source, args.out, settings, folder=args.folder, **common)


def _add_student(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser, "2000 by default, about 10 minutes on one processor core")
    parser.add_argument("--pictures", type=_positive, help="how many to draw to learn from, 4000 by default")
    text = "whose masks to learn from; by default the class's earlier student where it has one"
    parser.add_argument("--teacher", choices=["alpha", "student"], help=text)
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help=PHOTOGRAPHS)


def _train_student(args: argparse.Namespace, common: dict) -> bool:
    from ..bundles.config import read_config
    from ..picture_files import find_pictures
    from ..training.runs import train_student
    from ..training.student import StudentSettings, student_settings

    if args.photographs:
        find_pictures(args.photographs)
    source = _whole_bundle(args)
    resolution = read_config(source).generator.resolution
    settings = student_settings(resolution, bool(args.photographs), **given(args, StudentSettings))
    return train_student(source, args.out, settings, teacher=args.teacher, photographs=args.photographs, **common)


def _refine(args: argparse.Namespace, common: dict) -> bool:
    from ..training.refinement import RefinementSettings
    from ..training.runs import refine_alpha

    settings = RefinementSettings(**given(args, RefinementSettings))
    return refine_alpha(_whole_bundle(args), args.out, settings, **common)


def _add_bundle(parser: argparse.ArgumentParser, steps: str) -> None:
    add_class(parser)
    parser.add_argument("--steps", type=_positive, help=steps)


def _whole_bundle(args: argparse.Namespace) -> Path:
    """With its discriminator, which a training may go on from, and which the result keeps."""
    from ..hub.download import resolve

    return resolve(args.class_name, with_discriminator=True)


def _channel_table(resolution: int, base: int, most: int) -> dict[int, int]:
    """Channels at 4, 8, ... ``resolution``: base / r within [16, most], and within what is asked below 16."""
    return {size: max(min(16, most), min(most, base // size)) for size in resolutions_up_to(resolution)}


def _aspect(text: str) -> float:
    width, _, height = text.partition(":")
    if not (width.isdecimal() and height.isdecimal() and 1 / 4 <= int(width) / max(int(height), 1) <= 4):
        raise argparse.ArgumentTypeError(f"must be width:height, for example 3:4, at most 4 to 1, not {text!r}")
    return int(width) / int(height)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


_REFINES = "600 by default, about 3 minutes on one processor core"
TRAININGS = {
    "generator": (_add_generator, _train_generator, "train a generator from a folder of pictures"),
    "alpha": (_add_alpha, _train_alpha, "train the masks of a bundle; needs no pictures by default"),
    "student": (_add_student, _train_student, "train a segmenter of photographs from a class with masks"),
    "refine": (partial(_add_bundle, steps=_REFINES), _refine, "let the masks learn from the segmenter of photographs"),
}
