"""The panel Export in Chromium: measured, exported, shown again, moving. See `test_browser`."""

import pytest
from test_browser import browser, open_tab, page, settle  # noqa: F401, fixtures


@pytest.fixture(scope="module")
def site(tiny_bundle_folder, tmp_path_factory):
    """The page of an owner, over the tiny class."""
    from serving import site_of

    with site_of(tiny_bundle_folder.parent, tmp_path_factory.mktemp("pictures"), manages_classes=True) as site:
        yield site


def told(page, words: str) -> None:  # noqa: F811
    page.locator("#l4f_export_activity").get_by_text(words).wait_for()


def test_a_set_is_measured_made_and_shown_again(page, site):  # noqa: F811
    open_tab(page, "Export")
    settle(page)  # after what the opening of the tab asks for
    page.locator("#l4f_export_empty").get_by_text("No set yet").wait_for()
    page.locator("#l4f_export_count input").fill("0")
    page.locator("#l4f_export_run").get_by_text("Export").click()
    told(page, "must be a whole number from 1")
    page.locator("#l4f_export_count input").fill("30")
    page.get_by_text("Which masks are kept").click()
    settle(page)
    page.locator("#l4f_export_curate input").uncheck()
    page.locator("#l4f_export_measure").click()
    told(page, "on this device")
    page.locator("#l4f_export_run").click()
    told(page, "30 pictures with masks are in")
    page.locator("#l4f_export_card").get_by_text("Tiny things: 30 generated pictures").wait_for()
    [folder] = (site.outputs.folder / "sets").iterdir()
    assert len(list(folder.rglob("images/*.png"))) == 30
    page.reload()
    page.locator("#l4f_generate_run").wait_for()
    settle(page)
    open_tab(page, "Export")
    settle(page)  # after what the opening of the tab asks for
    page.locator("#l4f_export_card").get_by_text("Tiny things: 30 generated pictures").wait_for()
    for name, words in (("run", "Export"), ("measure", "Estimate"), ("cancel", "Cancel")):
        page.locator(f"#l4f_export_{name}").get_by_text(words, exact=True).wait_for()
