"""The panel Photographs: photographs dropped, judged, shown, packed and saved; and the form that recovers a subject."""

import os
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from alike import assert_alike
from bundles import red_finder, saved
from pages import begin, paint, run, status_of, swapping, taken
from PIL import Image
from pixels import pixels
from sentences import refusal

from l4f_plugin import photos
from l4f_plugin.bundles.likeness import Likeness
from l4f_plugin.provenance import WPlus
from l4f_plugin.subject import Subject
from l4f_ui import compat
from l4f_ui.operations import Operations


@pytest.fixture
def photographed(page, tmp_path, monkeypatch):
    """The page with one class more, which has a student; and two photographs."""
    saved(tmp_path / "models/red", title="Red things", student=red_finder())
    saved(tmp_path / "models/tiny")
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tmp_path / "models"))
    (tmp_path / "uploads").mkdir()
    picture = Image.new("RGB", (80, 60), (20, 80, 200))
    picture.paste((230, 30, 40), (20, 15, 60, 45))
    page.photographs = [tmp_path / "uploads" / name for name in ("holiday.png", "garden.jpg")]
    for path in page.photographs:
        picture.save(path)
    return page


def segment(page, files, *, kind="colour", class_name="red", earlier=(), more=()) -> dict:
    panel = page.photos
    behind = {panel.background.kind: kind, panel.background.colour: "#00ff00"}
    changed = {panel.choice.dropdown: class_name, panel.files: files, panel.stage.results: earlier}
    return run(panel, panel.segment, {**behind, **changed, **dict(more)})


def test_photographs_are_segmented_shown_packed_and_saved(photographed):
    page, panel, stage = photographed, photographed.photos, photographed.photos.stage
    seen = segment(page, [str(page.photographs[0]), SimpleNamespace(name=str(page.photographs[1]))])
    shown = seen[stage.results]
    assert [result.name for result in shown] == ["holiday", "garden"] and "2 of 2" in status_of(panel, seen)
    small = seen[stage.grid]
    assert small["visible"] and [caption for _, caption in small["value"]] == ["holiday", "garden"]
    assert "1 of 2" in seen[stage.about] and seen[stage.steps]["visible"]
    composite = pixels(shown[0].files["composite"])
    assert composite.shape == (60, 80, 3)
    assert tuple(composite[2, 2]) == (0, 255, 0) and composite[30, 40, 0] > 200
    assert len(zipfile.ZipFile(stage.pack(shown)).namelist()) == 6
    after = stage.step(1, "mask", shown, None)
    assert after[stage.picked] == 1 and "garden" in after[stage.about]
    assert stage.step(1, "mask", shown, 1)[stage.picked] == 0 and stage.step(-1, "mask", shown, None)[stage.picked] == 1
    assert stage.step(1, "mask", [], None) == {}
    clicked = stage.pick("mask", shown, None, SimpleNamespace(index=1))
    assert clicked[stage.picked] == 1 and clicked[stage.about] == after[stage.about]
    views = stage.look("mask", shown, 1)
    assert views[stage.image]["visible"] and Image.open(views[stage.image]["value"]).mode == "L"
    assert "garden" in views[stage.image]["value"] and stage.look("mask", shown, 2) == {}
    told = status_of(panel, stage.keep(shown))
    assert "Saved 6 files" in told and len(list(page.outputs.today().glob("*.png"))) == 6
    behind = {panel.background.picture: str(page.photographs[0])}
    before = segment(page, [str(page.photographs[1])], kind="picture", more=behind)[stage.results][0]
    assert tuple(pixels(before.files["composite"])[2, 2]) == (20, 80, 200)
    assert "drop one" in status_of(panel, segment(page, [str(page.photographs[1])], kind="picture"))
    again = segment(page, [str(page.photographs[0])], kind="transparent", earlier=shown)
    assert "composite" not in again[stage.results][0].files
    assert again[stage.results][0].files["mask"] == shown[0].files["mask"], "the folder of the last time"
    assert not again[stage.grid]["visible"] and not again[stage.steps]["visible"]


def test_photographs_are_centred_on_a_canvas(photographed):
    page, panel = photographed, photographed.photos
    given = {panel.choice.dropdown: "red", panel.files: [str(page.photographs[0])], panel.background.kind: "colour"}
    seen = run(panel, panel.segment, {**given, panel.canvas.size: "120 x 200", panel.canvas.margin: 10})
    mask = pixels(seen[panel.stage.results][0].files["mask"])
    shown = panel.stage.look("compare", seen[panel.stage.results])
    values = [shown[part].get("value") for part in panel.stage.comparison.outputs]
    assert "-before.png" in str(values), "the photograph is shown in the proportions of the canvas"
    assert mask.shape == (200, 120) and np.ptp(np.flatnonzero((mask > 127).any(axis=0))) == pytest.approx(95, abs=3)
    told = status_of(panel, run(panel, panel.segment, {**given, panel.canvas.size: "huge"}))
    assert "not the size of a canvas" in told


def test_pieces_that_were_left_out_are_told(photographed):
    page, panel = photographed, photographed.photos
    picture = pixels(page.photographs[0]).copy()
    picture[2:10, 2:12] = [230, 30, 40]
    Image.fromarray(picture).save(page.photographs[0])
    assert "1 smaller piece" in status_of(panel, segment(page, [str(page.photographs[0])]))
    given = {panel.choice.dropdown: "red", panel.files: [str(page.photographs[0])], panel.edge.keep_largest: False}
    assert "smaller piece" not in status_of(panel, run(panel, panel.segment, given))


def test_what_cannot_be_segmented_is_told_without_the_path_of_the_server(photographed, tmp_path):
    page, panel = photographed, photographed.photos
    broken = tmp_path / "uploads" / "broken.png"
    broken.write_bytes(b"nothing")
    told = status_of(panel, segment(page, [str(broken), str(page.photographs[0])]))
    assert "1 of 2" in told and "broken.png" in told and str(tmp_path) not in told
    assert "broken.png" in status_of(panel, segment(page, [str(broken)]))
    assert "drop some" in status_of(panel, segment(page, None))
    assert "no photo segmenter yet" in status_of(panel, segment(page, [str(broken)], class_name="tiny"))


def test_folders_and_archives_come_in_and_odd_names_lead_nowhere(photographed, tmp_path):
    page, panel = photographed, photographed.photos
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for name in ("a/holiday.png", "b/holiday.png", "../evil.png", "notes.txt"):
            archive.write(page.photographs[0], name)
    others = [tmp_path / "uploads" / name for name in ("DS_Store", "Thumbs.db", "notes.txt")]
    for path in others:
        path.write_bytes(b"x")
    folder = [SimpleNamespace(name=str(path)) for path in (*others, page.photographs[1])]
    added = panel.add_folder(folder, [str(tmp_path / "many.zip")])
    files = added[panel.files]
    assert "1 picture; passed over: .txt (1)" in status_of(panel, added)
    nothing = panel.add_folder(folder[:3], None)
    assert panel.files not in nothing and "no picture to use" in status_of(panel, nothing)
    assert files == [str(tmp_path / "many.zip"), str(page.photographs[1])]
    seen = segment(page, files)
    shown, told = seen[panel.stage.results], status_of(panel, seen)
    assert [result.name for result in shown] == ["holiday", "holiday-2", "garden"]
    assert "3 of 3" in told and "unsafe names (1)" in told and ".txt (1)" in told
    assert pixels(shown[1].files["picture"]).shape == (60, 80, 3)
    assert "/" not in status_of(panel, segment(page, [str(tmp_path / "gone.zip")]))


def test_an_example_is_tried_with_its_class_at_one_click(photographed, no_shipped_class):
    page, panel = photographed, photographed.photos
    assert not panel._examples("red")[1]["visible"], "neither class brings any"
    folder = Path(os.environ["LABELS4FREE_MODELS"]) / "red" / "examples"
    folder.mkdir()
    for number in range(8):
        Image.open(page.photographs[0]).convert("RGB").save(folder / f"{number}.jpg")
    (folder / "0.jpg").write_bytes(bytes(200_000))
    name, shown = panel._examples("tiny")
    assert name == "red" and [Path(file).name[0] for file, _ in shown["value"]] == list("123456"), "bounded"
    tried = panel.try_example("tiny", SimpleNamespace(index=1))
    assert tried[panel.choice.dropdown] == "red" and Path(tried[panel.files]["value"][0]).name == "2.jpg"
    assert not Path(tried[panel.files]["value"][0]).is_relative_to(folder), "served from a folder of results"
    assert "1 of 1" in status_of(panel, segment(page, tried[panel.files]["value"]))
    weights = Path(__file__).parent.parent / "weights"
    for file in weights.glob("*/examples/*.jpg"):
        assert max(Image.open(file).size) <= 400 and file.stat().st_size <= 25_000


@pytest.mark.skipif(not compat.HAS_EDITOR, reason="this Gradio has no editor")
def test_what_is_painted_changes_mask_cutout_and_composite(photographed):
    page, panel, stage, form = photographed, photographed.photos, photographed.photos.stage, photographed.photos.brush
    assert form.editor.visible is False, "an editor that nobody has opened would take a core, as it draws itself anew"
    shown = segment(page, [str(path) for path in page.photographs])[stage.results]
    kind = {panel.background.kind: "colour", panel.background.colour: "#00ff00"}
    given = {panel.choice.dropdown: "red", stage.results: shown, stage.picked: 1, stage.view: "mask", **kind}
    given = taken(panel, given)
    picture = given[form.editor]["background"]
    assert picture.shape == (600, 800, 3) and picture[20, 20].max() < 80, "what is out is dark"
    mended = paint(panel, given, green=np.s_[:100], red=np.s_[200:, 200:400])
    after = mended[stage.results]
    assert after[0] is shown[0] and "garden is mended" in status_of(panel, mended)
    mask, cutout, composite = (pixels(after[1].files[kind]) for kind in ("mask", "cutout", "composite"))
    assert (mask[:9] == 255).all() and (mask[30, 22:38] == 0).all() and (mask[30, 44:56] > 200).all()
    assert np.array_equal(cutout[..., 3], mask) and tuple(composite[30, 30]) == (0, 255, 0)
    assert len(zipfile.ZipFile(stage.pack(after)).namelist()) == 6
    given = taken(panel, {**given, stage.results: after})
    again = paint(panel, given, green=np.s_[500:])
    mask = pixels(again[stage.results][1].files["mask"])
    assert (mask[:9] == 255).all() and (mask[-9:] == 255).all() and (mask[30, 22:38] == 0).all(), "on top of the first"
    alone = paint(panel, {**given, panel.background.kind: "transparent"}, green=np.s_[500:])[stage.results]
    assert set(alone[1].files) == {"picture", "mask", "cutout", "result", "mended"}, "no composite of before"
    assert "Nothing is painted" in status_of(panel, paint(panel, given))
    longer = segment(page, [*map(str, page.photographs), str(page.photographs[0])], earlier=after)[stage.results]
    assert np.array_equal(pixels(longer[1].files["mask"]), pixels(after[1].files["mask"])), "mended as before"
    assert tuple(pixels(longer[1].files["composite"])[30, 30]) == (0, 255, 0) and "mended" not in longer[0].files
    other = {**given, stage.picked: 0, **{form.taken: "Labels4Free another"}}
    assert "another picture" in status_of(panel, paint(panel, other, green=np.s_[:9]))


@pytest.mark.skipif(not compat.HAS_EDITOR, reason="this Gradio has no editor")
def test_what_style_codes_draw_is_mended_too(photographed):
    page, panel, stage = photographed, photographed.photos, photographed.photos.stage
    codes = page.outputs.preview_folder() / "codes.safetensors"
    page.service.codes("tiny", [3], page.service.new_token())[0].save(codes)
    drawn = run(panel, panel.segment, {panel.choice.dropdown: "tiny", panel.codes: str(codes)})
    given = {panel.choice.dropdown: "tiny", stage.results: drawn[stage.results], stage.view: "mask"}
    mended = paint(panel, taken(panel, given), green=np.s_[:])
    files = mended[stage.results][0].files
    assert (pixels(files["mask"]) == 255).all() and (pixels(files["cutout"])[..., 3] == 255).all()
    assert files["w_plus"] == drawn[stage.results][0].files["w_plus"]


def test_a_stranger_is_told_and_the_class_that_fits_is_offered(photographed, monkeypatch):
    """Two classes with a student: what one of them finds strange, the other knows well."""
    page, panel, stage = photographed, photographed.photos, photographed.photos.stage
    judged = {"red": 0.01, "blue": 0.9}
    for name in judged:
        described = {"title": f"{name.title()} things", "likeness": Likeness(0, 1, 0, 1)}
        saved(Path(os.environ["LABELS4FREE_MODELS"]) / name, student=red_finder(), **described)
    monkeypatch.setattr(photos, "_confidence", lambda _, config, *rest: judged.get(config.title.split()[0].lower(), 0))
    seen = segment(page, [str(path) for path in page.photographs])
    captions = [f"{name}: does not look like Red things" for name in ("holiday", "garden")]
    assert [caption for _, caption in seen[stage.grid]["value"]] == captions
    assert "does not look like Red things" in seen[stage.about] and "Blue things fits better" in seen[stage.about]
    assert seen[stage.use_better]["visible"]
    assert panel.use_better(seen[stage.results], None) == {panel.choice.dropdown: "blue"}
    seen = segment(page, [str(page.photographs[0])], class_name="blue")
    assert seen[stage.about] == "" and not seen[stage.use_better]["visible"]
    content, token = Path(page.photographs[0]).read_bytes(), page.service.new_token()
    told = Operations(page.service).segment("red", content, None, token).details
    assert told["better"] == "blue" and "Blue things fits better" in told["note"]
    assert Operations(page.service).segment("blue", content, None, token).details["better"] is None
    judged["blue"] = 0.02
    assert not segment(page, [str(page.photographs[0])])[stage.use_better]["visible"], "none of them fits"


def test_programs_may_send_a_photograph(photographed):
    engine, content = photographed.service, Path(photographed.photographs[0]).read_bytes()
    result = Operations(engine).segment("red", content, None, engine.new_token())
    assert result.details["seed"] is None and 0.2 < result.details["mask_area"] < 0.3
    assert result.images["cutout"]().mode == "RGBA" and "Photo: " in result.infotext
    photo = engine.segment("red", Image.open(photographed.photographs[1]), engine.new_token())
    assert isinstance(photo, Subject) and photo.photo and photo.alpha.shape == (60, 80)
    assert "no photo segmenter yet" in refusal(engine.segment, "tiny", content, engine.new_token())


# The form that recovers a subject


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
