"""The long form: a Space's folder in a fresh environment with nothing but its own requirements.txt, in Chromium.

    L4F_FRESH_SPACE=DIR python -m pytest tests/test_space_fresh.py

DIR becomes a virtual environment with what the folder asks for (several GB with PyTorch); one that is there is
brought up to date and used again. Without the variable this is skipped.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROXIES
from test_browser import PATIENCE, browser  # noqa: F401, a fixture
from test_space import running

from l4f_plugin.cli import main

ENVIRONMENT = os.environ.get("L4F_FRESH_SPACE")
pytestmark = pytest.mark.skipif(not ENVIRONMENT, reason="set L4F_FRESH_SPACE to a folder for the long form")


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("fresh") / "space"
    assert main(["space", "avatar", "me/avatar-demo", "--dry-run", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def python(space) -> str:
    """The Python of an environment made from the folder's requirements alone."""
    made = Path(ENVIRONMENT).absolute() / "bin/python"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", str(made.parents[1])], check=True)
    fetching = [str(made), "-m", "pip", "install", "-q", "-r", str(space / "requirements.txt")]
    subprocess.run(fetching, check=True, env={**os.environ, **PROXIES})
    return str(made)


def test_a_visitor_draws_and_swaps(space, python, browser):  # noqa: F811
    code = "import importlib.util as u; print(u.find_spec('l4f_plugin'))"
    found = subprocess.run([python, "-c", code], cwd=space.parent, capture_output=True, text=True).stdout
    assert found.strip() == "None", "the environment is not a fresh one"
    with running(space, python) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(PATIENCE)
        page, complaints, asked = context.new_page(), [], []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.locator("#l4f_space_about").get_by_text("up to 8 pictures").wait_for()
        assert page.locator("#l4f_unload").count() == 0 and page.get_by_role("tab").count() == 2
        page.locator("#l4f_generate_seeds input").fill("0-3")
        page.locator("#l4f_generate_run").click()
        page.locator("#l4f_generate_status .l4f-finished").wait_for()
        assert page.locator("#l4f_generate_gallery img").count() >= 4
        said = page.locator("#l4f_generate_status").inner_text()
        assert re.match(r"4 pictures in .* s · seeds 0-3", said) and "saved in" not in said
        page.locator("#l4f_generate_seeds input").fill("0-20")
        page.locator("#l4f_generate_run").click()
        page.locator("#l4f_generate_status").get_by_text("at most 8 pictures").wait_for()
        page.get_by_role("tab", name="Swap").click()
        page.locator("#l4f_swap_run").click()
        page.locator("#l4f_swap_status .l4f-finished").wait_for()
        page.locator("#l4f_swap_image img").wait_for()
        assert page.locator("#l4f_swap_save").count() == 0 or not page.locator("#l4f_swap_save").is_visible()
        if picture := os.environ.get("L4F_FRESH_SPACE_PICTURE"):
            page.screenshot(path=picture)
        context.close()
        elsewhere = [url for url in asked if url.startswith("http") and not url.startswith(address)]
        assert not complaints and not elsewhere
