"""The panel Export without a browser: handlers called as Gradio calls them."""

import re
import threading
import zipfile
from types import SimpleNamespace

import gradio as gr
import pytest
from pages import asked, closed, in_thread, owned, plain
from pixels import pixels
from sentences import refusal

from l4f_plugin import jobs
from l4f_plugin.datasets.curation import Curation
from l4f_plugin.picture_files import STATE_FOLDER
from l4f_ui import compat
from l4f_ui.export_panel import ExportPanel
from l4f_ui.tasks import Watching


def wanted(panel, name: str = "tiny", bounds: tuple = (), **changed) -> dict:
    """What is changed in the panel, a small set where nothing else is said."""
    changed = {"count": 12, "psi": 0.6, "split": "0.5,0.5,0", "curate": False, **changed}
    controls = {getattr(panel, control): value for control, value in changed.items()}
    return {panel.choice.dropdown: name, **controls, **dict(zip(panel.bounds.values(), bounds, strict=False))}


@pytest.fixture
def site(tiny_bundle_folder, tmp_path, monkeypatch):
    """The panel of a page that only its owner reaches."""
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tiny_bundle_folder.parent))
    service = owned(tmp_path)
    with compat.blocks("page", ""):
        panel = ExportPanel(service)
    yield SimpleNamespace(panel=panel, service=service, visit=Watching(), sets=tmp_path / "out" / "sets")
    closed(service)


def press(site, button: str, changed: dict) -> dict:
    """What the page shows at once."""
    return site.panel.answered(getattr(site.panel, button))(given(site, changed))


def given(site, changed: dict) -> dict:
    return {**asked(site.panel, changed), site.panel.visit: site.visit}


def wait(site, seen: dict) -> dict:
    """All that the watcher shows until nothing runs any more, on top of `seen`."""
    updates = list(site.panel.watch(site.visit))
    assert updates, "Gradio empties the outputs of a generator that yields nothing"
    for update in updates:
        seen = {**seen, **{part: value for part, value in update.items() if value != gr.update()}}
    return seen


def told(site, seen: dict) -> str:
    return plain(seen[site.panel.activity])


def export(site, name: str = "tiny", **changed) -> dict:
    return wait(site, press(site, "start", wanted(site.panel, name, **changed)))


def settings(site, **changed):
    return site.panel.settings(asked(site.panel, wanted(site.panel, **changed)))


def test_a_set_is_made_and_its_card_is_shown(site):
    seen = export(site)
    [folder] = site.sets.iterdir()
    assert "12 pictures with masks are in" in told(site, seen) and folder.name in told(site, seen)
    assert folder.name.startswith("tiny-folder-12-") and len(list(folder.rglob("images/*.png"))) == 12
    card = seen[site.panel.card]["value"]
    assert card.startswith("### Tiny things: 12 generated pictures") and seen[site.panel.card]["visible"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    export(site)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == before
    export(site, size=16, format="coco")
    assert len(list(site.sets.iterdir())) == 2


def test_a_cancelled_set_goes_on_from_the_page_and_by_the_same_choices(site, monkeypatch):
    held, go = threading.Event(), threading.Event()
    drawing, drawn = site.service.drawing, 0

    def slow(*arguments):
        nonlocal drawn
        drawn += 1
        if drawn == 3:  # the plan, the first shard, and then
            held.set()
            go.wait(20)
        return drawing(*arguments)

    monkeypatch.setattr(site.service, "drawing", slow)
    started = press(site, "start", wanted(site.panel, count=150))
    assert held.wait(20) and started[site.panel.run]["interactive"] is False
    again = press(site, "start", wanted(site.panel, count=150))
    assert len(site.panel.exports.jobs.running(kind="export")) == 1 and again[site.panel.cancel]["interactive"] is True
    site.panel.stop()
    go.set()
    seen = wait(site, again)
    assert "The export of Tiny things was stopped" in told(site, seen)
    [folder] = site.sets.iterdir()
    assert not (folder / "SHA256SUMS").exists()
    assert seen[site.panel.unfinished]["choices"] == [folder.name] and seen[site.panel.resume]["visible"]
    seen = wait(site, press(site, "start_again", {site.panel.unfinished: folder.name}))
    assert (folder / "SHA256SUMS").is_file() and "150 pictures" in told(site, seen)
    assert seen[site.panel.resume]["visible"] is False


def test_an_estimate_stays_when_the_tab_is_opened_again(site):
    *_, seen = site.panel.estimate(given(site, wanted(site.panel)))
    assert re.fullmatch(r"(about|less than) .+ · [\d.]+ [kMG]B", told(site, seen)) and not site.sets.exists()
    assert told(site, site.panel.opened(site.visit)) == told(site, seen)
    assert "pictures with masks" in told(site, export(site)) and site.visit.note == ""


def test_an_estimate_that_waits_says_so(site, monkeypatch):
    taken, go = threading.Event(), threading.Event()

    def occupy():
        with jobs.QUEUE.turn():
            taken.set()
            go.wait(60)

    in_thread(occupy)
    assert taken.wait(60)
    said = []
    for update in site.panel.estimate(given(site, wanted(site.panel))):
        said.append(told(site, update))
        if "Waiting" in said[-1]:
            go.set()
    go.set()
    assert any("Waiting: one job comes first" in words for words in said)


def test_half_a_picture_reaches_the_handler_and_is_refused(site):
    assert site.panel.count.preprocess(1.5) == 1.5
    assert "whole number" in told(site, export(site, count=1.5))


def test_the_first_pictures_are_shown_while_a_set_is_drawn_and_the_whole_is_downloaded(site):
    seen = press(site, "start", wanted(site.panel))
    [job] = site.panel.exports.jobs.recent("export")
    updates, sheet = site.panel.watch(site.visit), site.panel.sheet
    pictures = [update[sheet]["value"] for update in updates if sheet in update]
    seen = site.panel.opened(site.visit)
    assert job.ended and pictures and pixels(seen[site.panel.sheet]["value"]).shape[2] == 3
    assert "sheet.png" not in seen[site.panel.card]["value"] and not seen[site.panel.empty]["visible"]
    [folder] = site.sets.iterdir()
    with zipfile.ZipFile(site.panel.exports.pack()) as packed:
        assert packed.testzip() is None and f"{folder.name}/SHA256SUMS" in packed.namelist()
        assert (folder / STATE_FOLDER).is_dir() and not [name for name in packed.namelist() if STATE_FOLDER in name]
    (folder / "SHA256SUMS").unlink()
    assert "no whole set" in refusal(site.panel.exports.pack)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"count": None}, "Number of pictures"),
        *(({"backgrounds": kinds}, "kind of background") for kinds in ([], ["pictures"])),
        ({"curate": True, "bounds": (0.9, 0.1, 0.2, 0.9)}, "largest area"),
    ],
)
def test_mistakes_are_refused_in_words(site, changed, sentence):
    assert sentence in refusal(settings, site, **changed)


def test_refusals_are_shown_and_leave_nothing(site):
    assert "from 16 to 32, not 64" in told(site, export(site, size=64))
    assert "no object class ../secret" in told(site, export(site, name="../secret"))
    assert not site.sets.exists() or not any(site.sets.iterdir())
    export(site)
    for name in ("", None, "..", "../..", "/etc", "tiny-folder-12-00000000", next(site.sets.iterdir()).name):
        assert "no such unfinished set" in told(site, press(site, "start_again", {site.panel.unfinished: name}))


def test_settings_are_what_was_asked_for(site):
    found = settings(site, count=1000.0, size=64.0, backgrounds=["colours", "seeds"], curate=True, bounds=(0, 1, 0.3))
    assert (found.count, found.size, found.backgrounds) == (1000, 64, ("seeds", "colours"))
    assert found.curation == Curation(max_uncertainty=0.3) and found.split == (0.5, 0.5, 0.0)


def test_pages_that_others_reach_make_no_sets(page):
    assert page.export.allowed is False and not hasattr(page.export, "run")
