"""What goes wrong with a training: put in on purpose, noticed within 100 steps, told, and answered by one button."""

import errno
import shutil
from dataclasses import replace

import pytest
from pages import in_thread
from sentences import refusal
from test_class_training import begun, pictures, plan, tiny, wait_until  # noqa: F401
from test_train_panel import site, words  # noqa: F401

from l4f_plugin import cli
from l4f_plugin.bundles import files
from l4f_plugin.bundles.folders import cache_folder, models_folder
from l4f_plugin.training import class_run, generator_training, loop, mask_quality
from l4f_plugin.training.alpha_training import AlphaTrainer
from l4f_plugin.training.class_plan import generator_settings
from l4f_plugin.training.generator_training import GeneratorTrainer
from l4f_plugin.training.pictures import PictureFolder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trainer(pictures, tiny, tmp_path):  # noqa: F811
    return GeneratorTrainer(generator_settings(plan(pictures)), PictureFolder(pictures, 32, tmp_path / "arrays"))


def steps_until_noticed(trainer) -> int:
    for step in range(1, 101):
        trainer.step()
        if trainer.trouble:
            return step
    return 0


def test_a_healthy_training_has_no_trouble(trainer):
    assert steps_until_noticed(trainer) == 0


def test_a_discriminator_that_knows_everything_is_noticed(trainer, monkeypatch):
    verdict_on = generator_training.verdict_on

    def knowing(*given, **options):
        loss, metrics = verdict_on(*given, **options)
        return loss, metrics | {"discriminator_loss": 1e-3}

    monkeypatch.setattr(generator_training, "verdict_on", knowing)
    assert steps_until_noticed(trainer) and trainer.trouble == "memorised"


def test_samples_that_are_all_alike_are_noticed(trainer):
    def alike(_, given, output):
        return replace(output, image=output.image[:1].expand_as(output.image))

    trainer.generator.synthesis.register_forward_hook(alike)
    assert steps_until_noticed(trainer) and trainer.trouble == "alike"


@pytest.fixture
def begin(pictures, tiny, monkeypatch):  # noqa: F811
    """Begins a run whose process the test itself is."""
    monkeypatch.setattr(class_run.ClassRun, "start_process", lambda run: None)
    return lambda **chosen: begun(pictures, **chosen)


def quiet(line: str) -> None:
    """Hears what a run says, and says nothing."""


@pytest.mark.parametrize("kind", ["memorised", "alike"])
def test_what_a_running_training_does_not_recover_from_is_told_and_mended(begin, monkeypatch, kind, site):  # noqa: F811
    run = begin(pictures=20_000, augmentation="none")
    trouble = property(lambda trainer: None if trainer.settings.augmentation == "adaptive" else kind)
    monkeypatch.setattr(GeneratorTrainer, "trouble", trouble)
    thread = in_thread(run.work, quiet)
    wait_until(lambda: run.status().trouble == kind)
    shown = site.panel.show(site.visit)
    assert run.status().problem in words(shown[site.panel.standing]) and shown[site.panel.buttons["pause"]]["visible"]
    assert shown[site.panel.buttons["mend"]]["visible"] and "R1" in shown[site.panel.buttons["mend"]]["value"]
    wait_until(lambda: any("--mend" in line for line in run.log()))
    before = generator_settings(run.plan)
    site.panel.pressed("mend")(site.visit)
    wait_until(lambda: run.plan.augmentation == "adaptive" and run.status().state == "running")
    wait_until(lambda: not run.status().trouble)
    run.wish(class_run.STOP)
    thread.join(60)
    assert run.status().state == "stopped"
    tensors, metadata = loop.load_training_state(run.folder / "generator/run" / loop.STATE_FILE)
    settings = loop.unflatten_state(tensors, metadata["state"])["settings"]
    assert (settings["r1_weight"], settings["learning_rate"]) == (2 * before.r1_weight, before.learning_rate / 2)


def test_numbers_that_are_not_finite_end_it_and_it_goes_on_with_smaller_steps(begin, monkeypatch, site):  # noqa: F811
    run = begin(pictures=24)
    step = GeneratorTrainer.step

    def diverging(trainer):
        return step(trainer) | ({"spoilt": float("nan")} if trainer.settings.learning_rate == 2e-3 else {})

    monkeypatch.setattr(GeneratorTrainer, "step", diverging)
    assert "diverged" in refusal(run.work, quiet)
    assert (run.status().state, run.status().trouble) == ("failed", "diverged")
    shown = site.panel.show(site.visit)
    assert "smaller" in shown[site.panel.buttons["mend"]]["value"]
    assert not shown[site.panel.buttons["resume"]]["visible"]
    run.mend()
    assert run.plan.calmed == {"generator": 1} and run.work(quiet)


def test_a_full_disk_is_told_and_tried_again(begin, monkeypatch, site):  # noqa: F811
    run = begin(pictures=24)
    full, write = [True], files.write_atomically

    def writing(path, writer):
        # Where not a byte is free, what the run writes of itself fails too, until it gives up its spare bytes.
        spare = (run.folder / class_run.SPARE).exists()
        if full and spare and (run.folder / "generator").exists() and path.name != class_run.SPARE:
            raise files.storage_error(OSError(errno.ENOSPC, "full"), path)
        write(path, writer)

    for module in (class_run, loop):
        monkeypatch.setattr(module, "write_atomically", writing)
    assert "disk is full" in refusal(run.work, quiet)
    told = run.status()
    assert (told.state, told.trouble) == ("failed", "disk") and "disk is full" in told.problem
    assert site.panel.show(site.visit)[site.panel.buttons["mend"]]["value"] == "Try again"
    full.clear()
    run.mend()
    assert run.work(quiet)


def test_pictures_that_vanish_are_told_and_training_goes_on_with_their_copy(pictures, begin, monkeypatch):  # noqa: F811
    run = begin(pictures=20_000)
    monkeypatch.setattr(generator_training, "LOOKS_EVERY", 2)
    away = pictures.with_name("away")
    thread = in_thread(run.work, quiet)
    wait_until(lambda: run.status().state == "running" and run.curves())
    pictures.rename(away)
    wait_until(lambda: run.status().trouble == "gone")
    run.wish(class_run.STOP)
    thread.join(60)
    thread = in_thread(run.work, quiet)  # which finds no pictures, but what was made of them
    wait_until(lambda: run.status().trouble == "gone")
    away.rename(pictures)
    run.mend()
    wait_until(lambda: not run.status().trouble and run.status().state == "running")
    run.wish(class_run.STOP)
    thread.join(60)
    shutil.rmtree(pictures)
    shutil.rmtree(cache_folder() / "pictures")
    assert "cannot be read" in refusal(run.work, quiet)
    assert run.status().state == "failed" and run.status().trouble == "gone"


def test_masks_that_collapse_from_every_start_want_a_generator_that_learns_longer(begin, monkeypatch, capfd):
    run, collapsed = begin(pictures=24), [True]
    state = property(lambda trainer: "cover everything" if collapsed else None)
    monkeypatch.setattr(AlphaTrainer, "collapsed", state)
    assert "collapsed in 3 attempts" in refusal(run.work, quiet)
    assert run.status().trouble == "collapsed" and not (run.folder / "masks/bundle").exists()
    collapsed.clear()
    assert cli.main(["train", "class", "--name", "dogs", "--mend"]) == 0
    assert run.plan.pictures == 36 and run.curves()[-1]["pictures"] > 24 and run.status().state == "done"


def test_masks_that_take_the_background_along_are_told_when_all_is_done(begin, monkeypatch, site, capfd):  # noqa: F811
    run, spilled = begin(pictures=24), [0.6, 0.1]
    monkeypatch.setattr(mask_quality, "spill", lambda alpha, images: spilled[0])
    assert run.work(quiet)
    status, card = run.status(), (models_folder() / "dogs" / "README.md").read_text()
    assert (status.state, status.trouble) == ("done", "spilled") and status.problem in card
    shown = site.panel.show(site.visit)
    assert f"installed. {status.problem}" in words(shown[site.panel.standing])
    assert shown[site.panel.buttons["mend"]]["visible"] and "longer" in shown[site.panel.buttons["mend"]]["value"]
    del spilled[0]
    assert cli.main(["train", "class", "--name", "dogs", "--mend"]) == 0
    assert run.plan.pictures == 36 and run.curves()[-1]["pictures"] > 24
    assert (run.status().state, run.status().trouble) == ("done", "")
