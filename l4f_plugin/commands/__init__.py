"""The commands of `l4f`, those of one purpose in one module.

For each command NAME, its module has `add_NAME(parser)`, which declares the options, and `NAME(args)`, which returns
an `Answer`. What brings torch is imported when a command runs, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arguments import NOISE_MODES, check_truncation_psi
from ..errors import UserError

if TYPE_CHECKING:
    from ..picture_files import PictureSet
    from ..pipeline import Labels4FreePipeline
    from ..subject import Subject


WIDTH = 60  # of a line of progress, which the next one covers


class Answer(NamedTuple):
    """What a command says at its end: `data` to programs (`--json`), `words` to people, and the exit code."""

    data: Any
    words: str = ""
    code: int = 0

    def print(self, as_json: bool) -> None:
        """Writes one of both to stdout; in JSON, paths become text."""
        if as_json:
            print(json.dumps(self.data, indent=1, default=str))
        elif self.words:
            print(self.words)


def add_class(parser: argparse.ArgumentParser) -> None:
    text = "a name that `l4f classes` lists, the folder of a bundle, or a Hugging Face repository as owner/name"
    parser.add_argument("class_name", metavar="CLASS", help=text)


def add_drawing(parser: argparse.ArgumentParser, *, psi: bool = True, style: bool = False) -> None:
    """CLASS, where to compute and how, `--truncation-psi`, and with `style` what else decides how pictures look."""
    add_class(parser)
    add_device(parser)
    parser.add_argument("--dtype", help="float32, float16 or bfloat16 (default: float16 on CUDA, else float32)")
    add_json(parser)
    if psi or style:
        text = "from -2 to 2: 1 draws freely, less keeps closer to the mean picture (default: the class's own)"
        parser.add_argument("--truncation-psi", type=float, metavar="PSI", help=text)
    if style:
        text = "leave the styles from this layer on untruncated"
        parser.add_argument("--truncation-cutoff", type=int, metavar="LAYER", help=text)
        text = "fine detail: drawn from the seed (random, the default), the same for all (stored), or none"
        parser.add_argument("--noise-mode", choices=NOISE_MODES, default="random", help=text)


def given(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The options that were given and are fields of that dataclass; what is left out keeps its default there."""
    names = {field.name for field in fields(settings)}
    return {name: value for name, value in vars(args).items() if name in names and value is not None}


def style_of(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_drawing` with `style` declares, to be asked for before weights are read. Raises `UserError`."""
    if args.truncation_psi is not None:
        check_truncation_psi(args.truncation_psi)
    return {name: getattr(args, name) for name in ("truncation_psi", "truncation_cutoff", "noise_mode")}


def add_edge(parser: argparse._ActionsContainer, keep_largest: bool = False) -> None:
    """What is done to the edge of a mask, besides `--threshold`; whether its largest piece alone is kept unasked."""
    text = "enlarge the mask, or shrink it with a negative number"
    parser.add_argument("--grow", type=int, default=0, metavar="PIXELS", help=text)
    parser.add_argument("--feather", type=float, default=0.0, metavar="PIXELS", help="soften the mask's edge")
    text = f"drop all but the largest piece of the mask, or not (default: {'drop' if keep_largest else 'keep all'})"
    parser.add_argument("--keep-largest", action=argparse.BooleanOptionalAction, default=keep_largest, help=text)
    text = "how far the subject takes on light and colour of the background, from 0 (default) to 1"
    parser.add_argument("--match-light", type=float, default=0.0, metavar="SHARE", help=text)
    text = "let the subject's shadow fall on the background, where it lies on a plain surface in its own picture"
    parser.add_argument("--keep-shadow", action="store_true", help=text)


def add_out(parser: argparse.ArgumentParser, metavar: str, text: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar=metavar, help=text)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="auto (default), cpu, cuda, cuda:1 or mps")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def load_pipeline(args: argparse.Namespace) -> Labels4FreePipeline:
    from ..pipeline import Labels4FreePipeline

    return Labels4FreePipeline.from_pretrained(args.class_name, device=args.device, dtype=args.dtype)


def report(message: str) -> None:
    """A step, for a person who watches."""
    begin = "\r" if sys.stderr.isatty() else ""  # over a line of progress
    print(f"{begin}{message!s:<{WIDTH if begin else 0}}", file=sys.stderr)


def complain(message: str) -> None:
    """What went wrong with a part of the work, which goes on."""
    report(f"l4f: {message}")


def report_passed_over(pictures: PictureSet) -> None:
    """Says how many pictures are used and what is not, where anything is not."""
    if pictures.passed_over:
        report(pictures.in_words())


def show_progress(done: int, total: int, message: str) -> None:
    """One line on a terminal's stderr that is written over until all is done; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{message:<{WIDTH}}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def agreed(args: argparse.Namespace, what: str, paths: Iterable[Path]) -> bool:
    """Whether `--yes`, or an answer on the terminal, agrees to delete that. Raises `UserError` without a terminal."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(f"This deletes {what}; if that is meant, add --yes.")
    for path in paths:
        report(path)
    if not confirm(f"Delete {what}?"):
        report("Nothing was deleted.")
        return False
    return True


def confirm(question: str) -> bool:
    """Asks on the terminal; anything but y or yes is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def write_subject(
    subject: Subject, folder: Path, *, stem: str | None = None, with_w_plus: bool = False
) -> dict[str, Path]:
    """Writes picture, mask, cut-out and background, as far as the subject has them, with infotext; their paths.

    They get a number where files of these names are not ours, which is said.
    """
    from ..provenance import free_stem, left_alone
    from ..subject import ENDINGS, write_parts

    parts = subject.parts() | ({"w_plus": subject.w_plus} if with_w_plus else {})
    endings = [ENDINGS[kind] for kind in parts]
    wanted = stem or subject.stem
    stem = free_stem(folder, wanted, endings)
    if note := left_alone(folder, wanted, endings, stem):
        report(note)
    files = write_parts(folder, stem, parts, subject.infotext())
    return {"alpha" if kind == "mask" else kind: path for kind, path in files.items()}
