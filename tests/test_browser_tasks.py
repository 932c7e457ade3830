"""What people come for, in Chromium; where `clicks` counts, in at most five of them. See `test_browser`."""

import dataclasses
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import red_finder, saved
from PIL import Image
from test_browser import browser, choose, download, hear, open_tab, page, pixels, settle, visit  # noqa: F401, fixtures

MOST_CLICKS = 5


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page of an owner, over a tiny class that has a student. Sets are cut short once they have been asked for."""
    from serving import site_of

    from l4f_ui.export_panel import Exports

    models, asked, start = tmp_path_factory.mktemp("models"), [], Exports.start
    saved(models / "tiny", title="Red things", student=red_finder())

    def short(exports, name, settings):
        asked.append(settings)
        return start(exports, name, dataclasses.replace(settings, count=12, curation=None))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exports, "start", short)
        with site_of(models, tmp_path_factory.mktemp("pictures"), manages_classes=True) as running:
            yield SimpleNamespace(**vars(running), asked=asked)


class Clicks:
    """Counts what a person clicks."""

    def __init__(self, page):  # noqa: F811
        self.page, self.count = page, 0

    def __call__(self, selector: str) -> None:
        self.count += 1
        self.page.locator(selector).first.click()

    def tab(self, words: str) -> None:
        self.count += 1
        visit(self.page, words)

    def upload(self, selector: str, files: list[Path]) -> None:
        """A click on the field, and files chosen in the window that opens."""
        self.count += 1
        self.page.locator(f"{selector} input[type=file]").first.set_input_files([str(file) for file in files])

    def download(self, button: str, folder: Path) -> Path:
        self.count += 1
        return download(self.page, button, folder)


@pytest.fixture
def clicks(page):  # noqa: F811
    counted = Clicks(page)
    yield counted
    assert counted.count <= MOST_CLICKS


def red_on_blue(path: Path, size: tuple[int, int] = (80, 60)) -> Path:
    picture = Image.new("RGB", size, (20, 80, 200))
    picture.paste((230, 30, 40), (20, 15, 60, 45))
    picture.save(path)
    return path


def photographs(folder: Path, count: int) -> list[Path]:
    return [red_on_blue(folder / f"photo{number:02d}.png", (90, 60)) for number in range(count)]


def test_eight_portraits_and_one_before_a_photograph_at_its_own_size(page, clicks, tmp_path):  # noqa: F811
    clicks("#l4f_generate_run")
    hear(page, "generate_status .l4f-finished", "8 pictures")
    small = "#l4f_generate_gallery .thumbnails button"
    clicks(f"{small if page.locator(small).count() else '#l4f_generate_gallery .grid-wrap button'} >> nth=3")
    settle(page)
    clicks("#l4f_generate_to_swap:enabled")
    page.locator("#l4f_swap_image img").wait_for()
    settle(page)
    clicks("#l4f_swap_kind label:has-text('Picture')")
    clicks.upload("#l4f_swap_picture", photographs(tmp_path, 1))
    hear(page, "swap_status .l4f-finished", "behind it")
    counted = clicks.count
    assert pixels(clicks.download("l4f_swap_download", tmp_path)).shape[:2] == (60, 90)
    clicks.count = counted  # which the task does not ask for


def test_twenty_photographs(page, clicks, tmp_path):  # noqa: F811
    clicks.tab("Photographs")
    clicks.upload("#l4f_photos_files", photographs(tmp_path, 20))
    page.locator("#l4f_photos_files").get_by_text("photo19").first.wait_for()
    clicks("#l4f_photos_run")
    hear(page, "photos_status .l4f-finished", "20 of 20 photographs")
    assert clicks.download("l4f_photos_download_all", tmp_path).stat().st_size > 1000


def test_a_thousand_as_coco_downloaded(page, clicks, site, tmp_path):  # noqa: F811
    clicks.tab("Export")
    page.locator("#l4f_export_empty").get_by_text("No set yet").wait_for()
    clicks("#l4f_export_format label:has-text('COCO')")
    clicks("#l4f_export_run")
    hear(page, "export_card", "generated pictures")
    [asked] = site.asked
    assert (asked.count, asked.format) == (1000, "coco")
    assert clicks.download("l4f_export_download", tmp_path).suffix == ".zip"
    page.reload()
    page.locator("#l4f_generate_run").wait_for()
    settle(page)
    visit(page, "Export")
    page.locator("#l4f_export_card").get_by_text("Red things: 12 generated pictures").wait_for()
    for name, words in (("run", "Export"), ("measure", "Estimate"), ("cancel", "Cancel")):
        page.locator(f"#l4f_export_{name}").get_by_text(words, exact=True).wait_for()
    page.locator("#l4f_export_measure").click()
    hear(page, "export_activity", "on this device")
    page.locator("#l4f_export_count input").fill("0")
    page.locator("#l4f_export_run").click()
    hear(page, "export_activity", "must be a whole number from 1")


def test_a_loop_from_three_favourites(page, clicks, site, tmp_path):  # noqa: F811
    from l4f_ui.history import FAVOURITE, History

    history, token = History(site.service), site.service.new_token()
    for drawn in [one for batch in site.service.generate("tiny", [1, 2, 3], 0.7, token) for one in batch]:
        history.mark(site.outputs.save_sample(drawn, "tiny", "Red things"), FAVOURITE)
    clicks("#l4f_generate_which label:has-text('Favourites')")
    settle(page)
    clicks("#l4f_generate_animate")
    page.locator("#l4f_motion_run").wait_for()
    settle(page)
    clicks("#l4f_motion_run")
    page.locator("#l4f_motion_status .l4f-finished").wait_for()
    settle(page)
    moving = clicks.download("l4f_motion_download", tmp_path)
    with Image.open(moving) as picture:
        assert picture.n_frames > 30


def test_an_example_is_one_click_in_explore_and_export(page, site):  # noqa: F811
    before = len(site.asked)
    visit(page, "Explore")
    page.locator("#l4f_explore_example").click()
    page.locator(".l4f-grid button").nth(5).wait_for()
    assert page.locator(".l4f-kept").count() == 3
    visit(page, "Export")
    page.locator("#l4f_export_example").click()
    page.wait_for_function("document.querySelector('#l4f_export_count input').value == '24'")
    hear(page, "export_card", "generated pictures")
    assert [settings.count for settings in site.asked[before:]] == [24]
    open_tab(page, "Models")
    page.get_by_text("Click a class to see what it is").wait_for()
    settle(page)


def test_one_subject_before_several_pictures(page, tmp_path):  # noqa: F811
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    open_tab(page, "Swap background")
    page.locator("#l4f_swap_kind label:has-text('Picture')").click()
    settle(page)
    field = page.locator("#l4f_swap_several input[type=file]").first
    field.set_input_files([str(file) for file in photographs(tmp_path, 3)])
    page.locator("#l4f_swap_several").get_by_text("photo02").first.wait_for()
    settle(page)
    page.locator("#l4f_swap_run").click()
    hear(page, "swap_status .l4f-finished", "3 of 3")
    page.locator("#l4f_swap_next").click()
    page.locator("#l4f_swap_about").get_by_text("photo01").wait_for()
    shown = page.locator("#l4f_swap_image img").bounding_box()
    assert abs(shown["width"] / shown["height"] - 1.5) < 0.02  # and nothing beside the picture
    assert shown["y"] >= 0 and shown["y"] + shown["height"] <= 900, "the result is in view"
    assert not [words for words in said if "Method not implemented" in words], "what Gradio complains of after uploads"


def test_on_a_phone_controls_fold_and_the_result_comes_into_view(page):  # noqa: F811
    page.set_viewport_size({"width": 390, "height": 844})
    open_tab(page, "Swap background")
    page.locator("#l4f_swap_example").click()
    page.locator("#l4f_swap_image img").wait_for()
    settle(page)
    shown = page.locator("#l4f_swap_image img").bounding_box()
    assert shown["y"] >= 0 and shown["y"] + shown["height"] <= 844
    page.locator(".l4f-unfold").locator("visible=true").click()
    assert page.locator("#l4f_swap_example").is_visible()
    page.set_viewport_size({"width": 390, "height": 420})  # lower than the result
    page.mouse.wheel(0, 500)
    page.wait_for_timeout(500)
    boxes = (page.locator(f".l4f-{part}").locator("visible=true").bounding_box() for part in ("controls", "stage"))
    above, below = boxes
    assert above["y"] + above["height"] <= below["y"], "the result lies below the controls, not over them"


def test_what_a_discriminator_knows_is_kept_from_a_class_to_start_from(page, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photographs(tmp_path, 12)
    visit(page, "Train")
    page.locator("#l4f_train_folder :is(input, textarea)").fill(str(tmp_path))
    page.locator("#l4f_train_look").click()
    hear(page, "train_activity .l4f-finished", "12 pictures")
    assert not page.locator("#l4f_train_freeze").is_visible()
    page.locator("#l4f_train_start input").click()
    option = page.locator(":is([role=option], [data-testid=dropdown-option])")
    option.filter(has_text=re.compile("Red things|^\\W*tiny")).click()  # by name in Gradio 3
    page.locator("#l4f_train_freeze input").check()
    settle(page)
    page.locator("#l4f_train_resolution label:has-text('256')").click()
    page.locator("#l4f_train_begin").click()
    page.locator("#l4f_train_activity .l4f-problem").get_by_text("draws 32 pixels").wait_for()
    assert not (tmp_path / "cache").exists(), "nothing was begun"
    settle(page)


def test_a_key_marks_a_favourite(page):  # noqa: F811
    page.locator("#l4f_generate_run").click()
    hear(page, "generate_status .l4f-finished", "8 pictures")
    page.keyboard.press("f")
    hear(page, "generate_status", "It is a favourite now")
    page.keyboard.press("f")
    hear(page, "generate_status", "It is no favourite any more")


def drop(page, files) -> None:  # noqa: F811
    """Uploads files, and waits until the page has them all."""
    page.locator("#l4f_photos_files input[type=file]").set_input_files([str(file) for file in files])
    for file in files:
        page.locator("#l4f_photos_files .file-preview").get_by_text(file.stem).first.wait_for()
    settle(page)


def test_photographs_become_cutouts_composites_and_a_zip(page, tmp_path):  # noqa: F811
    open_tab(page, "Photographs")
    page.locator("#l4f_photos_empty").get_by_text("No photographs yet").wait_for()
    (tmp_path / "torn.png").write_bytes(b"nothing")
    drop(page, [*(red_on_blue(tmp_path / name) for name in ("holiday.png", "garden.png")), tmp_path / "torn.png"])
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


def test_a_subject_is_recovered_and_taken_to_swap(page, tmp_path):  # noqa: F811
    open_tab(page, "Photographs")
    drop(page, [red_on_blue(tmp_path / "holiday.png")])
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
