"""The panel Models without a browser, against a Hub on the loopback: handlers called as Gradio calls them."""

import re
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from bundles import saved
from hub_server import TENSORFLOW, Fault, catalogue_entry, write_catalogue
from models_page import Page, maskless, offered, plain, row
from pages import merged, run, status_of
from sentences import refusal
from test_models_commands import DOGS, TINY

from l4f_plugin.bundles import catalogue
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.errors import UserError
from l4f_plugin.training import chain, learning, training_time
from l4f_plugin.training.refinement import RefinementSettings
from l4f_ui import tasks
from l4f_ui import words as in_words
from l4f_ui.models_forms import Visit

ROSINALITY = Path(__file__).parent / "data/goldens/l4f_256_generator.pt"
CLOSED = "someone/l4f-closed"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("bundles")
    closed = saved(folder / "closed", title="Closed", licence="CC-BY-NC-4.0")
    return SimpleNamespace(dogs=saved(folder / "dogs", title="Dogs"), closed=closed)


@pytest.fixture
def hub(loopback_hub, tmp_path, monkeypatch, bundles):
    """A TensorFlow pickle under a licence to accept, a rosinality file, and two bundles."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    faces, things = ROSINALITY.read_bytes(), TENSORFLOW.read_bytes()
    loopback_hub.put("someone/checkpoints", {"a/faces.pt": faces, "things.pkl": things})
    loopback_hub.put_folder(DOGS, bundles.dogs)
    loopback_hub.put_folder(CLOSED, bundles.closed)
    restricted = {"licence": "NC", "terms": "not for sale", "licence_url": "https://example.org/nc"}
    write_catalogue(
        tmp_path,
        things=catalogue_entry(things, "things.pkl", title="Things", **restricted),
        faces=catalogue_entry(faces, "a/faces.pt", title="Faces", resolution=256),
        dogs={"title": "Dogs", "resolution": 32, "licence": "CC0-1.0", "repository": DOGS},
    )
    return loopback_hub


@pytest.fixture
def page(hub, tmp_path, monkeypatch, request, notices):
    monkeypatch.setattr(tasks, "LOOK_AGAIN", 0.02)
    monkeypatch.setattr(learning, "mask_settings", lambda config, device: TINY)
    for made in Page.open(tmp_path, measures="measuring" in request.fixturenames):
        made.notices = notices
        yield made


@pytest.fixture
def measuring(quick_photographs, monkeypatch):
    """For tests in which the time that learning would take is measured."""
    monkeypatch.setattr(chain, "refinement_settings", lambda *_: replace(RefinementSettings(), steps=20, batch_size=2))


def test_the_table_tells_of_every_class(page, tmp_path):
    maskless(tmp_path)
    assert row(page, "things") == {
        "Class": "Thingsthings 32 × 32 px",
        "State": "On offer",
        "Masks": "not yet",
        "Size": "3 MB to download",
        "Memory": row(page, "things")["Memory"],
        "Verified": "–",
        "Licence": "NC",
        "Source": "someone/checkpoints",
    }
    assert row(page, "plain")["State"] == "Installed" and row(page, "plain")["Verified"] == "not yet"
    assert "here" in row(page, "plain")["Size"] and row(page, "plain")["Source"] == "yours"
    assert row(page, "dogs")["Masks"] == "yes"
    choices = offered(page.panel.show(page.visit)[page.panel.choice])
    assert {"things", "faces", "dogs", "plain"} <= choices.keys()


def test_markup_in_a_title_is_shown_not_obeyed(page, tmp_path):
    saved(tmp_path / "models/odd", title="<img src=x onerror=alert(1)>", licence="<b>")
    seen = page.pick("odd")
    assert "<img" not in seen[page.panel.table] + seen[page.panel.card] and "<b>" not in seen[page.panel.card]


def test_a_damaged_bundle_is_told_and_can_be_deleted(page, tmp_path):
    (maskless(tmp_path) / "config.json").write_text("{")
    seen = page.pick("plain")
    assert row(page, "plain")["State"] == "Damaged"
    card = plain(seen[page.panel.card])
    assert "not JSON" in card and str(tmp_path) not in card
    assert page.shown(seen, "delete") and not page.shown(seen, "learn") and not page.shown(seen, "verify")
    page.press("deleting")
    assert not (tmp_path / "models/plain").exists()


def test_a_damaged_catalogue_is_told(page, tmp_path):
    (tmp_path / "models/catalogue.json").write_text("{")
    told = plain(page.panel.show(page.visit)[page.panel.activity])
    assert "is damaged" in told and str(tmp_path) not in told


@pytest.mark.parametrize(("name", "file"), [("things", "things.pkl"), ("faces", "faces.pt"), ("dogs", "")])
def test_a_class_is_fetched_verified_and_drawn(hub, page, name, file):
    hub.pause = 0.8 * 1024 / catalogue.look_up(name).download_bytes if file else 0.0  # a second in all
    seen = page.pick(name)
    assert page.shown(seen, "download") and not page.shown(seen, "delete")
    seen = page.press("download", True)
    assert page.told(seen) == f"{name.title()} is here, checked and ready to draw." and page.notices == []
    if file:  # the 33 kB of dogs come in no time
        bars = [said for said in page.running() if said.startswith(f"Downloading {file}")]
        with_bytes = re.compile(r".* · \d+ [kM]B of \d+ [kM]B( · .* left)?")
        assert any(with_bytes.fullmatch(bar) for bar in bars), bars
        assert any(said.startswith("Converting") for said in page.running())
    assert not page.shown(seen, "download") and page.shown(seen, "verify") and page.shown(seen, "delete")
    assert row(page, name)["State"] == "Installed" and row(page, name)["Verified"] == "yes"
    assert row(page, name)["Source"].startswith("revision ")
    assert "Every file" in page.told(page.press("verifying"))
    hub.requests.clear()
    batches = list(page.service.generate(name, [1, 2], 0.7, page.service.new_token()))
    assert [sample.seed for sample in batches[-1]] == [1, 2] and hub.requests == []
    assert (batches[-1][0].alpha is None) == (name != "dogs")


def test_a_licence_is_read_before_anything_is_fetched(hub, page):
    consent = page.panel.consent
    assert not page.pick("faces")[consent.frame]["visible"], "a free licence asks for nothing"
    seen = page.pick("things")
    assert seen[consent.frame]["visible"]
    assert plain(seen[consent.words]) == "Things is under NC: not for sale (https://example.org/nc)"
    assert 'href="https://example.org/nc"' in seen[consent.words]
    refused = page.press("download", False)
    assert "tick that you accept it" in page.notices[0] and hub.requests == []
    assert refused[page.panel.download]["interactive"]
    page.press("download", True)
    assert row(page, "things")["State"] == "Installed"
    page.press("deleting")
    seen = page.pick("things")
    assert not seen[consent.frame]["visible"], "once is enough"
    page.press("download", False)
    assert row(page, "things")["State"] == "Installed"


def test_a_fault_ends_in_a_sentence_and_a_later_click_succeeds(hub, page, tmp_path):
    page.pick("faces")
    hub.fault, words = Fault("wrong bytes"), "its sha256 differs"
    seen = page.press("download", False)
    assert words in page.told(seen) and words in page.notices[0]
    assert str(tmp_path) not in page.told(seen) and page.told(seen).endswith(".")
    assert seen[page.panel.download]["interactive"] and row(page, "faces")["State"] == "On offer"
    hub.fault = None
    page.press("download", False)
    assert row(page, "faces")["Verified"] == "yes"


def test_a_page_that_is_opened_anew_sees_the_download(hub, page, tmp_path):
    page.pick("things")
    hub.pause = 0.001
    page.panel.answered(page.panel.start_download)(page.visit, True)
    first = page.panel.watch(page.visit)
    next(first)
    stranger = page.panel
    seen = merged(stranger.watch(Visit("things")))
    assert "is here" in plain(seen[stranger.activity]) and seen[stranger.verify]["visible"]
    first.close()


def test_a_newer_watcher_of_the_same_page_takes_over(hub, page):
    page.pick("things")
    hub.pause = 0.002
    page.panel.answered(page.panel.start_download)(page.visit, True)
    older = page.panel.watch(page.visit)
    next(older)
    newer = page.panel.watch(page.visit)
    next(newer)
    assert list(older) == []
    page.panel.stop(page.visit)
    assert list(newer)


def test_two_clicks_are_one_download(hub, page):
    page.pick("things")
    hub.pause = 0.0005
    tasks = {page.class_jobs.download("things", True) for _ in range(5)}
    assert len(tasks) == 1
    assert "Something else is being done with Things" in refusal(page.class_jobs.verify, "things")
    page.wait()
    stored = [request.path for request in hub.asked() if "storage" in request.path]
    assert len(stored) == 1


def test_nothing_changes_where_the_page_is_open_to_others(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(gr, "Warning", lambda words: None)
    maskless(tmp_path)
    page = Page(tmp_path, manages_classes=False)
    assert page.panel.imports is page.panel.repository is page.panel.sharing is None
    plain = [("plain", button) for button in ("deleting", "learning", "verifying")]
    for name, button, *values in (("faces", "download", True), *plain):
        seen = page.pick(name)
        assert not any(page.shown(seen, part) for part in ("download", "learn", "verify", "delete", "cancel"))
        refused = page.panel.answered(getattr(page.panel, f"start_{button}"))(page.visit, *values)
        assert "open to others" in page.told(refused)
    assert (tmp_path / "models/plain").is_dir() and hub.requests == [] and not page.class_jobs.jobs.running()


def test_a_repository_by_its_name(hub, page):
    form = page.panel.repository
    seen, told = page.form(form, form.fetch, name=f"{hub.address}/{DOGS}/")
    assert told == "Dogs is here, checked and ready to draw." and page.visit.picked == DOGS
    assert seen[page.panel.choice]["value"] == DOGS and seen[form.name] == ""
    assert row(page, DOGS)["Verified"] == "yes"


def test_the_licence_of_a_repository_is_asked_for(hub, page):
    form = page.panel.repository
    accepted = {form.name: CLOSED, form.consent.accept: True, page.panel.visit: page.visit}
    seen = run(form, form.fetch, accepted)  # a tick that was there before says nothing about this one
    assert "read it" in status_of(form, seen) and "CC-BY-NC-4.0" in plain(seen[form.consent.words])
    assert not [request for request in hub.asked() if "storage" in request.path]
    seen = run(form, form.fetch, accepted)
    assert "is here" in status_of(form, seen) and not seen[form.consent.frame]["visible"]


def test_what_is_no_repository_is_refused(hub, page):
    form = page.panel.repository
    for written in ("", "dogs", "../../etc/passwd", "a/b/c", "/etc/passwd", "file:///etc/passwd", "a b/c"):
        _, told = page.form(form, form.fetch, name=written)
        assert "no repository" in told and hub.requests == []


def test_verify_finds_damage_and_the_class_can_be_fetched_again(hub, page, tmp_path):
    page.pick("things")
    page.press("download", True)
    file = tmp_path / "models/things/generator.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    seen = page.press("verifying")
    assert "its sha256 differs" in page.told(seen) and str(tmp_path) not in page.told(seen)
    assert row(page, "things")["State"] == "Damaged" and seen[page.panel.download]["value"] == "Download again"
    assert page.shown(seen, "download") and not page.shown(seen, "learn")
    page.press("download", False)
    assert row(page, "things")["State"] == "Installed" and load_bundle(tmp_path / "models/things")


def test_deleting_asks_and_takes_the_class_out_of_memory(page, tmp_path):
    folder = maskless(tmp_path)
    size = sum(path.stat().st_size for path in folder.iterdir())
    page.pick("plain")
    list(page.service.generate("plain", [1], 0.7, page.service.new_token()))
    assert page.service.loaded() == ["Plain"]
    asked = page.panel.ask(page.visit)
    assert asked[page.panel.confirm]["visible"]
    assert asked[page.panel.question] == f"Delete **Plain**, {in_words.size(size)}, from this computer?"
    assert folder.is_dir()
    seen = page.press("deleting")
    assert not folder.exists() and "Plain is deleted" in page.told(seen) and not page.service.loaded()
    assert "plain" not in offered(seen[page.panel.choice])
    assert seen[page.panel.choice]["value"] != "plain" and not seen[page.panel.confirm]["visible"]


def test_a_class_of_the_repository_stays(page):
    name = next((entry.name for entry in catalogue.classes() if entry.shipped), None)
    if name is None:
        pytest.skip("no class is shipped yet")
    assert not page.shown(page.pick(name), "delete")
    assert row(page, name)["Verified"] == "–", "nothing of it was fetched"
    assert "is a part of Labels4Free" in page.told(page.press("deleting"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(10, "less than a minute"), (60, "about 1 minute"), (170, "about 3 minutes"), (9000, "about 2.5 hours")],
)
def test_durations_on_the_page_and_in_the_shell(seconds, words):
    assert in_words.duration(seconds) == training_time.in_words(seconds) == words


def test_sentences_lose_their_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("LABELS4FREE_MODELS", "/srv/models")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/ann/.cache")
    for sentence, expected in {
        "/srv/models/x/config.json is missing.": "the models folder/x/config.json is missing.",
        "/home/ann/.cache/labels4free/x could not be written.": "~/.cache/labels4free/x could not be written.",
        "/home/annabel/x is gone.": "x is gone.",
        "See /var/spool/gradio/abc/evil.pkl, it names os.system.": "See evil.pkl, it names os.system.",
        "Get a/b.pkl from https://hub.example/a/b now.": "Get a/b.pkl from https://hub.example/a/b now.",
        r"C:\Users\Ann\x.pkl is gone.": "x.pkl is gone.",
        "32/64 and someone/dogs stay.": "32/64 and someone/dogs stay.",
    }.items():
        assert in_words.without_paths(sentence) == expected


def test_a_failure_is_told_to_whoever_caused_it_and_once_to_nobody(hub, page):
    other = Visit()
    page.panel.opened(other)
    page.pick("dogs")

    shown = threading.Event()

    def fail(job):
        shown.wait(10)
        raise UserError("It broke.")

    seen = page.panel.answered(lambda entry: page.class_jobs.jobs.start("verify", "dogs", "", fail))(page.visit)
    shown.set()
    assert "It broke." in page.told(page.wait(seen)) and page.notices == ["It broke."]
    assert page.told(page.panel.show(other)) == page.told(page.panel.opened(Visit())) == ""
    assert list(page.panel.watch(other)) and page.notices == ["It broke."]
    page.class_jobs.jobs.start("verify", "dogs", "", fail).wait(10)  # nobody is there
    assert "It broke." in page.told(page.panel.opened(Visit())) and page.told(page.panel.opened(Visit())) == ""
