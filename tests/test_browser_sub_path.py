"""The page behind a reverse proxy under a sub-path: one option serves page, files and API alike."""

import json
import urllib.request
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from api_server import page_served
from reverse_proxy import reverse_proxy
from test_browser import PATIENCE, browser  # noqa: F401, fixture

from l4f_ui import compat

PREFIX = "/studio"


@pytest.fixture(scope="module")
def site(tiny_models, tmp_path_factory):
    with page_served(tmp_path_factory.mktemp("out"), root_path=PREFIX) as server:
        yield server


def ask(address: str, path: str, values: dict | None = None) -> SimpleNamespace:
    body = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(address + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return SimpleNamespace(status=answer.status, address=answer.url, text=answer.read().decode())


@pytest.mark.clicked_path
@pytest.mark.parametrize("strips", [True, False], ids=["takes the sub-path off", "leaves it"])
def test_one_option_serves_page_files_and_api(browser, site, strips):  # noqa: F811
    with reverse_proxy(urlsplit(site.address).netloc, PREFIX, strips=strips) as address:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.locator("#l4f_generate_seeds input").fill("1-2")
        page.locator("#l4f_generate_run").click()
        page.locator("#l4f_generate_status .l4f-finished").get_by_text("saved in").wait_for()
        picture = page.locator("#l4f_generate_gallery img").locator("visible=true").first
        picture.wait_for()
        page.wait_for_function("() => document.querySelector('#l4f_generate_gallery .grid-wrap img').naturalWidth > 0")
        page.close()
        own = [url for url in asked if urlsplit(url).netloc.startswith(("127.0.0.1", "localhost"))]
        past = [url for url in own if not url.startswith(address)]
        if compat.MAJOR == 4:  # its own script asks for parts of itself at the root too, and does without them
            past = [url for url in past if not urlsplit(url).path.startswith("/assets/")]
        assert own and not past, "nothing was asked past the proxy"

        assert ask(address, "l4f/v1/classes").status == 200
        assert ask(address, "l4f/v1").address == f"{address}l4f/v1/docs"
        assert json.loads(ask(address, "l4f/v1/segment", {"class": "tiny", "seed": 3}).text)["seed"] == 3
        assert ask(address, "l4f/v1/openapi.json").status == 200


def test_without_the_slash_at_its_end_the_page_is_found_too(site):
    with reverse_proxy(urlsplit(site.address).netloc, PREFIX, strips=False) as address:
        assert ask(address.rstrip("/"), "").address == address


def test_the_page_is_there_without_the_proxy_as_well(site):
    assert ask(site.address, "l4f/v1/classes").status == 200 and ask(site.address, "config").status == 200
