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


def segment(page, files, *, kind="colour", class_name="red", earlier=()) -> dict:
    panel = page.photos
    behind = {panel.background.kind: kind, panel.background.colour: "#00ff00"}
    changed = {panel.choice.dropdown: class_name, panel.files: files, panel.stage.results: earlier}
    return run(panel, panel.segment, {**behind, **changed})


def test_photographs_are_segmented_shown_packed_and_saved(photographed):
    page, panel, stage = photographed, photographed.photos, photographed.photos.stage
    seen = segment(page, [str(page.photographs[0]), SimpleNamespace(name=str(page.photographs[1]))])
    shown = seen[stage.results]
    assert [result.name for result in shown] == ["holiday", "garden"] and "2 of 2" in status_of(panel, seen)
    assert seen[stage.picked]["visible"] and seen[stage.picked]["choices"][0] in ("holiday", ("holiday", "holiday"))
    composite = np.asarray(Image.open(shown[0].files["composite"]))
    assert composite.shape == (60, 80, 3)
    assert tuple(composite[2, 2]) == (0, 255, 0) and composite[30, 40, 0] > 200
    assert len(zipfile.ZipFile(shown[0].files["zip"]).namelist()) == 6
    views = stage.look("mask", shown, "garden")
    assert views[stage.image]["visible"] and Image.open(views[stage.image]["value"]).mode == "L"
    assert "garden" in views[stage.image]["value"] and stage.look("mask", shown, "gone") == {}
    told = status_of(panel, stage.keep(shown))
    assert "Saved 6 files" in told and len(list(page.outputs.today().glob("*.png"))) == 6
    again = segment(page, [str(page.photographs[0])], kind="transparent", earlier=shown)
    assert "composite" not in again[stage.results][0].files
    assert again[stage.results][0].files["mask"] == shown[0].files["mask"], "the folder of the last time"
    assert not again[stage.picked]["visible"]


def test_photographs_are_centred_on_a_canvas(photographed):
    page, panel = photographed, photographed.photos
    given = {panel.choice.dropdown: "red", panel.files: [str(page.photographs[0])], panel.background.kind: "colour"}
    seen = run(panel, panel.segment, {**given, panel.canvas.size: "120 x 200", panel.canvas.margin: 10})
    mask = np.asarray(Image.open(seen[panel.stage.results][0].files["mask"]))
    shown = panel.stage.look("compare", seen[panel.stage.results])
    values = [str(value) for part in panel.stage.comparison.outputs for value in ([shown[part].get("value")])]
    assert "-before.png" in str(values), "the photograph is shown in the proportions of the canvas"
    assert mask.shape == (200, 120) and np.ptp(np.flatnonzero((mask > 127).any(axis=0))) == pytest.approx(95, abs=3)
    told = status_of(panel, run(panel, panel.segment, {**given, panel.canvas.size: "huge"}))
    assert "not the size of a canvas" in told


def test_pieces_that_were_left_out_are_told(photographed):
    page, panel = photographed, photographed.photos
    picture = np.asarray(Image.open(page.photographs[0])).copy()
    picture[2:10, 2:12] = [230, 30, 40]
    Image.fromarray(picture).save(page.photographs[0])
    assert "1 smaller piece" in status_of(panel, segment(page, [str(page.photographs[0])]))
    given = {panel.choice.dropdown: "red", panel.files: [str(page.photographs[0])], panel.edge.keep_largest: False}
    assert "smaller piece" not in status_of(panel, run(panel, panel.segment, given))
    wanted = {page.segment.choice.dropdown: "red", page.segment.source: "picture"}
    wanted[page.segment.picture] = str(page.photographs[0])
    assert "1 smaller piece" in status_of(page.segment, run(page.segment, page.segment.segment, wanted))


def test_what_cannot_be_segmented_is_told_without_the_path_of_the_server(photographed, tmp_path):
    page, panel = photographed, photographed.photos
    broken = tmp_path / "uploads" / "broken.png"
    broken.write_bytes(b"nothing")
    told = status_of(panel, segment(page, [str(broken), str(page.photographs[0])]))
    assert "1 of 2" in told and "broken.png" in told and str(tmp_path) not in told
    assert "broken.png" in status_of(panel, segment(page, [str(broken)]))
    assert "drop some" in status_of(panel, segment(page, None))
    assert "no photo segmenter yet" in status_of(panel, segment(page, [str(broken)], class_name="tiny"))


def test_segment_takes_a_photograph_for_its_picture(photographed):
    panel = photographed.segment
    photograph = str(photographed.photographs[0])
    wanted = {panel.choice.dropdown: "red", panel.source: "picture", panel.picture: photograph}
    seen = run(panel, panel.segment, wanted)
    files = seen[panel.stage.results][0].files
    assert set(files) == {"picture", "mask", "cutout"} and "photograph" in status_of(panel, seen)
    assert Image.open(files["mask"]).size == (80, 60)


def test_programs_may_send_a_photograph(photographed):
    engine, content = photographed.service, Path(photographed.photographs[0]).read_bytes()
    result = Operations(engine).segment("red", None, None, engine.new_token(), picture=content)
    assert result.details["seed"] is None and 0.2 < result.details["mask_area"] < 0.3
    assert result.images["cutout"]().mode == "RGBA" and "Photo: " in result.infotext
    photo = engine.segment("red", Image.open(photographed.photographs[1]), engine.new_token())
    assert isinstance(photo, Subject) and photo.photo and photo.alpha.shape == (60, 80)
    with pytest.raises(UserError, match="no photo segmenter yet"):
        engine.segment("tiny", content, engine.new_token())
