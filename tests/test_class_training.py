"""A class from a folder of pictures: the look at them, the plan, the process, paused, killed and gone on with."""

import dataclasses
import functools
import io
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from bundles import saved
from pages import in_thread, wait_until
from PIL import Image
from sentences import refusal
from shell import start_l4f
from test_models_commands import TINY

from l4f_plugin import cli
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.hub.sharing.card import published_card
from l4f_plugin.hub.sharing.terms import Terms
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.training import chain, class_plan, class_run, cut_pictures, distance, loop, mask_quality
from l4f_plugin.training.alpha_training import AlphaTrainer
from l4f_plugin.training.class_plan import ClassPlan, plan_for
from l4f_plugin.training.class_run import ClassRun
from l4f_plugin.training.picture_survey import ALIGNED, alignment_of, count_twins, survey
from l4f_plugin.training.pictures import PictureFolder
from l4f_plugin.training.refinement import RefinementSettings
from l4f_plugin.training.runs import train_generator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def pictures(tmp_path, own_folders):
    """A folder of twelve noisy pictures of 48 x 36 pixels, and folders of the program's own."""
    folder, random = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for number in range(12):
        small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((48, 36)).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def tiny(quick_photographs, monkeypatch):
    """Recipes of a few steps, and networks of a few channels. Masks of noise are neither dropped nor doubtful."""
    refinement = RefinementSettings(steps=4, batch_size=2, feature_dtype="float32")
    monkeypatch.setattr(chain, "refinement_settings", lambda *_: refinement)
    monkeypatch.setattr(class_plan, "mask_settings", lambda *_: TINY)
    monkeypatch.setattr(class_plan, "_CHANNELS", {4: 8, 8: 8, 16: 6, 32: 4, 64: 4})
    monkeypatch.setattr(class_plan, "fastest_dtype", lambda device: "float32")
    monkeypatch.setattr(mask_quality, "spill", lambda alpha, images: 0.0)
    monkeypatch.setattr(distance, "CHANNELS", (3, 4, 8))
    guess = functools.partialmethod(AlphaTrainer.start_from_difference, steps=2)
    monkeypatch.setattr(AlphaTrainer, "start_from_difference", guess)


def plan(folder, **chosen) -> ClassPlan:
    chosen = {"resolution": 32, "quality": "quick", "pictures": 48, "batch_size": 4, "device": "cpu"} | chosen
    return plan_for(survey(folder), "dogs", folder, **chosen)


def begun(folder, **chosen) -> ClassRun:
    run = ClassRun("dogs")
    run.begin(plan(folder, **chosen))
    return run


def test_the_look_tells_what_can_be_used(pictures):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (pictures / "notes.txt").write_text("none")
    Image.open(pictures / "03.png").save(pictures / "copy.jpg", quality=92)
    found = survey(pictures)
    assert (found.usable, found.unreadable, found.twins) == (13, 1, 1)
    assert found.sides == (36, 36, 36) and found.passed_over == {".txt": 1}
    assert found.fit == "letterbox" and found.few
    words = " ".join(found.in_words())
    assert "13 pictures can be used" in words and "unreadable (1)" in words and "augmentation is turned on" in words
    assert plan(pictures).augmentation == "adaptive" and plan(pictures).aspect == pytest.approx(4 / 3, abs=1e-3)
    many = dataclasses.replace(found, usable=5_000, aspects=(0.5, 1.0, 2.0))
    assert many.fit == "crop" and not many.few
    assert plan_for(many, "dogs", pictures).augmentation == "none"
    some = dataclasses.replace(found, usable=151)
    plans = [plan_for(one, "dogs", pictures, fit=fit) for one, fit in ((some, None), (found, None), (many, "squash"))]
    assert [plan.learns_from_pictures for plan in plans] == [True, False, False]


def test_twins_are_alike_in_shape_and_colour():
    random = np.random.default_rng(1)
    picture = random.integers(0, 200, (16, 16, 3), dtype=np.uint8)
    thumbnails = np.stack([picture, picture + 2, picture + 40, random.integers(0, 255, (16, 16, 3), dtype=np.uint8)])
    assert count_twins(thumbnails) == 1, "the second is brighter by 2, the third by 40"


def test_outlines_that_lie_alike_are_told_from_shuffled_crops():
    random, aligned, shuffled = np.random.default_rng(0), [], []
    rows, columns = np.mgrid[:48, :48]
    for _ in range(60):
        ground, body = random.integers(0, 256, (2, 3))
        disc = (rows - 24) ** 2 + (columns - 24) ** 2 < random.integers(10, 14) ** 2
        picture = Image.fromarray(np.where(disc[..., None], body, ground).astype(np.uint8))
        side = int(random.integers(20, 40))
        left, top = random.integers(0, 48 - side, 2).tolist()
        for kept, one in ((aligned, picture), (shuffled, picture.crop((left, top, left + side, top + side)))):
            kept.append(np.asarray(one.resize((16, 16), Image.Resampling.BOX)))
    assert alignment_of(np.stack(aligned)) > 3 * ALIGNED
    assert alignment_of(np.stack(shuffled)) < alignment_of(np.stack(aligned)) / 2


def test_a_squashed_picture_is_whole(pictures, tmp_path):
    half = np.zeros((40, 80, 3), np.uint8)
    half[:, :20] = 255
    (tmp_path / "one").mkdir()
    Image.fromarray(half).save(tmp_path / "one/half.png")
    folders = (PictureFolder(tmp_path / "one", 32, tmp_path / "arrays", squash=squash) for squash in (False, True))
    cropped, squashed = (folder.array[0].mean() for folder in folders)
    assert cropped < 5 and squashed == pytest.approx(255 / 4, abs=3)


def test_all_stages_give_a_class_that_draws(pictures, tiny):
    run = begun(pictures, quality="good", pictures=24, learns_from_pictures=True)
    said = []
    assert run.work(said.append)
    stages = [line for line in said if line.startswith("Stage")]
    assert [line.partition(": ")[2] for line in stages] == [
        "generator.", "masks.", "photographs.", "refined masks.", "photographs again."
    ]  # fmt: skip
    assert "12 of 12 pictures have masks to learn from (left out: none)." in said, "those of the folder"
    status = run.status()
    assert status.state == "done" and status.done == status.total and not status.problem
    folder = class_run.models_folder() / "dogs"
    card = (folder / "README.md").read_text()
    parts = ["![Seeds 0 to 7", "l4f generate dogs", "## Training", "Masks, measured", "<details>", "Stage 1 of 5"]
    assert [card.index(part) for part in parts] == sorted(card.index(part) for part in parts)
    assert str(run.folder) not in card and Image.open(folder / "samples.png").height > 3 * 24
    published = published_card(read_config(folder), Terms("cc0-1.0"), "me/dogs", card=card)
    assert "l4f generate dogs" not in published and published.count("l4f generate me/dogs") == 1
    bundle = load_bundle(folder, with_discriminator=True)
    assert bundle.alpha is not None and bundle.student is not None and bundle.config.crop == (4, 28, 0, 32)
    [sample] = Labels4FreePipeline.from_pretrained("dogs", device="cpu").generate([1])
    assert sample.image.shape == (24, 32, 3) and sample.alpha.shape == (24, 32)
    assert [line["pictures"] for line in run.curves()][-1] == 24
    assert "choose another name" in refusal(run.begin, plan(pictures))


def test_pictures_that_vanish_before_the_last_stage_stop_nothing(pictures, tiny):
    run, said = begun(pictures, quality="good", pictures=24, learns_from_pictures=True), []
    assert run.work(lambda line: said.append(line) or line.startswith("Stage 5") and shutil.rmtree(pictures))
    assert any("drawn instead" in line for line in said) and run.status().state == "done"


def test_masks_of_an_earlier_recipe_begin_anew_and_the_generator_stays(pictures, tiny):
    run, said = begun(pictures), []
    run.work(lambda line: line.startswith("Stage 2") and run.wish("stop"))
    generator, masks = class_run.stages_of(run.plan, run.folder)
    earlier = dataclasses.replace(masks.settings, background_weight=masks.settings.background_weight / 2)
    bundle = load_bundle(generator.bundle, with_discriminator=True)
    loop.save(AlphaTrainer(earlier, bundle, torch.device("cpu")), masks.folder / "attempt1-corners")
    state = (run.folder / class_run.GENERATOR_RUN / "state.safetensors").read_bytes()
    run.work(lambda line: said.append(line) or "another recipe for masks" in line and run.wish("stop"))
    assert "another recipe for masks" in said[-1]
    assert (run.folder / class_run.GENERATOR_RUN / "state.safetensors").read_bytes() == state


def test_a_generator_of_an_earlier_recipe_is_not_thrown_away(pictures, tiny, monkeypatch):
    run = begun(pictures)
    run.work(lambda line: line.startswith("Stage 1") and run.wish("stop"))
    state = run.folder / class_run.GENERATOR_RUN / "state.safetensors"
    earlier, settings = state.read_bytes(), class_plan.generator_settings
    other = lambda plan: dataclasses.replace(settings(plan), r1_weight=3.0)  # noqa: E731
    monkeypatch.setattr(class_plan, "generator_settings", other)
    assert "another r1_weight" in refusal(run.work)
    assert state.read_bytes() == earlier


def test_the_plan_measures_every_stage(pictures, tiny):
    whole = class_plan.measured(plan(pictures, quality="good", learns_from_pictures=True))
    assert list(whole.seconds) == ["generator", "masks", "photographs", "refined masks", "photographs again"]
    assert all(sum(parts.values()) > 0 for parts in whole.seconds.values())
    assert cut_pictures.CUTTING in whole.seconds["photographs again"]
    assert whole.memory > 0 and whole.disk > 12 * 32 * 32 * 3
    assert ClassPlan(**dataclasses.asdict(whole)) == whole
    assert any("In all" in line for line in whole.in_words())


def test_a_plan_takes_less_memory_where_it_runs_out(pictures, tiny, monkeypatch):
    step = class_plan.GeneratorTrainer.step

    def short(trainer):
        if trainer.batch > 4:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return step(trainer)

    monkeypatch.setattr(class_plan.GeneratorTrainer, "step", short)
    made = class_plan.measured(plan(pictures, batch_size=8))
    assert made.accumulate == 2 and class_plan.generator_settings(made).accumulate == 2
    assert "each batch in 2 parts" in made.in_words()[0]
    assert "Memory ran out while training dogs" in refusal(class_plan.measured, plan(pictures, batch_size=6))


def test_a_run_starts_from_a_class_of_half_the_resolution(pictures, tiny):
    saved(class_run.models_folder() / "dogs", source="trained from 12 pictures")
    chosen = {"resolution": 64, "quality": "quick", "batch_size": 4, "pictures": 400}
    grown = plan_for(survey(pictures), "big", pictures, start="dogs", **chosen)
    assert class_plan.generator_settings(grown).channels[64] == 16
    assert class_plan.measured(grown).seconds["generator"]
    assert "draws 32 pixels" in refusal(class_plan.generator_settings, dataclasses.replace(grown, resolution=128))
    frozen = dataclasses.replace(grown, frozen_blocks=2)
    assert "must have learned something" in refusal(class_plan.generator_settings, frozen)
    same = class_plan.generator_settings(dataclasses.replace(frozen, resolution=32))
    assert same.frozen_blocks == 2 and "2 blocks of its discriminator frozen" in frozen.in_words()[0]
    assert "class to start from" in refusal(class_plan.generator_settings, dataclasses.replace(frozen, start=""))
    large = ClassRun("big")
    large.begin(grown)
    run, settings = large.folder / "generator/run", class_plan.generator_settings(grown)
    train_generator(pictures, run, settings, 8, source=class_plan.starting_folder(grown), report=lambda line: None)
    bundle, _ = class_run._generator_so_far(grown, run)
    assert ", starting from: trained from 12 pictures" in bundle.config.source
    assert "trained starting from dogs" in (large.use_best(lambda line: None) / "README.md").read_text()


def test_pause_gives_the_work_a_rest_and_stop_ends_it(pictures, tiny):
    run = begun(pictures, pictures=20_000)
    told: list[bool] = []
    thread = in_thread(lambda: told.append(run.work(lambda line: None)))
    wait_until(lambda: (run.folder / "generator/run" / loop.STATE_FILE).exists())
    run.wish(class_run.PAUSE)
    wait_until(lambda: run.status().state == "paused")
    assert run.is_alive and thread.is_alive()
    assert "stop it first" in refusal(run.delete)
    before = run.curves()
    run.start_process()  # the one that waits goes on; no second one begins
    wait_until(lambda: len(run.curves()) > len(before))
    run.wish(class_run.STOP)
    thread.join(60)
    assert told == [False] and run.status().state == "stopped" and not run.is_alive
    folder = run.use_best(lambda line: None)
    assert Labels4FreePipeline.from_pretrained("dogs", device="cpu").generate([1])[0].alpha is not None
    assert "guessed from the pictures' own corners" in (folder / "README.md").read_text()
    run.delete()
    assert not run.folder.exists() and folder.exists(), "the class stays"


def test_a_killed_process_is_found_again_and_goes_on(pictures):
    """kill -9 in the middle: the run says so, is found, and goes on."""
    words = ["train", "class", pictures, "--name", "dogs", "--resolution", 32, "--quality", "quick"]
    run = ClassRun("dogs")
    with start_l4f(*words, "--batch-size", 2, "--pictures", 2000, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(run.curves()) >= 2)
        assert run.status().state == "running"
        process.kill()
    assert run.status().state == "interrupted"
    run.start_process()
    wait_until(lambda: run.status().state == "running" and len(run.curves()) >= 1)
    assert run.status().stage == "generator"
    run.wish(class_run.STOP)
    wait_until(lambda: not run.is_alive)
    assert run.status().state == "stopped"


def test_the_command_says_where_it_is_and_how_to_go_on(pictures, tiny, capfd, monkeypatch):
    asked = ["train", "class", "--name", "dogs", "--device", "cpu"]
    assert cli.main(asked) == 2
    assert "There is no training called dogs" in capfd.readouterr().err
    monkeypatch.setattr(class_plan, "QUALITIES", {**class_plan.QUALITIES, "quick": 40})
    whole = [*asked, str(pictures), "--resolution", "32", "--quality", "quick", "--batch-size", "4"]
    assert cli.main([*whole, "--look"]) == 0
    assert not ClassRun("dogs").exists and "In all" in capfd.readouterr().err
    write_grid = loop.write_grid

    def interrupted(*given):
        signal.raise_signal(signal.SIGINT)
        write_grid(*given)

    monkeypatch.setattr(loop, "write_grid", interrupted)
    assert cli.main(whole) == 130
    told = capfd.readouterr().err
    assert "12 pictures" in told and str(ClassRun("dogs").folder) in told
    assert "l4f train class --name dogs" in told and "--use-best" in told
    monkeypatch.setattr(loop, "write_grid", write_grid)
    assert cli.main([*asked, "--quality", "good"]) == 2
    assert "began with another quality, quick" in capfd.readouterr().err
    assert cli.main([*asked, "--quality", "quick"]) == 0, "the same again"
    assert ClassRun("dogs").latest_sheet().name.startswith("sample_")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert cli.main([*asked, "--delete"]) == 2 and "add --yes" in capfd.readouterr().err
    assert cli.main([*asked, "--delete", "--yes"]) == 0
    assert not ClassRun("dogs").exists


def test_samples_are_there_before_the_later_stages_are_measured(pictures, tiny, monkeypatch):
    run, seen = begun(pictures), []
    measured_stages = class_plan.measured_stages

    def looked(*given):
        seen.append(run.latest_sheet())
        return measured_stages(*given)

    monkeypatch.setattr(class_plan, "measured_stages", looked)
    assert run.work(lambda line: None)
    assert [sheet.name for sheet in seen] == ["sample_000000012.png"] and run.plan.whole_seconds > 0


def test_samples_come_at_growing_intervals(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    due, seen = loop.GrowingIntervals(15, 2, 100), []
    for second in range(400):
        now[0] = float(second)
        if due():
            seen.append(second)
    assert seen == [15, 45, 105, 205, 305]


def test_what_vanishes_while_sheets_are_looked_for_hides_none(own_folders, monkeypatch):
    """A training writes its files through folders of a moment."""
    run, look = ClassRun("dogs"), os.scandir
    sheet, gone = run.folder / "generator/run/sample_000000024.png", run.folder / ".status.json.0.partial"
    for folder in (sheet.parent, gone):
        folder.mkdir(parents=True)
    sheet.touch()
    (sheet.parent / "sample_000000048.png").symlink_to("removed")

    def vanishing(folder):
        if os.fspath(folder) == os.fspath(gone):
            raise FileNotFoundError(gone)
        return look(folder)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert run.latest_sheet() == sheet
