"""The brush on drawn subjects: the panels Generate and Swap background. That of photographs: `test_photos_panel`."""

import numpy as np
import pytest
from pages import begin, drawing, generate, listeners, merged, paint, run, status_of, swapping, taken
from PIL import Image
from pixels import pixels

from l4f_plugin.images import parse_infotext, read_infotext
from l4f_ui import compat
from l4f_ui.history import History

pytestmark = pytest.mark.skipif(not compat.HAS_EDITOR, reason="this Gradio has no editor")


def mended(page, **how):
    """Seeds 3 to 6 drawn, the second of them painted on: green at the top, red at the bottom."""
    panel, stage = page.generate, page.generate.stage
    drawn = generate(page, **how)
    given = {stage.results: drawn[stage.results], panel.drawn: drawn[panel.drawn], stage.picked: 1, stage.view: "mask"}
    given = taken(panel, {**drawing(panel, "3-6"), **given})
    return drawn[stage.results], given, paint(panel, given, green=np.s_[:200], red=np.s_[600:])


def test_a_drawn_picture_is_mended_saved_shown_and_remembered(page):
    panel, stage = page.generate, page.generate.stage
    before, given, seen = mended(page)
    after = seen[stage.results]
    assert [one.seed for one in after] == [3, 4, 5, 6] and after[0] == before[0] and after == seen[panel.drawn]
    files = after[1].files
    assert all(file.is_file() for file in before[1].files.values()), "the first one stays"
    mask, cutout = pixels(files["mask"]), pixels(files["cutout"])
    quarter = len(mask) // 4
    assert (mask[: quarter - 1] == 255).all() and (mask[1 - quarter :] == 0).all()
    assert np.array_equal(mask[quarter + 1 : -quarter - 1], pixels(before[1].files["mask"])[quarter + 1 : -quarter - 1])
    assert np.array_equal(cutout[..., 3], mask)
    assert np.array_equal(pixels(files["picture"]), pixels(before[1].files["picture"]))
    told = parse_infotext(read_infotext(files["mask"]))
    assert (told["Seed"], told["Brushed"]) == ("4", "True")
    assert seen[stage.picked] == 1 and "mended" in status_of(panel, seen)
    assert seen[stage.gallery]["value"][1][0] == str(files["mask"])
    assert [part for part in stage.downloads.values() if seen[part]["value"] == str(files["mask"])]
    assert stage.files_to_send(after, 1, "cutout")["cutout"] == files["cutout"]
    assert seen[panel.brush.editor]["visible"] is False, "it would go on drawing itself"
    again = taken(panel, {**given, stage.results: after, panel.drawn: after})
    seen = paint(panel, again, green=np.s_[700:])
    assert seen[stage.results][1].files == files and (pixels(files["mask"])[1 - len(mask) // 8 :] == 255).all()
    assert (pixels(files["mask"])[: quarter - 1] == 255).all()
    found = History(page.service).recent()
    assert {one.seed for one in found} == {3, 4, 5, 6} and len(found) == 5
    [read_back] = [one.subject() for one in found if one.files["picture"] == files["picture"]]
    assert "painted" in panel.fill(str(files["picture"]))[panel.job.status]
    assert "painted" not in panel.fill(str(before[1].files["picture"]))[panel.job.status]
    assert read_back.brushed and np.array_equal(read_back.mask(), pixels(files["mask"]))


def test_an_enlarged_picture_is_mended_at_its_size(page):
    panel, stage = page.generate, page.generate.stage
    drawn = run(panel, panel.generate, {**drawing(panel, "3"), panel.times: "2"})[stage.results]
    given = taken(panel, {**drawing(panel, "3"), stage.results: drawn, stage.picked: 0, panel.drawn: drawn})
    [after] = paint(panel, given, red=np.s_[:])[stage.results]
    assert pixels(after.files["mask"]).shape == pixels(drawn[0].files["mask"]).shape
    assert after.files["mask"].name == drawn[0].files["mask"].name.replace("2x", "2x_brushed")
    assert parse_infotext(read_infotext(after.files["picture"]))["Enlarged"] == "2"


def test_a_mended_mask_comes_along_before_other_backgrounds_until_it_is_drawn_anew(page, tmp_path):
    panel, stage = page.swap, page.swap.stage
    after = mended(page)[2][page.generate.stage.results]
    [answering] = listeners(page.tabs.parent.parent, page.generate.to_swap, "click")
    brought = answering.fn(after, 1)
    assert brought[panel.seed] == "4"
    controls = {**swapping(panel, "colour", colour="#00ff00", seed="4"), panel.drawn: brought[panel.drawn]}
    seen = run(panel, panel.swap, controls)
    mask, composite = (pixels(seen[stage.results][0].files[kind]) for kind in ("mask", "result"))
    assert (mask == pixels(after[1].files["mask"])).all() and tuple(composite[-1, 0]) == (0, 255, 0)
    Image.new("RGB", (90, 60), "#3366cc").save(tmp_path / "room.png")
    behind = swapping(panel, "picture", picture=str(tmp_path / "room.png"), seed="4")
    behind |= {panel.drawn: seen[panel.drawn], panel.wanted: True}
    placed = merged(begin(panel, panel.follow, behind))
    assert placed[panel.drawn].brushed and pixels(placed[stage.results][0].files["result"]).shape == (60, 90, 3)
    given = taken(panel, {**behind, stage.results: placed[stage.results], panel.drawn: placed[panel.drawn]})
    assert given[panel.brush.editor]["background"].shape == (800, 800, 3), "the subject itself, however it is placed"
    empty = paint(panel, given, red=np.s_[:])
    assert "mask is empty" in status_of(panel, empty)
    whole = paint(panel, given, green=np.s_[:])
    assert pixels(whole[stage.results][0].files["mask"]).max(axis=0).all() == 0
    fresh = run(panel, panel.draw, controls)
    assert not fresh[panel.drawn].brushed and (pixels(fresh[stage.results][0].files["mask"]) != mask).any()
    other = run(panel, panel.swap, {**controls, panel.seed: "5"})
    assert not other[panel.drawn].brushed, "what was painted is of another subject"
    assert "Nothing is painted" in status_of(panel, paint(panel, given))
