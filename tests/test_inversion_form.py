"""The form that recovers a photographed subject: previews, files, and the way to the other panels."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from alike import assert_alike
from pages import pixels, run, status_of
from PIL import Image

from l4f_plugin.provenance import WPlus
from l4f_ui.inversion_form import Recovered


@pytest.fixture
def photograph(tmp_path):
    (tmp_path / "uploads").mkdir()
    picture = np.zeros((50, 70, 3), np.uint8) + np.array([20, 80, 200], np.uint8)
    picture[10:40, 20:50] = [230, 30, 40]
    Image.fromarray(picture).save(tmp_path / "uploads" / "holiday.jpg", quality=95)
    return tmp_path / "uploads" / "holiday.jpg"


def values(path, kind="colour", view="compare", steps=50) -> tuple:
    return ("tiny", path and [str(path)], kind, "1", None, "#00ff00", 8, "soft", 0.5, 0, 0, False, steps, view)


def recover(page, path, **options) -> dict:
    form = page.photos.inversion
    return run(form, form.recover, *values(path, **options))


def test_a_subject_is_recovered_shown_and_taken_to_the_other_panels(page, photograph):
    form, seen, previews = page.photos.inversion, {}, set()
    for update in form.job.guarded(form.recover)(*values(photograph)):
        shown = update.get(form.image, {}).get("value") or ""
        previews |= {shown} if "on-the-way" in str(shown) else set()
        seen |= update
    assert len(previews) == 2 and "holiday.jpg" in status_of(form, seen)
    assert seen[form.stage]["visible"] and not seen[page.photos.empty]["visible"]
    recovered = seen[form.shown]
    sizes = {kind: Image.open(file).size for kind, file in recovered.files.items() if kind != "w_plus"}
    assert sizes.pop("redrawn") == (32, 32)
    assert set(sizes.values()) == {(50, 50)}, "what is of the photograph keeps its size, cropped to the class's shape"
    mask, cutout, composite = (pixels(recovered.files[kind]) for kind in ("mask", "cutout", "result"))
    assert np.array_equal(cutout[..., 3], mask) and composite.shape == (50, 50, 3)
    outermost = np.unravel_index(mask.argmin(), mask.shape)
    assert composite[outermost][1] > pixels(recovered.files["photograph"])[outermost][1], "green is behind it"
    assert not form.show("mask", recovered)[form.comparison.frame]["visible"]
    assert form.show("compare", Recovered()) == {}
    assert "Saved 5 files" in status_of(form, form.keep(recovered))

    codes = WPlus.load(recovered.files["w_plus"])
    segmented = run(
        page.segment, page.segment.segment, "tiny", "w_plus", "0", 0.7, None, str(recovered.files["w_plus"]), "picture"
    )
    redrawn = pixels(recovered.files["redrawn"])
    assert_alike(pixels(segmented[page.segment.shown].files["picture"]), redrawn)
    swapped = run(
        page.swap,
        page.swap.swap,
        "tiny",
        "-1",
        0.7,
        "colour",
        "5",
        None,
        "#123456",
        4,
        "soft",
        0.5,
        0,
        0,
        False,
        "result",
        str(recovered.files["w_plus"]),
    )
    assert page.swap.seed not in swapped, "no seed is drawn where codes are the subject"
    assert "recovered subject" in status_of(page.swap, swapped)
    files = swapped[page.swap.shown].files
    assert_alike(pixels(files["before"]), redrawn)
    assert "seed" not in files["result"].name
    assert codes.noise_seed is None


def test_cancel_stops_the_search(page, photograph):
    form = page.photos.inversion
    updates = form.job.guarded(form.recover)(*values(photograph, steps=1000))
    identifier = next(updates)[form.job.identifier]
    last: dict = {}
    for update in updates:
        last |= update
        if "step" in str(update.get(form.job.status, "")):
            form.job.stop(identifier)
    assert "Stopped" in status_of(form, last) and form.shown not in last
    assert not any(thread.name == "l4f job" for thread in threading.enumerate())


def test_what_cannot_be_recovered_is_told_without_the_path_of_the_server(page, photograph):
    form, broken = page.photos.inversion, photograph.with_name("broken.png")
    broken.write_bytes(b"nothing")
    told = status_of(form, recover(page, broken))
    assert "broken.png" in told and str(broken.parent) not in told
    assert "drop some" in status_of(form, recover(page, None))
    assert "nothing to save" in status_of(form, form.keep(Recovered()))
