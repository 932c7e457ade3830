"""Classes that are yet to be fetched, and those without masks, picked in the panel Generate."""

from types import SimpleNamespace

import pytest
from bundles import saved
from hub_server import offer_things
from models_page import maskless, offered
from pages import begin, closed, drawing, merged, owned, plain, run, status_of
from pixels import pixels

from l4f_plugin.bundles import catalogue
from l4f_ui import __main__ as command
from l4f_ui import app, compat
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings


@pytest.fixture
def page(loopback_hub, tmp_path, notices):
    """The whole page of an owner, over a Hub with the class "things", and a class of his own."""
    offer_things(loopback_hub, tmp_path, title="Things", licence="NC", terms="not for sale")
    saved(tmp_path / "models/tiny", title="Tiny things")
    service = owned(tmp_path)
    parts = app.build(service).l4f
    yield SimpleNamespace(**vars(parts), hub=loopback_hub, class_jobs=service.class_jobs, service=service)
    closed(service)


def wanted(panel, name: str, accepted: bool = False, view: str = "picture") -> dict:
    return {**drawing(panel, "3-4", name=name, view=view), panel.choice.consent.accept: accepted}


def generate(page, name: str, accepted: bool = False, view: str = "picture") -> dict:
    return run(page.generate, page.generate.generate, wanted(page.generate, name, accepted, view))


def test_a_class_is_fetched_by_its_first_use(page, monkeypatch):
    panel = page.generate
    told = panel.choice.tell("things")
    assert "Things is under NC: not for sale" in plain(told[panel.choice.consent.words])
    assert "fetched by the first Generate" in told[panel.choice.dropdown]["info"]
    refused = generate(page, "things")
    assert "tick that you accept it" in status_of(panel, refused) and page.hub.requests == []
    page.hub.pause = 0.0002
    updates = list(begin(panel, panel.generate, wanted(panel, "things", True)))
    said = [plain(update[panel.job.status]) for update in updates if panel.job.status in update]
    assert any(words.startswith("Downloading things.pkl · ") for words in said), said
    seen = merged(updates)
    assert [sample.seed for sample in seen[panel.stage.results]] == [3, 4]
    offer = seen[panel.choice.dropdown]
    assert offered(offer)["things"] in ("Things", "things") and offer["value"] == "things"
    assert not seen[panel.choice.consent.frame]["visible"]
    page.hub.requests.clear()
    assert len(generate(page, "things")[panel.stage.results]) == 2 and page.hub.requests == []


def test_the_list_tells_what_is_here(page, tmp_path):
    maskless(tmp_path)
    choice, swap = page.generate.choice, page.swap.choice
    offer = offered(choice.refresh()[choice.dropdown])
    if compat.MAJOR >= 4:
        assert offer["things"] == "Things · to download 3 MB" and offer["tiny"] == "Tiny things"
    names = list(offer)
    assert names.index("tiny") < names.index("plain") < names.index("things")
    assert "no masks yet" in choice.describe("plain")
    assert choice.refresh("plain")[choice.dropdown]["value"] == "plain"
    assert choice.refresh("gone")[choice.dropdown]["value"] == page.service.default_class()
    with_masks = [entry.name for entry in page.service.classes()]
    assert list(offered(swap.refresh()[swap.dropdown])) == with_masks, "swapping needs masks"


def test_a_class_without_masks_draws_and_offers_to_learn_them(page, tmp_path):
    maskless(tmp_path)
    panel = page.generate
    seen = generate(page, "plain", view="cutout")
    [first, _] = seen[panel.stage.results]
    assert sorted(first.files) == ["background", "picture"] and pixels(first.files["picture"]).shape == (32, 32, 3)
    assert [path for path, _ in seen[panel.stage.gallery]["value"]][0] == str(first.files["picture"])
    assert status_of(panel, seen).endswith("this class has no masks yet") and seen[panel.to_models]["visible"]
    picked = panel.pick("mask", seen[panel.stage.results], SimpleNamespace(index=0))
    assert not picked[panel.to_swap]["interactive"] and picked[panel.use_seed]["interactive"]
    for looked_at in (picked, panel.stage.look("mask", seen[panel.stage.results], 0)):
        assert looked_at[panel.stage.downloads["shown"]]["value"] == str(first.files["picture"])
    assert panel.stage.pack(seen[panel.stage.results]).suffix == ".zip"
    again = generate(page, "tiny")
    assert not again[panel.to_models]["visible"] and "mask" in again[panel.stage.results][0].files


def test_cancel_leaves_a_download_that_somebody_else_waits_for(page):
    panel = page.generate
    page.hub.pause = 0.0005
    task = page.class_jobs.download("things", accepted=True)
    other = task.follow()
    next(other)
    seen: dict = {}
    for update in begin(panel, panel.generate, wanted(panel, "things", True)):
        seen |= update
        if "Downloading" in plain(seen.get(panel.job.status, "")):
            panel.job.stop(seen[panel.job.token])
    assert "Stopped" in status_of(panel, seen)
    list(other)
    assert task.outcome and catalogue.look_up("things").installed


def test_a_page_of_others_offers_only_what_is_here(page, tmp_path):
    maskless(tmp_path)
    parts = app.build(Service(lambda: Settings(device="cpu"), Outputs(tmp_path / "theirs"))).l4f
    names = offered(parts.generate.choice.refresh()[parts.generate.choice.dropdown])
    assert "tiny" in names and not {"things", "plain"} & set(names) and parts.generate.choice.consent is None
    seen = run(parts.generate, parts.generate.generate, drawing(parts.generate, "3", name="things"))
    assert "No object class is chosen" in status_of(parts.generate, seen) and page.hub.requests == []


@pytest.mark.parametrize("auth", [[], ["--auth", "ann:secret"]], ids=["open", "login"])
@pytest.mark.parametrize("reached", [[], ["--listen"], ["--share"]], ids=["", "listen", "share"])
def test_who_may_change_classes(monkeypatch, tmp_path, reached, auth):
    seen, owned, options = {}, bool(auth) or not reached, [*reached, *auth]

    def build(service):
        seen["service"] = service
        return SimpleNamespace(close=lambda **_: None, is_running=False)

    def launch(page, css, **arguments):
        seen["arguments"] = arguments
        raise NotImplementedError

    monkeypatch.setattr(app, "build", build)
    monkeypatch.setattr(compat, "launch", launch)
    with pytest.raises(NotImplementedError):
        command.serve(command.parser().parse_args(["--no-browser", "--output-dir", str(tmp_path), *options]))
    service = seen["service"]
    assert service.manages_classes == owned
    assert ("max_file_size" in seen["arguments"]) == owned
