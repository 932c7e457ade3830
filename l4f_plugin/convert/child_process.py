"""Conversion of a large checkpoint in a process of its own, whose memory returns to the system with its end."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bundles.config import ObjectClass, read_config
from ..errors import UserError, printable
from ..jobs import NEVER, CancelToken, Report
from .conversion import convert

LARGE_BYTES = 1 << 26
_PREFIX = "l4f: "
_LOOK_AGAIN = 0.2  # seconds between looks at the cancel token
_PACKAGE = Path(__file__).resolve().parents[1]


def convert_in_child(
    source: Path,
    destination: Path,
    *,
    alpha: Path | None = None,
    described: Mapping[str, Any] | None = None,
    report: Report = lambda message: None,
    cancel: CancelToken = NEVER,
    always: bool = False,
) -> ObjectClass:
    """Does what `conversion.convert` does, in another process where `source` is a file of 64 MiB or more, or `always`.

    For programs that go on running. `cancel` ends that process and raises `Cancelled`; `destination` is then as it was
    before. Raises `UserError` as `convert` does, and where the process was ended by the system.
    """
    source, destination = Path(source), Path(destination)
    cancel.check()
    large = source.is_file() and source.stat().st_size >= LARGE_BYTES
    if not (always or large) or not sys.executable:
        return convert(source, destination, alpha=alpha, described=described, report=report)
    # The package may be on this process's path only: web UIs load extensions from wherever they lie.
    search = os.pathsep.join(filter(None, [str(_PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    last = ""
    with subprocess.Popen(
        [sys.executable, "-m", _PACKAGE.name, *_arguments(source, destination, alpha, described or {})],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": search, "PYTHONIOENCODING": "utf-8"},
    ) as process:
        threading.Thread(target=_end_when_cancelled, args=(process, cancel), daemon=True).start()
        try:
            for line in filter(None, map(str.rstrip, process.stderr)):
                last = line
                if not line.startswith(_PREFIX):
                    report(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return read_config(destination)
    cancel.check()
    if last.startswith(_PREFIX):
        raise UserError(last.removeprefix(_PREFIX))
    ended = "it was ended by the system, perhaps for want of memory" if process.returncode < 0 else ""
    reason = ended or printable(last, 160) or f"exit code {process.returncode}"
    raise UserError(f"{printable(source, 300)} could not be converted ({reason}); close other programs and try again.")


def _end_when_cancelled(process: subprocess.Popen[str], cancel: CancelToken) -> None:
    while process.poll() is None:
        if cancel.cancelled:
            process.kill()
        time.sleep(_LOOK_AGAIN)


def _arguments(source: Path, destination: Path, alpha: Path | None, said: Mapping[str, Any]) -> list[str]:
    """The command line of `l4f convert` that says the same. Values stand behind `=`, as they may begin with -."""
    words = ["convert"]
    for field, value in {**said, "alpha": alpha and alpha.resolve()}.items():
        option = "--source-note" if field == "source" else f"--{field.replace('_', '-')}"
        if field == "crop":
            words += [option, *map(str, value)] if value else []
        elif value is not None:
            words.append(f"{option}={value}")
    return [*words, "--", str(source.resolve()), str(destination.resolve())]
