"""A person's clicks in Chromium, on the page as it is served.

Skipped where no Chromium or no playwright is installed; with L4F_REQUIRE_BROWSER=1, as in CI, that is a failure.
"""

import os
import re
import shutil
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from l4f_ui import compat

# The headless shell first: the same engine without the windows, menus and extensions that a whole one runs unseen,
# which take a third of the time that a page takes to open.
CHROMIUM_NAMES = ["chromium-headless-shell", "chromium", "chromium-browser"]
CHROMIUM_NAMES += ["google-chrome", "google-chrome-stable", "chrome"]
WITHOUT = ["gpu", "quic", "background-networking", "component-update", "sync"]
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{part}" for part in WITHOUT)]
PATIENCE = 240_000  # milliseconds; CI machines stall, and one test trains networks
HEARD = re.compile("/queue/(data|join)|/run/predict")  # what asks handlers of the page, and brings their answers


def unavailable(reason: str) -> None:
    if os.environ.get("L4F_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and L4F_REQUIRE_BROWSER=1 wants the browser tests to run")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("playwright is not installed")
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        unavailable("no Chromium is installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def site(tiny_bundle_folder, tmp_path_factory):
    """The page, served in this process: the shipped class where there is one, else the tiny one.

    `gate` holds every job of the panel Generate after its first batch while it is cleared.
    """
    from serving import served

    from l4f_ui.outputs import Outputs
    from l4f_ui.service import Service, Settings

    gate = threading.Event()
    gate.set()

    class GatedService(Service):
        def generate(self, name, seeds, truncation_psi, token):
            for batch in super().generate(name, seeds, truncation_psi, token):
                yield batch
                while batch and not gate.is_set() and not token.cancelled:
                    time.sleep(0.01)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELS4FREE_MODELS", str(tiny_bundle_folder.parent))
        service = GatedService(lambda: Settings(device="cpu"), Outputs(tmp_path_factory.mktemp("pictures")))
        with served(service) as site:
            yield SimpleNamespace(**vars(site), gate=gate, class_name=service.default_class())


@pytest.fixture
def page(browser, site):
    """The page freshly opened. Whatever it asks of another computer, and every error of its scripts, fails."""
    site.gate.set()
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    listen(opened)

    def begun(request) -> None:
        own = request.url.startswith(site.address) or "iframe-resizer" in request.url  # Gradio 5 itself asks for that
        if request.url.startswith("http") and not own:
            complaints.append(request.url)

    opened.on("request", begun)
    opened.goto(site.address)
    opened.locator("#l4f_generate_run").wait_for()
    settle(opened)  # what is pressed while the page still loads may be lost, see there
    yield opened
    context.close()
    assert not complaints


def listen(page) -> None:
    """Keeps in `page.streams` what the page has asked and still hears of, for `settle`."""
    page.streams = set()
    page.on("request", lambda request: HEARD.search(request.url) and page.streams.add(request))
    for ending in ("requestfinished", "requestfailed"):
        page.on(ending, lambda request: page.streams.discard(request))


def settle(page) -> None:
    """Waits until the page has nothing more to hear: an event sent in the moment in which Gradio 4 to 6 close the
    stream behind the last one is never answered. No person clicks within these milliseconds; a script does. On a busy
    machine what follows an answer may take a while to be asked, so a short silence does not count."""
    quiet, deadline = 0, time.monotonic() + PATIENCE / 1000
    while quiet < 6:
        assert time.monotonic() < deadline, f"the page still listens to {[heard.url for heard in page.streams]}"
        page.wait_for_timeout(50)
        page.evaluate("() => new Promise((idle) => requestIdleCallback(idle, {timeout: 1000}))")  # what it asks next
        quiet = 0 if page.streams else quiet + 1


def hear(page, part: str, words: str | re.Pattern) -> None:
    """Waits until a part of the page says these words, and then as `settle` does."""
    try:
        page.locator(f"#l4f_{part}").get_by_text(words).wait_for()
    except Exception as error:
        said = [words for words in page.locator(".l4f-status-place").all_inner_texts() if words.strip()]
        raise AssertionError(f"{part} does not say {words!r}; the page says {said}") from error
    settle(page)


def generate(page, seeds: str) -> None:
    page.locator("#l4f_generate_seeds input").fill(seeds)
    page.locator("#l4f_generate_run").click()
    hear(page, "generate_status .l4f-finished", "saved in")


def pictures(page):
    return page.locator("#l4f_generate_gallery .grid-wrap img")


def wait_for_pictures(page, count: int) -> None:
    shown = "document.querySelectorAll('#l4f_generate_gallery .grid-wrap img')"
    page.wait_for_function(f"count => {shown}.length == count", arg=count)


def choose(page, control: str, words: str) -> None:
    page.locator(f"#{control} label").filter(has_text=re.compile(f"^\\s*{words}\\s*$")).click()


def download(page, button: str, folder: Path) -> Path:
    """Clicks a button that downloads; Gradio 3 shows a link to the file in its place."""
    with page.expect_download() as caught:
        page.locator(f"button#{button}:enabled, a#{button}, #{button} a[href]").first.click()
    path = folder / caught.value.suggested_filename
    caught.value.save_as(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def check_soft(alpha: np.ndarray, site) -> None:
    """The tiny class draws soft patches, the shipped one a subject that is opaque inside and gone outside."""
    assert alpha.std() > 2, "the mask is flat"
    if site.class_name == "avatar":
        assert alpha.min() < 10 and alpha.max() > 245


def pick(page, number: int) -> None:
    """Clicks a picture below the large one; Gradio 3 has them in a grid at first."""
    small = page.locator("#l4f_generate_gallery .thumbnails button")
    (small if small.count() else page.locator("#l4f_generate_gallery .grid-wrap button")).nth(number).click()


def open_tab(page, words: str, tabs: str = "l4f_tabs") -> None:
    """Gradio 3 gives its tabs no role."""
    without = page.locator(f"#{tabs} > .tab-nav button:not([role=tab])").filter(has_text=words)
    page.get_by_role("tab", name=words, exact=True).or_(without).click()


def visit(page, words: str) -> None:
    """Opens a tab, and waits for what that asks for."""
    open_tab(page, words)
    settle(page)


def open_swap(page) -> None:
    open_tab(page, "Swap background")
    page.locator("#l4f_swap_run").click()
    page.locator("#l4f_swap_image img").wait_for()


def wait_for_swap(page, words: str) -> None:
    hear(page, "swap_status .l4f-finished", words)


@pytest.mark.clicked_path
def test_pictures_masks_and_cutouts_are_shown_and_downloaded(page, site, tmp_path):
    left = [page.locator(part).bounding_box()["x"] for part in (".l4f-title", "#l4f_tabs")]
    assert abs(left[0] - left[1]) <= 1, "the title stands above the first tab"
    generate(page, "0-3")
    wait_for_pictures(page, 4)
    assert "seeds 0-3" in page.locator("#l4f_generate_status .l4f-status").inner_text()
    for words, ending in [("Mask", "_alpha.png"), ("Cut-out", "_cutout.png")]:
        choose(page, "l4f_generate_view", words)
        page.wait_for_function(
            "ending => [...document.querySelectorAll('#l4f_generate_gallery .grid-wrap img')]"
            ".filter(img => img.src.endsWith(ending) && img.complete && img.naturalWidth).length == 4",
            arg=ending,
        )

    pick(page, 1)
    page.locator("#l4f_generate_picked").get_by_text("Seed 1").wait_for()
    cutout = pixels(download(page, "l4f_generate_download", tmp_path))
    assert cutout.shape[2] == 4
    check_soft(cutout[..., 3], site)
    saved = next(site.outputs.today().glob("*seed0001*_cutout.png"))
    assert np.array_equal(cutout, pixels(saved)), "the download is the file on disk"

    with zipfile.ZipFile(download(page, "l4f_generate_download_all", tmp_path)) as packed:
        assert len([name for name in packed.namelist() if name.endswith("_cutout.png")]) == 4
        assert packed.read(saved.name) == saved.read_bytes()


@pytest.mark.clicked_path
def test_a_picture_goes_on_to_the_swap_panel(page):
    generate(page, "5,8")
    pick(page, 1)
    hear(page, "generate_picked", "Seed 8")  # till then the first one is picked
    page.locator("#l4f_generate_to_swap:enabled").click()
    page.locator("#l4f_swap_image img").wait_for()
    assert page.locator("#l4f_swap_seed input").input_value() == "8"
    open_tab(page, "Generate")
    page.locator("#l4f_generate_seeds_reuse").click()
    page.wait_for_function("document.querySelector('#l4f_generate_seeds input').value == '5,8'")


@pytest.mark.clicked_path
def test_swapped_backgrounds_are_true_on_disk(page, site, tmp_path):
    open_swap(page)
    choose(page, "l4f_swap_kind", "Transparent")
    wait_for_swap(page, "transparent")
    cutout = pixels(download(page, "l4f_swap_download", tmp_path))
    assert cutout.shape[2] == 4
    check_soft(cutout[..., 3], site)

    choose(page, "l4f_swap_kind", "Colour")
    wait_for_swap(page, "on #7aa7c7")
    result = pixels(download(page, "l4f_swap_download", tmp_path))
    alpha = cutout[..., 3:] / 255
    expected = alpha * cutout[..., :3] + (1 - alpha) * np.array([0x7A, 0xA7, 0xC7])
    assert result.shape[2] == 3 and np.abs(result - expected).max() < 3

    result_shown = page.locator("#l4f_swap_image img").evaluate("img => img.src")
    choose(page, "l4f_swap_view", "Mask")
    page.wait_for_function("shown => document.querySelector('#l4f_swap_image img').src != shown", arg=result_shown)
    assert np.array_equal(pixels(download(page, "l4f_swap_download", tmp_path)), cutout[..., 3])
    choose(page, "l4f_swap_view", "Before and after")
    page.locator("#l4f_swap_compare").wait_for()
    assert not page.locator("#l4f_swap_image").is_visible()

    page.locator("#l4f_swap_save").click()
    page.locator("#l4f_swap_status").get_by_text("Saved as").wait_for()
    kept = next(site.outputs.today().glob("*_swapped_0001.png"))
    assert np.array_equal(pixels(kept), result)


def test_own_picture_behind_the_subject(page, tmp_path):
    Image.new("L", (300, 80), 255).save(tmp_path / "white.png")
    open_swap(page)
    choose(page, "l4f_swap_kind", "Picture")
    page.locator("#l4f_swap_picture input[type=file]").set_input_files(tmp_path / "white.png")
    # Gradio 3 sends what is in the picture and not what it is called.
    wait_for_swap(page, "white.png behind it" if compat.MAJOR >= 4 else "your picture behind it")


@pytest.mark.clicked_path
def test_cancel_stops_and_keeps_what_is_there(page, site):
    site.gate.clear()
    page.locator("#l4f_generate_seeds input").fill("100-163")
    page.locator("#l4f_generate_run").click()
    wait_for_pictures(page, 4)
    assert page.locator("#l4f_generate_run").is_disabled()
    page.locator("#l4f_generate_cancel:enabled").click()
    page.locator("#l4f_generate_status").get_by_text("Stopped. 4 pictures kept").wait_for()
    page.locator("#l4f_generate_run:enabled").wait_for()
    assert pictures(page).count() == 4
    assert not site.service.is_busy()
    page.locator("#l4f_generate_seeds input").fill("seven")
    page.locator("#l4f_generate_run:enabled").click()  # at once: the end of the last job swallows nothing
    hear(page, "generate_status", "'seven' is not a seed")
    page.locator("#l4f_generate_run:enabled").wait_for()


@pytest.mark.clicked_path
def test_a_slow_answer_to_the_click_loses_nothing(page, site):
    """What a job tells before the page knows its name comes all at once then."""
    site.gate.clear()
    page.locator("#l4f_generate_seeds input").fill("200-263")
    page.locator("#l4f_generate_run").click()
    wait_for_pictures(page, 4)  # so the page listens already

    def slow(route):
        answer = route.fetch()
        page.wait_for_timeout(1000)
        route.fulfill(response=answer)

    page.route("**/queue/join*", slow)
    open_tab(page, "Swap background")
    assert not page.locator("#l4f_swap_status").get_by_text("Waiting").count(), "to open a tab starts nothing"
    page.locator("#l4f_swap_run").click()
    page.locator("#l4f_swap_status").get_by_text("Waiting").wait_for()
    page.locator("#l4f_swap_run:disabled").wait_for()
    page.locator("#l4f_swap_cancel:enabled").wait_for()
    site.gate.set()
    open_tab(page, "Generate")
    page.locator("#l4f_generate_cancel").click()
    open_tab(page, "Swap background")
    page.locator("#l4f_swap_image img").wait_for()


@pytest.mark.clicked_path
def test_many_results_take_no_more_room_than_one(page):
    generate(page, "0-31")
    pick(page, 30)
    box = page.locator("#l4f_generate_gallery").bounding_box()
    assert box["height"] < 640, "what can be done with the picture stands below"


@pytest.mark.clicked_path
def test_the_keyboard_alone_draws_moves_between_tabs_and_pictures_and_does_what_buttons_do(page):
    page.locator("#l4f_generate_seeds input").fill("5-7")
    page.locator("#l4f_generate_run").focus()
    page.keyboard.press("Enter")
    hear(page, "generate_status .l4f-finished", "saved in")
    page.locator("#l4f_generate_view input").nth(1).focus()
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('#l4f_generate_gallery .grid-wrap img')?.src.endsWith('_alpha.png')")
    settle(page)
    tabs = page.locator("#l4f_tabs button").locator("visible=true")
    tabs.filter(has_text="Generate").first.focus()
    for key, names in (("ArrowRight", ("Explore", "Swap background")), ("ArrowLeft", ("Explore", "Generate"))):
        for name in names:
            page.keyboard.press(key)
            page.locator("#l4f_tabs button.selected:focus", has_text=name).wait_for()
    page.locator("#l4f_generate_run").wait_for()
    pick(page, 1)
    told = page.locator("#l4f_generate_picked").first
    told.get_by_text("6", exact=True).wait_for()
    page.keyboard.press("ArrowRight")
    told.get_by_text("7", exact=True).wait_for()
    with page.expect_download() as download:
        page.keyboard.press("d")
    assert "0007" in download.value.suggested_filename
    page.keyboard.press("s")
    page.wait_for_function("document.querySelector('#l4f_generate_seeds :is(input, textarea)').value == '7'")


def test_a_reload_brings_the_settings_back(page):
    generate(page, "5-7")
    page.wait_for_function("location.hash.includes('seeds=5-7')")
    page.reload()
    page.wait_for_function("document.querySelector('#l4f_generate_seeds :is(input, textarea)')?.value == '5-7'")
    settle(page)


def test_a_result_is_dragged_behind_a_subject(page, site):
    generate(page, "5")
    field = "#l4f_swap_picture :has(> input[type=file])"
    fire = """([event, places, words]) => {
        const shown = [...document.querySelectorAll(places)].filter((part) => part.offsetParent);
        const found = shown.find((part) => part.textContent.includes(words));
        found?.dispatchEvent(new DragEvent(event, { bubbles: true, cancelable: true }));
        return Boolean(found);
    }"""
    for event, places, words in (
        ("dragstart", "#l4f_generate_gallery img", ""),
        ("dragover", ":is(.tab-nav, .tab-container:not(.visually-hidden)) > button", "Swap background"),
        ("dragover", "#l4f_swap_kind label", "Picture"),
        ("drop", field, ""),
    ):
        page.wait_for_function(fire, arg=[event, places, words])  # tabs and choices open under what is dragged
    page.locator("#l4f_swap_picture img").first.wait_for()
    settle(page)


def test_unload_shows_that_memory_is_free(page, site):
    generate(page, "1")
    page.locator("#l4f_state").get_by_text("in memory,").wait_for()
    page.locator("#l4f_unload:enabled").click()
    page.locator("#l4f_state").get_by_text(re.compile("Unloaded: .+ before, .+ now")).wait_for()
    page.locator("#l4f_unload:disabled").wait_for()
    assert not site.service.loaded()
    settle(page)
    page.locator("#l4f_generate_seeds input").press("Enter")  # which loads it again, as the button does
    page.locator("#l4f_state").get_by_text("in memory,").wait_for()


def test_narrow_screens_need_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 360, "height": 740})
    generate(page, "0-3")
    for tab in ("Generate", "Swap background"):
        open_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.skipif(not compat.HAS_EDITOR, reason="this Gradio has no editor")
def test_a_drawn_mask_is_mended_and_goes_on_to_swap(page, site, tmp_path):
    generate(page, "0-3")
    pick(page, 1)
    page.locator("#l4f_generate_picked").get_by_text("Seed 1").wait_for()
    settle(page)
    page.locator("#l4f_generate_brush_section button").first.click()
    page.locator("#l4f_generate_brush_open").click()
    canvas = page.locator("#l4f_generate_brush_editor canvas").first
    canvas.wait_for()
    settle(page)
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # until it has drawn itself
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle[0] - 150, middle[1])  # a line across the picture, in the first colour, green
    page.mouse.down()
    page.mouse.move(middle[0] + 150, middle[1], steps=4)
    page.mouse.up()
    page.locator("#l4f_generate_brush_apply").click()
    canvas.wait_for(state="hidden")
    settle(page)
    page.locator("#l4f_generate_status .l4f-finished").get_by_text("mended").wait_for()
    cutout = pixels(download(page, "l4f_generate_download", tmp_path))
    half, width = len(cutout) // 2, cutout.shape[1]
    assert (cutout[half, width // 4 : -width // 4, 3] == 255).all()
    [before] = site.outputs.today().glob("*seed0001*psi0.70_cutout.png")
    assert (pixels(before)[..., 3] != cutout[..., 3]).any()

    page.locator("#l4f_generate_to_swap:enabled").click()
    page.locator("#l4f_swap_image img").wait_for()
    settle(page)
    choose(page, "l4f_swap_view", "Mask")
    page.locator("#l4f_swap_image img[src*=alpha]").wait_for()
    settle(page)
    mask = pixels(download(page, "l4f_swap_download", tmp_path))
    assert np.array_equal(mask, cutout[..., 3])


@pytest.mark.skipif(compat.HAS_EDITOR, reason="this Gradio has an editor")
def test_without_an_editor_nothing_is_said_of_it(page):
    generate(page, "0-3")
    assert not page.get_by_text("with a brush").count()
