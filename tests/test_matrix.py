"""One clicked path under each Gradio but the installed one: environments of their own, made by noxfile.py.

    L4F_MATRIX=1 python -m pytest tests/test_matrix.py

Without the variable, which CI sets, this is skipped. `python -m nox` runs all tests of the page under each.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import gradio
import pytest

ROOT = Path(__file__).resolve().parent.parent
GRADIOS = ("3.41.2", "4.40.0", "5.50.0", "6.31.0")
ASKED = os.environ.get("L4F_MATRIX") == "1"


@pytest.mark.skipif(not ASKED, reason="set L4F_MATRIX=1 for the page under each Gradio")
@pytest.mark.parametrize("version", GRADIOS)
def test_the_page_is_clicked_through(version):
    if version.split(".")[0] == gradio.__version__.split(".")[0]:
        pytest.skip("the other browser tests click this one")
    command = [sys.executable, "-m", "nox", "-s", f"page({version})", "--", "-m", "clicked_path", "-n", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    ended = subprocess.run(command, cwd=ROOT, text=True, check=False, **pipes)
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"\d+ passed", ended.stdout) and "skipped" not in ended.stdout, ended.stdout


def test_all_of_them_are_in_the_matrix():
    command = [sys.executable, "-m", "nox", "--list"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^\* page\(([\d.]+)\)", listed, re.MULTILINE) == list(GRADIOS)
