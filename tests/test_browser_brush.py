"""The brush in Chromium, where Gradio has an editor. See `test_browser`."""

import numpy as np
import pytest
from test_browser import browser, choose, download, generate, page, pick, pixels, settle, site  # noqa: F401, fixtures

from l4f_ui import compat


def paint_across(page, panel: str) -> None:  # noqa: F811
    """Opens the form of a panel, draws a line across the picture in its first colour, green, and applies it."""
    page.locator(f"#l4f_{panel}_brush_section button").first.click()
    page.locator(f"#l4f_{panel}_brush_open").click()
    canvas = page.locator(f"#l4f_{panel}_brush_editor canvas").first
    canvas.wait_for()
    settle(page)
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # until it has drawn itself
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle[0] - 150, middle[1])
    page.mouse.down()
    page.mouse.move(middle[0] + 150, middle[1], steps=20)
    page.mouse.up()
    page.locator(f"#l4f_{panel}_brush_apply").click()
    canvas.wait_for(state="hidden")
    settle(page)


@pytest.mark.skipif(not compat.HAS_EDITOR, reason="this Gradio has no editor")
def test_a_drawn_mask_is_mended_and_goes_on_to_swap(page, site, tmp_path):  # noqa: F811
    generate(page, "0-3")
    pick(page, 1)
    page.locator("#l4f_generate_picked").get_by_text("Seed 1").wait_for()
    settle(page)
    paint_across(page, "generate")
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
def test_without_an_editor_nothing_is_said_of_it(page):  # noqa: F811
    generate(page, "0-3")
    assert not page.get_by_text("with a brush").count()
