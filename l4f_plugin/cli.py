"""`l4f`: finds the command, turns failures into one sentence and an exit code.

Exit codes: 0 done; 2 the user can mend it, said as `l4f: sentence` on stderr; 130 stopped by Ctrl-C.
Only the module of the command that runs is imported, so that `l4f --help` needs no torch.
"""

import argparse
import errno
import importlib
import os
import runpy
import sys
from collections.abc import Callable, Sequence

from . import __version__
from .errors import Cancelled, UserError

# Each command's module in `commands`, and what it is for.
COMMANDS = {
    "generate": ("draw", "draw pictures with masks, cut-outs and backgrounds"),
    "swap": ("draw", "put one subject in front of another background"),
    "motion": ("draw", "make an animation with transparency, from seed to seed"),
    "segment": (
        "segment",
        "mask and cut-out of photographs, of a seed, of saved style codes or of a picture saved here",
    ),
    "project": ("segment", "style codes from which the class draws given pictures again"),
    "export": ("labelled_sets", "make a labelled set of any number of pictures"),
    "merge-export": ("labelled_sets", "join the parts of a set that several machines made"),
    "classes": ("classes", "list the object classes that can be used"),
    "download": ("classes", "fetch an object class from the Hub, so that its first use finds it"),
    "verify": ("classes", "check the files of installed classes"),
    "remove": ("classes", "delete a class from this computer"),
    "convert": ("classes", "make a bundle from a published checkpoint"),
    "learn-masks": ("train", "learn masks for a class that has none, without a data set"),
    "learn-photographs": ("train", "teach a class with masks to segment photographs, without a data set"),
    "analyse": ("train", "tell which layers of a generator draw the object"),
    "train": ("train", "train a generator, a mask network or a photo segmenter"),
    "evaluate": ("evaluate", "measure masks, or a whole object class"),
    "publish": ("share", "share a class as a model repository on the Hub"),
    "space": ("share", "share a demonstration of a class as a Space on the Hub"),
    "app": ("", "open the page in a browser"),
}
# What Python and a shell report for a program that was interrupted, or whose reader has gone.
INTERRUPTED, READER_GONE = 130, 141
EXIT_CODES = "exit codes: 0 done; 2 something you can mend, said in one sentence; 130 stopped by Ctrl-C"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of repeating the usage before it."""

    def error(self, message: str) -> None:
        self.exit(2, f"l4f: {message}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code. `argv` is without the program's name, None takes sys.argv."""
    if hasattr(sys.stdout, "reconfigure"):  # names of files may hold what no terminal's encoding has
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(list(sys.argv[1:] if argv is None else argv) or ["--help"])
    except UserError as error:
        print(f"l4f: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Cancelled):
        print("l4f: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        print(f"l4f: {error.strerror}: {str(error.filename)[:200]}; check the path.", file=sys.stderr)
        return 2


def _run(argv: list[str]) -> int:
    chosen = next((word for word in argv if not word.startswith("-")), None)
    if chosen == "app":
        return _open_page(argv[argv.index("app") + 1 :])
    parser = Parser(prog="l4f", description="Labels4Free: generate object classes with soft masks.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"Labels4Free {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name == chosen:
            run = declare(command, module, name)
    args = parser.parse_args(argv)
    answer = run(args)
    if answer.data is not None:
        answer.print(args.json)
    return answer.code


def declare(parser: argparse.ArgumentParser, module: str, name: str) -> Callable:
    """Declares the options of a command; the function that runs it."""
    found = importlib.import_module(f".commands.{module}", __package__)
    function = name.replace("-", "_")
    getattr(found, f"add_{function}")(parser)
    return getattr(found, function)


def _open_page(argv: list[str]) -> int:
    """Runs the package of the page as a program, with the rest of the command line as its own."""
    sys.argv = ["l4f app", *argv]
    try:
        runpy.run_module("l4f_ui", run_name="__main__")
    except ModuleNotFoundError as error:
        if error.name not in ("l4f_ui", "gradio"):
            raise
        raise UserError(
            f"The page needs {error.name}, which is not installed; run `python3 install.py run`, "
            "which sets it up and opens the page."
        ) from error
    return 0
