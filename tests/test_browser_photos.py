"""The panel Photographs in Chromium: segmented, shown, downloaded, refused; and a subject recovered. See
`test_browser`."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from bundles import red_finder, saved
from PIL import Image
from test_browser import browser, choose, download, hear, open_tab, page, pixels, settle  # noqa: F401, fixtures


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page over a tiny class that has a student."""
    from serving import site_of

    models = tmp_path_factory.mktemp("models")
    saved(models / "red", title="Red things", student=red_finder())
    with site_of(models, tmp_path_factory.mktemp("pictures"), default_class="red") as running:
        yield running


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A red square on blue, twice, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "torn.png").write_bytes(b"nothing")
    return [*(red_on_blue(folder / name) for name in ("holiday.png", "garden.png")), folder / "torn.png"]


def red_on_blue(path: Path, size: tuple[int, int] = (80, 60)) -> Path:
    picture = Image.new("RGB", size, (20, 80, 200))
    picture.paste((230, 30, 40), (20, 15, 60, 45))
    picture.save(path)
    return path


def drop(page, files) -> None:  # noqa: F811
    """Uploads files, and waits until the page has them all."""
    page.locator("#l4f_photos_files input[type=file]").set_input_files([str(file) for file in files])
    for file in files:
        page.locator("#l4f_photos_files .file-preview").get_by_text(file.stem).first.wait_for()
    settle(page)


def test_photographs_become_cutouts_composites_and_a_zip(page, photographs, tmp_path):  # noqa: F811
    open_tab(page, "Photographs")
    page.locator("#l4f_photos_empty").get_by_text("No photographs yet").wait_for()
    drop(page, photographs)
    page.locator("#l4f_photos_run").click()
    told = page.locator("#l4f_photos_status .l4f-finished")
    told.get_by_text("2 of 3 photographs segmented").wait_for()
    settle(page)
    assert "torn.png" in told.inner_text() and "/" not in told.inner_text()

    page.locator("#l4f_photos_compare img").first.wait_for()
    choose(page, "l4f_photos_view", "Result")
    page.locator("#l4f_photos_image img").wait_for()
    cutout = pixels(download(page, "l4f_photos_download_result", tmp_path))
    assert cutout.shape == (60, 80, 4) and cutout[30, 40, 3] > 250 and cutout[2, 2, 3] < 5
    mask = pixels(download(page, "l4f_photos_download_mask", tmp_path))
    assert np.array_equal(mask, cutout[..., 3])
    with zipfile.ZipFile(download(page, "l4f_photos_download_all", tmp_path)) as archive:
        names = [f"{name}_{part}.png" for name in ("garden", "holiday") for part in ("alpha", "cutout")]
        assert sorted(archive.namelist()) == names

    before = page.locator("#l4f_photos_image img").get_attribute("src")
    choose(page, "l4f_photos_kind", "Colour")
    page.locator("#l4f_photos_run").click()
    page.wait_for_function(
        "before => { const image = document.querySelector('#l4f_photos_image img');"
        "return image && image.getAttribute('src') != before }",
        arg=before,
    )
    told.get_by_text("2 of 3 photographs segmented").wait_for()
    settle(page)
    composite = pixels(download(page, "l4f_photos_download_result", tmp_path))
    assert composite.shape == (60, 80, 3) and composite[30, 40, 0] > 200
    assert composite[2, 2].min() >= 253


def test_a_subject_is_recovered_and_taken_to_swap(page, photographs):  # noqa: F811
    open_tab(page, "Photographs")
    drop(page, photographs[:1])
    page.get_by_text("Advanced: style codes").click()
    page.locator("#l4f_recover_steps input[type=number]").fill("1000")
    settle(page)
    page.locator("#l4f_recover_run").click()
    page.locator("#l4f_recover_image img").wait_for()  # a picture on the way
    page.locator("#l4f_recover_cancel").click()
    hear(page, "recover_status", "Stopped")
    page.locator("#l4f_recover_steps input[type=number]").fill("50")
    page.locator("#l4f_recover_run").click()
    hear(page, "recover_status", "holiday.png, drawn again by Red things")
    page.locator("#l4f_recover_compare img").first.wait_for()
    page.locator("#l4f_recover_to_swap").click()
    page.locator("#l4f_swap_status").get_by_text("The recovered subject").wait_for()
    page.locator("#l4f_swap_image img").wait_for()
