"""Learning masks and photographs in the panel *Models*, without a browser. See `test_models_panel`."""

import re
import threading
from dataclasses import replace

import pytest
import torch
from bundles import OF_MASKS, saved
from models_page import maskless, row
from pages import wait_until
from pixels import noise_in
from test_models_panel import TINY, bundles, hub, measuring, page  # noqa: F401, fixtures

from l4f_plugin import jobs
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.training import chain, learning, picture_survey
from l4f_ui.class_jobs import MASKS


def test_learning_masks_completes_a_fetched_class(hub, page, tmp_path, measuring):  # noqa: F811
    page.pick("things")
    seen = page.press("download", True)
    assert seen[page.panel.learn]["value"] == "Learn masks"
    words = [said for said, _ in seen[page.panel.quality]["choices"]]
    for said, quality in zip(words, ("Quick", "Thorough"), strict=True):  # measured by itself
        assert re.fullmatch(rf"{quality} \((less than a|about \d+) minutes? here\)", said)
    assert page.shown(seen, "learn") and seen[page.panel.about_learning]["visible"]
    before = load_bundle(tmp_path / "models/things").generator.synthesis.constant
    list(page.service.generate("things", [1], 0.7, page.service.new_token()))
    seen = page.press("learning")
    assert page.told(seen) == "Things has masks now: cut-outs and new backgrounds work."
    assert any(said.startswith("Learning masks for Things") for said in page.running())
    assert "alpha.safetensors" in read_config(tmp_path / "models/things").files
    assert torch.equal(before, load_bundle(tmp_path / "models/things").generator.synthesis.constant)
    assert seen[page.panel.worst]["visible"] and seen[page.panel.worst]["value"].ndim == 3
    assert row(page, "things")["Masks"] == "yes" and seen[page.panel.learn]["value"] == "Learn photographs"
    [sample] = list(page.service.generate("things", [1], 0.7, page.service.new_token()))[-1]
    assert sample.alpha is not None, "what was in memory before is not used any more"
    asked = page.panel.ask(page.visit)
    assert "Its masks, which did not come with the download, are lost then" in asked[page.panel.question]


def test_learning_leaves_the_device_to_others_between_steps(page, tmp_path, monkeypatch):  # noqa: F811
    """A picture is drawn while masks are learned: it waits for a step, not for the end."""
    maskless(tmp_path)
    saved(tmp_path / "models/other", title="Other")
    monkeypatch.setattr(learning, "mask_settings", lambda *_: replace(TINY, steps=100_000))
    task = page.class_jobs.learn("plain", MASKS)
    wait_until(lambda: task.progress.done)
    samples = list(page.service.generate("other", [1], 0.7, page.service.new_token()))[-1]
    assert samples[0].alpha is not None and not task.ended
    before = task.progress.done
    wait_until(lambda: task.progress.done > before)  # learning goes on afterwards
    page.class_jobs.jobs.cancel("plain")
    assert task.wait(60) and task.stopped and len(jobs.QUEUE) == 0


def test_cancelled_learning_goes_on(page, tmp_path, monkeypatch):  # noqa: F811
    folder = maskless(tmp_path)
    page.pick("plain")
    page.wait()
    enough, goes_on, original = threading.Event(), threading.Event(), chain.train_alpha

    def slowly(*arguments, progress, **options):
        def notify(done, total, message):
            progress(done, total, message)
            if done >= 6:
                enough.set()
                wait_until(lambda: options["cancel"].cancelled or goes_on.is_set())

        return original(*arguments, progress=notify, **options)

    monkeypatch.setattr(chain, "train_alpha", slowly)
    page.panel.answered(page.panel.start_learning)(page.visit)
    assert enough.wait(60)
    page.panel.stop(page.visit)
    seen = page.wait()
    assert "What is learned is kept" in page.told(seen)
    assert seen[page.panel.learn]["value"] == "Go on learning masks"
    assert "alpha.safetensors" not in read_config(folder).files
    goes_on.set()
    page.press("learning")
    assert "alpha.safetensors" in read_config(folder).files
    assert any(line.startswith("Going on with learning masks for Plain") for line in page.running())
    assert not list((tmp_path / "cache/labels4free/masks").glob("plain.*/*"))


def test_time_is_measured_once_and_not_for_what_has_masks(page, tmp_path, measuring):  # noqa: F811
    maskless(tmp_path)
    saved(tmp_path / "models/other")
    assert "measuring" in str(page.pick("plain")[page.panel.quality]["choices"])
    seen = page.wait()
    assert " here)" in str(seen[page.panel.quality]["choices"][0])
    measured = page.class_jobs.seconds("plain")
    page.pick("other")
    page.pick("plain")
    page.wait()
    assert page.class_jobs.seconds("plain") == measured and 0 < measured["quick"] < measured["full"]
    assert page.class_jobs.seconds("other") == {}


def test_masks_are_learned_as_thoroughly_as_chosen(page, tmp_path, monkeypatch):  # noqa: F811
    maskless(tmp_path)
    page.pick("plain")
    page.wait()
    asked = []
    monkeypatch.setattr(learning, "learn_masks", lambda name, quality, **_: asked.append(quality) or tmp_path)
    page.press("learning", "full")
    assert asked == ["full"]


def test_a_fetched_repository_that_learns_is_found_under_its_new_name(hub, page, tmp_path):  # noqa: F811
    hub.put_folder("someone/plain", saved(tmp_path / "source", without=OF_MASKS, title="Plain"))
    form = page.panel.repository
    page.form(form, form.fetch, name="someone/plain")
    seen = page.press("learning")
    assert page.visit.picked == "someone--plain" == seen[page.panel.choice]["value"]
    assert row(page, "someone--plain")["Masks"] == "yes"


def test_a_class_with_masks_learns_photographs_next(page, tmp_path, quick_photographs):  # noqa: F811
    folder = saved(tmp_path / "models/plain", title="Plain")
    seen = page.pick("plain")
    assert seen[page.panel.learn]["value"] == "Learn photographs" and page.shown(seen, "learn")
    assert "cannot find its object in photographs yet" in seen[page.panel.about_learning]["value"]
    assert "not yet: can be learned here" in seen[page.panel.card]
    seen = page.press("learning")
    assert page.told(seen) == "Plain finds its object in photographs now: see Photographs."
    assert not page.shown(seen, "learn") and not seen[page.panel.about_learning]["visible"]
    assert read_config(folder).student is not None
    assert "nothing left to learn" in page.told(page.press("learning"))


@pytest.fixture
def photographs(tmp_path, monkeypatch, quick_photographs):
    """Three pictures, which are enough here."""
    monkeypatch.setattr(picture_survey, "TEACHING", 3)
    return noise_in(tmp_path / "mine", 3, 30, 40, 3)


def test_a_class_learns_a_persons_own_photographs(page, tmp_path, photographs):  # noqa: F811
    folder = saved(tmp_path / "models/plain", title="Plain")
    about = page.panel.photographs.about
    assert "has no photo segmenter here" in page.pick("plain")[about]
    seen = page.press("learning_own", str(photographs), None)
    assert "has no photo segmenter here" in page.told(seen)
    seen = page.press("learning")
    assert "photographs like yours" in seen[about]
    first = read_config(folder).files["student.safetensors"]
    assert "Name a folder, or upload pictures" in page.told(page.press("learning_own", " ", None))
    (photographs / "2.png").rename(tmp_path / "kept.png")
    assert "There are 2 different photographs" in page.told(page.press("learning_own", str(photographs), None))
    assert read_config(folder).files["student.safetensors"] == first
    (tmp_path / "kept.png").rename(photographs / "2.png")
    seen = page.press("learning_own", str(photographs), None)
    assert page.told(seen) == "Plain has learned from 3 photographs of yours: see Photographs."
    assert any(said.startswith("Learning your photographs for Plain") for said in page.running())
    second = read_config(folder).files["student.safetensors"]
    assert second != first
    uploaded = [str(path) for path in sorted(photographs.iterdir())]
    seen = page.press("learning_own", "", uploaded)
    assert page.told(seen) == "Plain has learned from 3 photographs of yours: see Photographs."
