"""Our tab in a web UI, clicked in Chromium: what stands in it by itself, and what it sends to the other tabs."""

import pytest
from host_pages import host, started  # noqa: F401, fixtures
from serving import unused_port
from stub_host import VARIANTS
from test_browser import PATIENCE, browser, open_tab, wait_for_pictures  # noqa: F401, fixture
from test_browser_scripts import SCRIPT

from l4f_ui import compat, server
from l4f_ui.hosts.host_service import service

pytestmark = pytest.mark.parametrize("started", VARIANTS[:1], indirect=True)
IN_GRADIO_3 = pytest.mark.clicked_path if compat.MAJOR < 4 else pytest.mark.skip("later Gradios build what is seen")


@pytest.fixture
def page(browser, host):  # noqa: F811
    """The host's page, with our script in it: before Gradio's own, as web UIs have it."""
    folders = service().outputs.served_folders
    how = {"host": "127.0.0.1", "port": unused_port(), "share": False, "inbrowser": False, "allowed_paths": folders}
    address, _ = server.open_page(host.demo, css="", **how)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script(f"addEventListener('readystatechange', () => {{ {SCRIPT} }}, {{ capture: true, once: true }})")
    page.goto(address)
    page.locator("#tabs").wait_for()
    yield page
    page.close()
    compat.close(host.demo)


@pytest.mark.clicked_path
def test_a_picture_is_sent_to_img2img_and_extras(page):
    for tab in ("img2img", "extras", "Labels4Free"):  # Gradio 5 loses what comes while it builds the host's tab
        open_tab(page, tab, "tabs")
    page.locator("#l4f_generate_seeds input").fill("0-1")
    page.locator("#l4f_generate_run").click()
    wait_for_pictures(page, 2)
    assert not page.locator("#l4f_opened").is_visible()
    for tab in ("img2img", "extras"):
        page.locator(f"#l4f_generate_to_{tab}").click()
        open_tab(page, tab, "tabs")
        page.locator(f"#{tab}_image img").wait_for()
        open_tab(page, "Labels4Free", "tabs")


@IN_GRADIO_3
def test_gradio_3_builds_our_tabs_when_they_are_first_seen(page):
    built = ["#l4f_generate_seeds", "#l4f_swap_seed", "#l4f_train_folder", "#l4f_api_swap_seed"]
    assert [page.locator(part).count() for part in built] == [0, 0, 0, 0]
    open_tab(page, "Labels4Free", "tabs")
    page.locator("#l4f_generate_seeds").wait_for()
    assert [page.locator(part).count() for part in built] == [1, 0, 0, 0]
    open_tab(page, "Train")
    page.locator("#l4f_train_folder").wait_for()
    assert [page.locator(part).count() for part in built] == [1, 0, 1, 0]
    open_tab(page, "Generate")
    page.locator("#l4f_generate_run").click()
    page.locator("#l4f_generate_gallery img").first.wait_for()
    page.locator("#l4f_generate_to_swap").click()
    page.locator("#l4f_swap_image img").wait_for()
    assert page.locator("#l4f_swap_seed input").input_value().isdigit()
