"""`l4f` and other Python programs as a shell starts them: in this process, or in one of their own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from l4f_plugin import cli

TESTS = Path(__file__).parent
_FULL_DISK = """
import resource, sys
from pathlib import Path
from l4f_plugin.errors import UserError
def fill_the_disk(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
sys.excepthook = lambda kind, error, trace: print(error if kind is UserError else repr(error), file=sys.stderr)
"""


class Said(NamedTuple):
    """What a command answers."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


def run(capsys, *parts) -> Said:
    """`l4f` in this process. A text may hold several words; paths, numbers and what is in a list are one each."""
    words = [word for part in parts for word in (part.split() if isinstance(part, str) else [part])]
    words = [str(word) for part in words for word in (part if isinstance(part, list) else [part])]
    try:
        code = cli.main(words)
    except SystemExit as leaving:
        code = leaving.code
    return Said(code, *capsys.readouterr())


def assert_refused(said: Said, sentence: str) -> None:
    assert said.code == 2 and said.out == ""
    assert said.err.startswith("l4f: ") and said.err.count("\n") == 1, said.err
    assert sentence in said.err


def environment(**more: str) -> dict[str, str]:
    """This process's, with the packages and the tests to import from."""
    search = os.pathsep.join(map(str, (TESTS.parent, TESTS, os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", **more}


def start(*words, env: dict[str, str] | None = None, **options) -> subprocess.Popen:
    """`python3 WORDS` in a process of its own; a first word of several lines or words is a program."""
    program = ["-c", textwrap.dedent(words[0]), *words[1:]] if len(str(words[0]).split()) > 1 else words
    pipes = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env or environment()}
    return subprocess.Popen([sys.executable, *map(str, program)], **{**pipes, **options})


def start_l4f(*words, **options) -> subprocess.Popen:
    """`l4f WORDS` in a process of its own."""
    return start("-m", "l4f_plugin", *words, **options)


def ended(process: subprocess.Popen) -> Said:
    """What a process answers, once it has ended."""
    out, err = process.communicate()
    return Said(process.returncode, out, err)


def on_a_full_disk(code: str, *arguments) -> Said:
    """A program whose files can grow no more once it has called `fill_the_disk(bytes)`; it ends with one sentence."""
    return ended(start(_FULL_DISK + textwrap.dedent(code), *arguments))
