"""The form that recovers a photographed subject: previews, files, and the way to the other panels."""

import threading

import numpy as np
import pytest
from alike import assert_alike
from pages import begin, run, status_of, swapping
from PIL import Image
from pixels import pixels

from l4f_plugin.provenance import WPlus


@pytest.fixture
def photograph(tmp_path):
    (tmp_path / "uploads").mkdir()
    picture = np.zeros((50, 70, 3), np.uint8) + np.array([20, 80, 200], np.uint8)
    picture[10:40, 20:50] = [230, 30, 40]
    Image.fromarray(picture).save(tmp_path / "uploads" / "holiday.jpg", quality=95)
    return tmp_path / "uploads" / "holiday.jpg"


def wanted(page, path, steps=50) -> dict:
    panel, background = page.photos, page.photos.background
    changed = {panel.choice.dropdown: "tiny", panel.files: path and [str(path)], panel.inversion.steps: steps}
    return {**changed, background.kind: "colour", background.colour: "#00ff00"}


def recover(page, path) -> dict:
    return run(page.photos.inversion, page.photos.inversion.recover, wanted(page, path))


def test_a_subject_is_recovered_shown_and_taken_to_the_other_panels(page, photograph):
    form, stage, seen, previews = page.photos.inversion, page.photos.inversion.stage, {}, set()
    for update in begin(form, form.recover, wanted(page, photograph)):
        shown = update.get(stage.image, {}).get("value") or ""
        previews |= {shown} if "on-the-way" in str(shown) else set()
        seen |= update
    assert len(previews) == 2 and "holiday.jpg" in status_of(form, seen)
    assert seen[stage.frame]["visible"] and not seen[page.photos.stage.places[0]]["visible"]
    [recovered] = seen[stage.results]
    sizes = {kind: Image.open(file).size for kind, file in recovered.files.items() if kind != "w_plus"}
    assert sizes.pop("redrawn") == (32, 32)
    assert set(sizes.values()) == {(50, 50)}, "what is of the photograph keeps its size, cropped to the class's shape"
    mask, cutout, composite = (pixels(recovered.files[kind]) for kind in ("mask", "cutout", "result"))
    assert np.array_equal(cutout[..., 3], mask) and composite.shape == (50, 50, 3)
    outermost = np.unravel_index(mask.argmin(), mask.shape)
    assert composite[outermost][1] > pixels(recovered.files["picture"])[outermost][1], "green is behind it"
    assert not stage.look("mask", [recovered])[stage.comparison.frame]["visible"]
    assert "Saved 5 files" in status_of(form, stage.keep([recovered]))

    codes, redrawn = str(recovered.files["w_plus"]), pixels(recovered.files["redrawn"])
    panel = page.photos
    source = {panel.choice.dropdown: "tiny", panel.codes: codes}
    segmented = run(panel, panel.segment, source)
    assert_alike(pixels(segmented[panel.stage.results][0].files["picture"]), redrawn)
    panel = page.swap
    placed = run(panel, panel.swap, {**swapping(panel, "colour", seed="-1"), panel.w_plus: codes})
    assert panel.seed not in placed, "no seed is drawn where codes are the subject"
    assert "recovered subject" in status_of(panel, placed)
    files = placed[panel.stage.results][0].files
    assert_alike(pixels(files["picture"]), redrawn)
    assert "seed" not in files["result"].name and WPlus.load(codes).noise_seed is None


def test_the_first_step_is_shown_already(page, photograph):
    form, shown = page.photos.inversion, []
    for update in begin(form, form.recover, wanted(page, photograph, steps=5)):
        shown.append(str(update.get(form.stage.image, {}).get("value")))
    assert any("on-the-way" in file for file in shown), "a short search shows more than its end"


def test_cancel_stops_the_search(page, photograph):
    form = page.photos.inversion
    updates = begin(form, form.recover, wanted(page, photograph, steps=1000))
    identifier = next(updates)[form.job.identifier]
    last: dict = {}
    for update in updates:
        last |= update
        if "step" in str(update.get(form.job.status, "")):
            form.job.stop(identifier)
    assert "Stopped" in status_of(form, last) and form.stage.results not in last
    assert not any(thread.name == "l4f job" for thread in threading.enumerate())


def test_what_cannot_be_recovered_is_told_without_the_path_of_the_server(page, photograph):
    form, broken = page.photos.inversion, photograph.with_name("broken.png")
    broken.write_bytes(b"nothing")
    told = status_of(form, recover(page, broken))
    assert "broken.png" in told and str(broken.parent) not in told
    assert "drop some" in status_of(form, recover(page, None))
