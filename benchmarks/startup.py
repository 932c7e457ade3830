"""``python3 -m benchmarks.startup [--against CHECKOUT]``: how long each face takes until it is of use.

The help of the command, the import of the library, the first picture of a shipped class from the command line, and the
page. Seconds are medians. With another checkout both are run in alternation, and the ratio is told. Both run in this
Python, with its packages.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from l4f_ui.server import free_port

from .generation import alternate, ratio_of

HERE = Path(__file__).resolve().parent.parent
SECONDS_TO_START = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    checkouts = [HERE, args.against.resolve()] if args.against else [HERE]
    with tempfile.TemporaryDirectory() as place:
        compare([packages_of(checkout, Path(place, str(number))) for number, checkout in enumerate(checkouts)], args)


def packages_of(checkout: Path, folder: Path) -> Path:
    """A folder from which Python imports the packages of the checkout, under the names that they are installed by."""
    folder.mkdir()
    for name, origin in (("l4f_plugin", "l4f_plugin"), ("l4f_ui", "ui")):
        (folder / name).symlink_to(checkout / origin)
    return folder


def compare(checkouts: list[Path], args: argparse.Namespace) -> None:
    faces = {
        "l4f --help": partial(run, "-m", "l4f_plugin", "--help"),
        "import l4f_plugin": partial(run, "-c", "import l4f_plugin"),
        "first picture": first_picture,
        "page up": page_up,
    }
    for name, face in faces.items():
        seconds = alternate([partial(face, checkout=checkout) for checkout in checkouts], args.repetitions)
        words = ", there ".join(f"{statistics.median(times):.2f} s" for times in seconds)
        ratio = f"; {ratio_of(*seconds):.2f} times as long" if args.against else ""
        print(f"{name}: {words}{ratio}", flush=True)


def started(*command: str, checkout: Path) -> subprocess.Popen:
    """This Python, which imports the packages of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    return subprocess.Popen([sys.executable, *command], env=environment, cwd=checkout, stdout=subprocess.DEVNULL)


def run(*command: str, checkout: Path) -> None:
    """A command, which must succeed."""
    if status := started(*command, checkout=checkout).wait():
        raise SystemExit(f"{command} ended with status {status}.")


def first_picture(checkout: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run("-m", "l4f_plugin", "generate", "avatar", "--seeds", "7", "--out", folder, checkout=checkout)


def page_up(checkout: Path) -> None:
    port, until = free_port(7900, "127.0.0.1"), time.monotonic() + SECONDS_TO_START
    page = started("-m", "l4f_ui", "--no-browser", "--port", str(port), checkout=checkout)
    try:
        while page.poll() is None and time.monotonic() < until:
            try:
                urlopen(f"http://127.0.0.1:{port}/").close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("A page did not start.")
    finally:
        page.terminate()
        page.wait()


if __name__ == "__main__":
    main()
