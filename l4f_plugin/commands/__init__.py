"""The commands of `l4f`, one module each.

Each has `add_arguments(parser)` and `run(arguments)`, which returns the exit code. What brings torch is
imported within `run`, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import NOISE_MODES
from ..errors import Cancelled

if TYPE_CHECKING:
    from ..picture_files import PictureSet
    from ..subject import Subject


def add_class_argument(parser: argparse.ArgumentParser) -> None:
    """Which object class."""
    parser.add_argument(
        "class_name",
        metavar="CLASS",
        help="a name that `l4f classes` lists, the folder of a bundle, or a Hugging Face repository as owner/name",
    )


def add_style_arguments(parser: argparse.ArgumentParser) -> None:
    """How pictures look, besides the seed."""
    parser.add_argument(
        "--truncation-psi",
        type=float,
        metavar="PSI",
        help="from -2 to 2: 1 draws freely, smaller numbers keep closer to the mean picture (default: the class's own)",
    )
    parser.add_argument(
        "--truncation-cutoff", type=int, metavar="LAYER", help="leave the styles from this layer on untruncated"
    )
    parser.add_argument(
        "--noise-mode",
        choices=NOISE_MODES,
        default="random",
        help="fine detail: drawn from the seed (random, the default), the same for all (stored), or none",
    )


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to compute, and how exactly."""
    parser.add_argument("--device", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument("--dtype", help="float32, float16 or bfloat16 (default: float16 on CUDA, else float32)")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """For programs that read the answer."""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def add_learning_arguments(parser: argparse.ArgumentParser, again: str) -> None:
    """Which installed class learns, where, and whether `again`, which says what then becomes of what it has."""
    parser.add_argument(
        "class_name", metavar="CLASS", help="a name that `l4f classes` lists, or the folder of a bundle"
    )
    parser.add_argument("--device", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument("--again", action="store_true", help=again)
    add_json_argument(parser)


def print_learned(args: argparse.Namespace, folder: Path | None, words: str) -> int:
    """Says where the class is that learned, `words` for a person. Raises `Cancelled` where it was stopped before."""
    if folder is None:
        raise Cancelled
    if args.json:
        print_json({"class": args.class_name, "folder": folder})
    else:
        print(f"{args.class_name} {words}: {folder}")
    return 0


def report(message: str) -> None:
    """A step, for a person who watches."""
    print(message, file=sys.stderr)


def report_passed_over(pictures: PictureSet) -> None:
    """Says how many pictures are used and what is not, where anything is not."""
    if pictures.passed_over:
        report(pictures.in_words())


def print_json(answer: Any) -> None:
    """The answer of a command for programs; paths become text."""
    print(json.dumps(answer, indent=1, default=str))


def confirm(question: str) -> bool:
    """Asks on the terminal; anything but y or yes is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def make_folder(folder: Path) -> Path:
    """Makes the output folder before any work is done for it. Raises `UserError` where that is impossible."""
    from ..bundles.files import storage_error

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    return folder


def show_progress(done: int, total: int, message: str) -> None:
    """One line on a terminal's stderr that is written over until all is done; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{message}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def write_subject(subject: Subject, folder: Path, *, with_w_plus: bool = False) -> dict[str, Path]:
    """Writes picture, mask, cut-out and background, as far as the subject has them, with infotext; their paths.

    They get a number where files of these names are not ours, which is said.
    """
    from ..own_files import free_stem, left_alone
    from ..subject import ENDINGS, write_parts

    parts = subject.parts() | ({"w_plus": subject.w_plus} if with_w_plus else {})
    endings = [ENDINGS[kind] for kind in parts]
    stem = free_stem(folder, subject.stem, endings)
    if note := left_alone(folder, subject.stem, endings, stem):
        report(note)
    files = write_parts(folder, stem, parts, subject.infotext())
    return {"alpha" if kind == "mask" else kind: path for kind, path in files.items()}
