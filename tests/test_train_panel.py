"""The panel Train without a browser: handlers called as Gradio calls them."""

from types import SimpleNamespace

import pytest
from bundles import saved
from pages import asked, closed, merged, owned
from pages import plain as words
from test_class_training import pictures, plan, tiny, wait_until  # noqa: F401

from l4f_plugin.bundles.files import is_bundle_of_ours
from l4f_plugin.bundles.folders import trainings_folder
from l4f_plugin.training import class_plan, class_run
from l4f_plugin.training.class_run import ClassRun
from l4f_ui import app, compat, train_panel
from l4f_ui.train_panel import TrainPanel, TrainVisit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def site(pictures, tiny, tmp_path, monkeypatch, notices):  # noqa: F811
    """The panel of a page that only its owner reaches; notices are collected, and no process is started."""
    started: list[str] = []
    monkeypatch.setattr(ClassRun, "start_process", lambda run: started.append(run.name))
    service = owned(tmp_path)
    with compat.blocks("page", ""):
        panel = TrainPanel(service)
    yield SimpleNamespace(panel=panel, service=service, visit=TrainVisit(), started=started, pictures=pictures)
    closed(service)


def do(site, handler, **changed) -> dict:
    given = {getattr(site.panel, name): value for name, value in changed.items()}
    return merged(site.panel.follow(handler)({**asked(site.panel, given), site.panel.visit: site.visit}))


def test_from_a_folder_to_a_training(site, monkeypatch):
    panel = site.panel
    seen = do(site, panel.look_at, folder=f" {site.pictures} ")
    assert words(seen[panel.activity]) == "12 pictures can be used"
    assert "augmentation is turned on" in seen[panel.about]["value"] and seen[panel.plan_frame]["visible"]
    assert (seen[panel.name], seen[panel.fit], seen[panel.resolution]) == ("pictures", "letterbox", "32")
    monkeypatch.setattr(class_plan, "QUALITIES", {**class_plan.QUALITIES, "quick": 40})
    wanted = {"name": "dogs", "resolution": "32", "quality": "quick", "fit": "crop", "start": ""}
    told = do(site, panel.estimate, **wanted)
    assert "In all" in told[panel.about]["value"] and site.started == []
    begun = do(site, panel.start_run, **wanted)
    assert site.started == ["dogs"] and begun[panel.run_frame]["visible"]
    run = ClassRun("dogs")
    assert run.plan.fit == "crop" and not run.plan.seconds and run.plan.device == "cpu"
    assert run.work(lambda line: None) and run.plan.seconds["generator"]
    shown = panel.show(site.visit)
    assert words(shown[panel.standing]) == "Done; the class is installed"
    assert shown[panel.samples]["value"].endswith(".png")
    assert shown[panel.buttons["delete"]]["visible"] and not shown[panel.buttons["pause"]]["visible"]
    if panel.plots:  # Gradio 3 has none
        losses = shown[panel.plots["losses"]]["value"]
        assert set(losses["curve"]) == {"discriminator", "generator"} and losses["x"].max() == 32
    assert "Stage 2 of 2: masks." in words(shown[panel.log])
    assert "dogs" in [entry.name for entry in site.service.classes()]


def test_what_a_class_to_start_from_knows_is_kept_only_where_it_fits(site):
    panel = site.panel
    do(site, panel.look_at, folder=str(site.pictures))
    assert not panel.choose_start("Nothing")[panel.freeze]["visible"]
    saved(class_run.models_folder() / "round")
    chosen = panel.choose_start("round")
    assert chosen[panel.freeze]["visible"] and chosen[panel.resolution] == "32"
    wanted = {"name": "dogs", "resolution": "32", "quality": "quick", "fit": "crop", "start": "round", "freeze": True}
    do(site, panel.start_run, **wanted)
    assert ClassRun("dogs").plan.frozen_blocks == 2 and site.started == ["dogs"]
    refused = do(site, panel.start_run, **{**wanted, "name": "cats", "resolution": "128"})
    assert "draws 32 pixels" in words(refused[panel.activity]) and site.started == ["dogs"]


def test_uploaded_pictures_stay_as_long_as_their_training(site, tmp_path, monkeypatch):
    panel, uploads = site.panel, sorted(site.pictures.iterdir())
    monkeypatch.setattr(compat, "file_paths", lambda value: uploads if value else [])
    assert words(do(site, panel.look_at, files="uploaded")[panel.activity]) == "12 pictures can be used"
    run = ClassRun("dogs")
    run.begin(plan(site.visit.folder))
    assert len(list(site.visit.folder.iterdir())) == 12 and trainings_folder() in site.visit.folder.parents
    site.visit.picked = "dogs"
    deleted = panel.pressed("delete")(site.visit)
    assert words(deleted[panel.activity]) == "The training is deleted"
    assert deleted[panel.preview]["visible"] and deleted[panel.about]["visible"], "what was looked at is there again"
    assert not run.folder.exists() and not site.visit.folder.exists()


def test_a_training_is_paused_gone_on_with_and_used(site, monkeypatch):
    panel, run = site.panel, ClassRun("dogs")
    run.begin(plan(site.pictures, pictures=24))
    shown = panel.show(site.visit)
    assert site.visit.picked == "dogs" and shown[panel.buttons["resume"]]["visible"]
    panel.pressed("pause")(site.visit)
    assert (run.folder / class_run.WISH).read_text() == "pause"
    panel.pressed("resume")(site.visit)
    assert site.started == ["dogs"]
    assert "nothing to use yet" in words(do(site, panel.use)[panel.activity])
    run.work(lambda line: None)
    (run.folder / class_run.STATUS).write_text('{"state": "running", "done": 10, "total": 40, "seconds_left": 30}')
    alive = iter([True] * 6)
    monkeypatch.setattr(ClassRun, "is_alive", property(lambda run: next(alive, False)))
    monkeypatch.setattr(train_panel, "LOOK_AGAIN", 0)
    site.visit.curves.clear()
    updates = list(panel.watch(site.visit))
    for plot in panel.plots.values():  # Gradio 3 has none
        assert plot in updates[1] and plot not in updates[-1]
    assert words(updates[-1][panel.standing]) == "Interrupted; Resume goes on from the last minute"
    assert words(do(site, panel.use)[panel.activity]).startswith("dogs draws now")
    assert is_bundle_of_ours(class_run.models_folder() / "dogs")


def test_what_cannot_be_looked_at_is_said(site):
    for folder, sentence in (("", "Name a folder"), ("/nowhere/at/all", "cannot be read as a folder")):
        assert sentence in words(do(site, site.panel.look_at, folder=folder)[site.panel.activity])
    assert "Look at the pictures first" in words(do(site, site.panel.estimate)[site.panel.activity])
    site.visit.picked = "../../etc"
    assert "no such training" in words(site.panel.pressed("delete")(site.visit)[site.panel.activity])


def test_a_page_that_others_reach_trains_nothing(pictures, tmp_path):  # noqa: F811
    service = owned(tmp_path, manages_classes=False)
    ClassRun("dogs").begin(plan(pictures))
    panel = app.build(service).l4f.train
    assert not hasattr(panel, "begin") and panel.trainings.names() == []
    for refused in (lambda: panel.trainings.run("dogs"), lambda: panel.trainings.keep([])):
        with pytest.raises(class_run.UserError, match="without a password"):
            refused()
    service.outputs.forget_previews()
