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
    picture, path = Image.new("RGB", (70, 50), (20, 80, 200)), tmp_path / "uploads" / "holiday.jpg"
    picture.paste((230, 30, 40), (20, 10, 50, 40))
    picture.save(path, quality=95)
    return path


def wanted(page, path, steps=5) -> dict:
    panel, background = page.photos, page.photos.background
    changed = {panel.choice.dropdown: "tiny", panel.files: path and [str(path)], panel.inversion.steps: steps}
    return {**changed, background.kind: "colour", background.colour: "#00ff00"}


def test_a_subject_is_recovered_shown_and_taken_to_the_other_panels(page, photograph):
    form, stage, seen, previews = page.photos.inversion, page.photos.inversion.stage, {}, set()
    for update in begin(form, form.recover, wanted(page, photograph)):
        shown = update.get(stage.image, {}).get("value") or ""
        previews |= {shown} if "on-the-way" in str(shown) else set()
        seen |= update
    assert len(previews) == 1, "the first step; test_projection.py holds the later ones"
    assert "holiday.jpg" in status_of(form, seen)
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
    segmented = run(panel, panel.segment, {panel.choice.dropdown: "tiny", panel.codes: codes})
    assert_alike(pixels(segmented[panel.stage.results][0].files["picture"]), redrawn)
    panel = page.swap
    placed = run(panel, panel.swap, {**swapping(panel, "colour", seed="-1"), panel.w_plus: codes})
    assert panel.seed not in placed, "no seed is drawn where codes are the subject"
    assert "recovered subject" in status_of(panel, placed)
    files = placed[panel.stage.results][0].files
    assert_alike(pixels(files["picture"]), redrawn)
    assert "seed" not in files["result"].name and WPlus.load(codes).noise_seed is None


def test_cancel_stops_the_search(page, photograph):
    form = page.photos.inversion
    updates = begin(form, form.recover, wanted(page, photograph, steps=1000))
    token = next(updates)[form.job.token]
    last: dict = {}
    for update in updates:
        last |= update
        if "step" in str(update.get(form.job.status, "")):
            form.job.stop(token)
    assert "Stopped" in status_of(form, last) and form.stage.results not in last
    assert not any(thread.name == "l4f job" for thread in threading.enumerate())


def test_what_cannot_be_recovered_is_told_without_the_path_of_the_server(page, photograph):
    form, broken = page.photos.inversion, photograph.with_name("broken.png")
    broken.write_bytes(b"nothing")
    told, nothing = (status_of(form, run(form, form.recover, wanted(page, file))) for file in (broken, None))
    assert "broken.png" in told and str(broken.parent) not in told
    assert "drop some" in nothing
