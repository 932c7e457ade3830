"""The page behind a reverse proxy under a sub-path: one option serves page, files and API alike."""

from urllib.parse import urlsplit

import httpx
import pytest
from api_server import page_served
from proxies import reverse_proxy
from test_browser import PATIENCE, browser, listen, settle  # noqa: F401, fixture

from l4f_ui import compat

PREFIX = "/studio"


@pytest.fixture(scope="module")
def site(tiny_models, tmp_path_factory):
    with page_served(tmp_path_factory.mktemp("out"), root_path=PREFIX) as server:
        yield server


@pytest.mark.clicked_path
@pytest.mark.parametrize("strips", [True, False], ids=["takes the sub-path off", "leaves it"])
def test_one_option_serves_page_files_and_api(browser, site, strips):  # noqa: F811
    with reverse_proxy(urlsplit(site.address).netloc, PREFIX, strips=strips) as address:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        listen(page)
        page.goto(address)
        page.locator("#l4f_generate_run").wait_for()
        settle(page)
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

        assert httpx.get(f"{address}l4f/v1/classes").status_code == 200
        assert httpx.get(f"{address}l4f/v1", follow_redirects=True).url == f"{address}l4f/v1/docs"
        assert httpx.post(f"{address}l4f/v1/segment", json={"seed": 3}, timeout=60).json()["seed"] == 3
        assert httpx.get(f"{address}l4f/v1/openapi.json").status_code == 200


def test_the_page_is_there_without_the_slash_at_its_end_and_without_the_proxy(site):
    with reverse_proxy(urlsplit(site.address).netloc, PREFIX, strips=False) as address:
        assert httpx.get(address.rstrip("/"), follow_redirects=True).url == address
    assert {httpx.get(f"{site.address}{path}").status_code for path in ("l4f/v1/classes", "config")} == {200}
