"""The panel Photographs and the picture source of Segment: photographs dropped, shown, packed and saved."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import red_finder, tiny_bundle
from pages import run, status_of
from PIL import Image

from l4f_plugin.bundles.bundle import save_bundle
from l4f_plugin.errors import UserError
from l4f_plugin.subject import Subject
from l4f_ui.operations import Operations


@pytest.fixture
def photographed(page, tmp_path, monkeypatch):
    """The page with one class more, which has a student; and two photographs."""
    save_bundle(dataclasses.replace(tiny_bundle(title="Red things"), student=red_finder()), tmp_path / "models" / "red")
    save_bundle(tiny_bundle(), tmp_path / "models" / "tiny")
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tmp_path / "models"))
    (tmp_path / "uploads").mkdir()
    picture = np.zeros((60, 80, 3), np.uint8) + [20, 80, 200]
    picture[15:45, 20:60] = [230, 30, 40]
    page.photographs = [tmp_path / "uploads" / name for name in ("holiday.png", "garden.jpg")]
    for path in page.photographs:
        Image.fromarray(picture.astype(np.uint8)).save(path)
    return page


def segment(page, files, *, kind="colour", view="compare", class_name="red", earlier=None) -> dict:
    panel = page.photos
    background = (kind, "1", None, "#00ff00", 8)
    earlier = earlier or type(panel.shown.value)()
    return run(panel, panel.segment, class_name, files, *background, "soft", 0.5, 0, 0, False, view, earlier)


def test_photographs_are_segmented_shown_packed_and_saved(photographed):
    page, panel = photographed, photographed.photos
    seen = segment(page, [str(page.photographs[0]), SimpleNamespace(name=str(page.photographs[1]))])
    shown = seen[panel.shown]
    assert list(shown.results) == ["holiday", "garden"] and "2 of 2" in status_of(panel, seen)
    assert seen[panel.pick]["visible"] and seen[panel.pick]["choices"][0] in ("holiday", ("holiday", "holiday"))
    composite = np.asarray(Image.open(shown.results["holiday"].files["composite"]))
    assert composite.shape == (60, 80, 3)
    assert tuple(composite[2, 2]) == (0, 255, 0) and composite[30, 40, 0] > 200
    assert len(zipfile.ZipFile(shown.archive).namelist()) == 6
    views = panel.show("mask", "garden", shown)
    assert views[panel.image]["visible"] and Image.open(views[panel.image]["value"]).mode == "L"
    told = status_of(panel, panel.keep(shown))
    assert "Saved 6 files" in told and len(list(page.outputs.today().glob("*.png"))) == 6
    again = segment(page, [str(page.photographs[0])], kind="transparent", earlier=shown)
    assert set(again[panel.shown].results["holiday"].files) == {"mask", "cutout"}
    assert not again[panel.pick]["visible"] and "value" not in panel.show("mask", "gone", shown)[panel.image]


def test_what_cannot_be_segmented_is_told_without_the_path_of_the_server(photographed, tmp_path):
    page, panel = photographed, photographed.photos
    broken = tmp_path / "uploads" / "broken.png"
    broken.write_bytes(b"nothing")
    told = status_of(panel, segment(page, [str(broken), str(page.photographs[0])]))
    assert "1 of 2" in told and "broken.png" in told and str(tmp_path) not in told
    assert "broken.png" in status_of(panel, segment(page, [str(broken)]))
    assert "drop some" in status_of(panel, segment(page, None))
    assert "no photo segmenter yet" in status_of(panel, segment(page, [str(broken)], class_name="tiny"))
    assert "nothing to save" in status_of(panel, panel.keep(type(panel.shown.value)()))


def test_segment_takes_a_photograph_for_its_picture(photographed):
    page, panel = photographed, photographed.segment
    photograph = str(page.photographs[0])
    seen = run(panel, panel.segment, "red", "picture", "12", 0.7, photograph, None, "mask")
    assert set(seen[panel.shown].files) == {"picture", "mask", "cutout"}
    assert "photograph" in status_of(panel, seen)
    assert Image.open(seen[panel.shown].files["mask"]).size == (80, 60)


def test_programs_may_send_a_photograph(photographed):
    engine, content = photographed.service, Path(photographed.photographs[0]).read_bytes()
    result = Operations(engine).segment("red", None, None, engine.new_token(), picture=content)
    assert result.details["seed"] is None and 0.2 < result.details["mask_area"] < 0.3
    assert result.images["cutout"]().mode == "RGBA" and "Photo: " in result.infotext
    photo = engine.segment("red", Image.open(photographed.photographs[1]), engine.new_token())
    assert isinstance(photo, Subject) and photo.photo and photo.alpha.shape == (60, 80)
    with pytest.raises(UserError, match="no photo segmenter yet"):
        engine.segment("tiny", content, engine.new_token())
