"""The panel Explore in Chromium: sliders are dragged, subjects mixed, animated and handed on. See `test_browser`."""

import re
import shutil

import pytest
from PIL import Image
from test_browser import browser, hear, open_tab, page, settle  # noqa: F401, fixtures


@pytest.fixture(scope="module")
def site(tiny_bundle_folder, tmp_path_factory):
    """The page of an owner, over the tiny class, in which names of directions may be kept."""
    from serving import site_of

    models = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_bundle_folder, models / "tiny")
    with site_of(models, tmp_path_factory.mktemp("pictures"), manages_classes=True) as site:
        yield site


def live(page) -> str:  # noqa: F811
    return page.locator("#l4f_explore_image img").get_attribute("src")


def changed(page, before: str) -> str:  # noqa: F811
    """The picture, once it is another one and nothing follows."""
    page.wait_for_function(
        "before => { const image = document.querySelector('#l4f_explore_image img');"
        " return image && image.src !== before; }",
        arg=before,
    )
    settle(page)
    return live(page)


def explore(page) -> None:  # noqa: F811
    """The tab with a subject and the ends of its directions."""
    open_tab(page, "Explore")
    page.locator("#l4f_explore_image img").wait_for()
    page.wait_for_function(
        "() => { const end = document.querySelector('.l4f-end');"
        " return end && getComputedStyle(end).backgroundImage.startsWith('url'); }"
    )
    settle(page)


@pytest.mark.clicked_path
def test_a_slider_is_dragged_and_the_picture_follows(page, site):  # noqa: F811
    assert page.locator(".l4f-board").count() == 0 and not site.service.loaded(), "nothing is drawn before"
    explore(page)
    first = live(page)
    slider = page.locator('.l4f-of-all input[type=range][data-key="all-0"]')
    slider.hover()  # once it lies still
    box = slider.bounding_box()
    page.mouse.down()
    for step in range(60):  # a hand goes on as long as nothing follows: on a busy machine a wish may stay unanswered
        page.mouse.move(box["x"] + box["width"] * (0.7 + 0.2 * (step % 2)), box["y"] + box["height"] / 2, steps=4)
        page.wait_for_timeout(1000)
        if live(page) != first:
            break
    else:
        raise AssertionError("the picture does not follow")
    page.mouse.up()
    settle(page)
    dragged = live(page)
    page.locator("#l4f_explore_undo").click()
    undone = changed(page, dragged)
    assert slider.input_value() == "0", "the slider goes back too"
    page.locator('.l4f-of-all .l4f-end[data-key="all-1"]').first.click()
    moved = changed(page, undone)
    assert page.locator('.l4f-of-all input[data-key="all-1"]').input_value() == "-2"
    page.locator("#l4f_explore_undo").click()
    changed(page, moved)
    for view in ("Mask", "Cut-out", "Background"):
        before = live(page)
        page.locator("#l4f_explore_view").get_by_text(view, exact=True).click()
        changed(page, before)


def test_a_name_is_changed_and_stays(page, site):  # noqa: F811
    explore(page)
    page.locator('[value="coarse"][type=radio]').check(force=True)
    settle(page)
    name = page.locator('.l4f-of-coarse [data-name="coarse-1"]')
    name.fill("Looks away")
    name.press("Enter")
    hear(page, "explore_status", "The name is kept")
    page.reload()
    page.locator("#l4f_generate_run").wait_for()
    settle(page)  # as when it is first opened
    explore(page)
    assert page.locator('.l4f-board [data-name="coarse-1"]').input_value() == "Looks away"


@pytest.mark.clicked_path
def test_subjects_are_mixed_led_between_and_animated(page, site, tmp_path):  # noqa: F811
    explore(page)
    page.locator("#l4f_explore_put").click()
    page.locator(".l4f-kept").first.wait_for()
    settle(page)
    before = live(page)
    page.locator("#l4f_explore_more").click()
    page.locator('.l4f-grid [data-do="take"]').nth(7).wait_for()
    settle(page)
    page.locator('.l4f-grid [data-do="take"]').nth(2).click()
    before = changed(page, before)
    page.locator("#l4f_explore_put").click()
    page.locator('.l4f-between input[type="range"]').wait_for()
    settle(page)
    page.locator("#l4f_explore_mix").click()
    page.wait_for_function("document.querySelectorAll('.l4f-grid [data-do=take]').length === 6")
    settle(page)
    page.locator('.l4f-between input[type="range"]').fill("0.3")
    changed(page, before)
    page.get_by_text("Transparent motion").click()
    settle(page)  # Gradio 6 draws what is in an accordion over what is typed in the moment of its opening
    page.locator("#l4f_motion_seconds input[type=number]").fill("1")
    page.locator("#l4f_motion_fps input[type=number]").fill("8")
    page.locator("#l4f_motion_run").click()
    page.locator("#l4f_motion_status").get_by_text("8 frames").wait_for()
    address = page.locator("#l4f_motion_image img").get_attribute("src")
    if address.startswith("http"):
        (tmp_path / "moving.webp").write_bytes(page.request.get(address).body())
        with Image.open(tmp_path / "moving.webp") as picture:
            assert picture.n_frames == 8 and picture.mode == "RGBA"


def test_a_subject_goes_to_the_gallery_and_to_swap_and_pictures_come_from_there(page, site):  # noqa: F811
    explore(page)
    page.locator("#l4f_explore_to_gallery").click()
    hear(page, "generate_picked", re.compile("without a seed"))
    page.locator("#l4f_generate_to_swap").click()
    page.locator("#l4f_swap_image img").wait_for()
    settle(page)
    open_tab(page, "Generate")
    settle(page)
    page.locator("#l4f_generate_animate").click()
    page.locator(".l4f-kept").first.wait_for()
    settle(page)
