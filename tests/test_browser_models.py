"""The panel Models in Chromium: fetching, drawing, learning, importing, deleting and publishing. See `test_browser`."""

import re
from types import SimpleNamespace

import hostile_files
import pytest
import upload_server
from bundles import OF_MASKS, saved
from hub_server import Hub, offer_things, point_at
from models_page import maskless
from test_browser import browser, hear, open_tab, page, settle  # noqa: F401, fixtures
from test_models_panel import TINY
from test_student import TINY as TINY_STUDENT
from upload_server import UploadHub

from l4f_plugin.bundles import catalogue
from l4f_plugin.training import cut_pictures, learning


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page of an owner, over a Hub on the loopback with the class "things"."""
    from serving import site_of

    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, Hub() as hub:
        point_at(hub, patch, home)
        patch.setenv("GRADIO_TEMP_DIR", str(home / "uploads"))
        patch.setattr(learning, "mask_settings", lambda config, device: TINY)
        patch.setattr(learning, "photograph_settings", lambda *_: TINY_STUDENT)
        patch.setattr(cut_pictures, "flaws_of", lambda alphas: [None for _ in alphas])  # of so short a learning
        offer_things(hub, home, title="Things", licence="NC", terms="not for sale")
        maskless(home)
        with site_of(home / "models", home / "pictures", default_class="avatar", manages_classes=True) as site:
            yield SimpleNamespace(**vars(site), hub=hub, home=home)


def open_models(page, name: str) -> None:  # noqa: F811
    open_tab(page, "Models")
    page.locator(f"#l4f_models_table tr[data-name={name}] button").click()
    page.locator(f"#l4f_models_table tr.l4f-selected[data-name={name}]").wait_for()
    settle(page)


def choose_class(page, control: str, title: str, name: str) -> None:  # noqa: F811
    """Gradio 3 shows the value, and gives its choices no role. A tab that was just opened may still ask for them."""
    settle(page)
    page.locator(f"#{control} input").click()
    new = page.get_by_role("option", name=title, exact=True)
    old = page.locator("ul.options li").filter(has_text=name)
    new.or_(old).first.click()


def told(page, words: str) -> None:  # noqa: F811
    page.locator("#l4f_models_activity").get_by_text(words).wait_for()


def test_a_class_is_fetched_with_a_bar_and_drawn(page, site):  # noqa: F811
    open_models(page, "things")
    site.hub.pause = 0.002
    page.locator("#l4f_models_download:enabled").click()
    page.locator("#l4f_models_activity").get_by_text("tick that you accept it").wait_for()
    page.locator("#l4f_models_accept input").check()
    page.locator("#l4f_models_download:enabled").click()
    told(page, "Downloading things.pkl")
    page.locator("#l4f_models_activity [role=progressbar][aria-valuenow]").wait_for()
    page.locator("#l4f_models_activity").get_by_text(" left").wait_for()
    page.locator("#l4f_models_cancel:enabled").click()
    told(page, "What has arrived is kept")
    site.hub.pause = 0
    page.locator("#l4f_models_download:enabled").get_by_text(
        re.compile(r"Go on downloading \(.+ of .+ are here\)")
    ).click()
    told(page, "Things is here")
    page.locator("#l4f_models_table tr[data-name=things]").get_by_text("Installed").wait_for()

    open_tab(page, "Generate")
    choose_class(page, "l4f_generate_class", "Things", "things")
    page.locator("#l4f_generate_class").get_by_text("no masks yet").wait_for()
    page.locator("#l4f_generate_seeds input").fill("1-2")
    page.locator("#l4f_generate_run").click()
    page.locator("#l4f_generate_status").get_by_text("this class has no masks yet").wait_for()
    page.locator("#l4f_generate_to_models").click()
    page.locator("#l4f_models_table tr.l4f-selected[data-name=things]").wait_for()


def test_masks_and_photographs_are_learned_by_a_click(page, site):  # noqa: F811
    open_models(page, "plain")
    page.locator("#l4f_learn_masks_quality").get_by_text("minute here").first.wait_for()
    page.locator("#l4f_models_learn:enabled").click()
    hear(page, "models_activity", "Plain has masks now")
    page.locator("#l4f_models_learn:enabled").get_by_text("Learn photographs").click()
    hear(page, "models_activity", "Plain finds its object in photographs now")
    open_tab(page, "Swap background")
    choose_class(page, "l4f_swap_class", "Plain", "plain")
    page.locator("#l4f_swap_run:enabled").click()
    page.locator("#l4f_swap_image img").wait_for()


def test_a_hostile_upload_is_refused_and_gone(page, site, tmp_path):  # noqa: F811
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"\x80\x02" + hostile_files.call("os.system", hostile_files.text("touch ran")) + b".")
    open_tab(page, "Models")
    page.locator("#l4f_import_section").get_by_text("Import a checkpoint of your own").click()
    page.locator("#l4f_import_file input[type=file]").set_input_files(evil)
    page.locator("#l4f_import_file").get_by_text("evil").first.wait_for()
    choose_class(page, "l4f_import_licence", "unknown", "unknown")
    page.locator("#l4f_import_run").click()
    problem = page.locator("#l4f_import_status .l4f-problem")
    problem.wait_for()
    assert "os.system" in problem.inner_text() and str(site.home) not in problem.inner_text()
    page.locator("#l4f_import_file").get_by_text("Drop File Here").wait_for()
    assert not list((site.home / "uploads").rglob("*.pkl")) and "evil" not in [c.name for c in catalogue.classes()]


@pytest.mark.clicked_path
def test_deleting_asks_first(page, site):  # noqa: F811
    saved(site.home / "models/old", without=OF_MASKS, title="Old")
    open_models(page, "old")
    for pressed in ("delete", "keep", "delete", "really"):
        assert (site.home / "models/old").is_dir()
        settle(page)
        page.locator(f"#l4f_models_{pressed}").click()
        page.locator("#l4f_models_confirm").wait_for(state="visible" if pressed == "delete" else "hidden")
    told(page, "is deleted")
    assert not (site.home / "models/old").exists()
    page.locator("#l4f_models_table tr[data-name=old]").wait_for(state="detached")


def test_a_class_is_published_without_masks_that_are_not_ones_own(page, site, monkeypatch):  # noqa: F811
    saved(site.home / "models/cows", without=["background"], title="Cows", alpha_origin="imported")
    with UploadHub() as hub:
        upload_server.point_at(hub, monkeypatch, site.home)
        open_models(page, "cows")
        page.locator("#l4f_share_section").get_by_text("Share this class").click()
        page.locator("#l4f_share_about").get_by_text("Cows").wait_for()
        settle(page)  # on a busy machine Gradio takes a moment until it hears of what is typed into what it has opened
        page.locator("#l4f_share_repository").locator("input, textarea").fill("me/l4f-cows")
        page.locator("#l4f_share_run").click()
        hear(page, "share_asks", "may not be passed on")
        page.locator("#l4f_share_masks label").first.click()
        page.locator("#l4f_share_run:enabled").click()
        page.locator(f"#l4f_share_status a[href='{hub.address}/me/l4f-cows']").wait_for()
        assert "alpha.safetensors" not in hub.repositories["me/l4f-cows"].files


def test_narrow_screens_need_no_sideways_scrolling(page):  # noqa: F811
    open_tab(page, "Models")  # later it hides behind three dots
    page.locator("#l4f_models_table tr").first.wait_for()
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_function(
        "getComputedStyle(document.querySelector('#l4f_models_table tr[data-name]')).display == 'grid'"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
