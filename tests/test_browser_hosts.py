"""Our tab in a web UI, clicked in Chromium: what stands in it by itself, and what it sends to the other tabs."""

import pytest
from host_pages import host, started  # noqa: F401, fixtures
from serving import unused_port
from stub_host import VARIANTS
from test_browser import PATIENCE, browser, open_tab, wait_for_pictures  # noqa: F401, fixture

from l4f_ui import compat, server
from l4f_ui.hosts.host_service import service


@pytest.mark.clicked_path
@pytest.mark.parametrize("started", VARIANTS[:1], indirect=True)
def test_a_picture_is_sent_to_img2img_and_extras(browser, host):  # noqa: F811
    folders = service().outputs.served_folders
    how = {"host": "127.0.0.1", "port": unused_port(), "share": False, "inbrowser": False, "allowed_paths": folders}
    site = server.open_page(host.demo, "", **how)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(site.address)
    page.locator("#tabs").wait_for()
    open_tab(page, "Labels4Free", "tabs")
    page.locator("#l4f_generate_seeds input").fill("0-1")
    page.locator("#l4f_generate_run").click()
    wait_for_pictures(page, 2)
    assert not page.locator("#l4f_opened").is_visible()
    for tab in ("img2img", "extras"):
        page.locator(f"#l4f_generate_to_{tab}").click()
        open_tab(page, tab, "tabs")
        page.locator(f"#{tab}_image img").wait_for()
        open_tab(page, "Labels4Free", "tabs")
    page.close()
    compat.close(host.demo)
