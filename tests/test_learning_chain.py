"""The whole chain that a class learns: masks, photographs, refined masks, photographs again; and what is told of it."""

import dataclasses
from time import sleep

import pytest
import torch
from bundles import OF_MASKS, saved, tiny_bundle
from PIL import Image
from sentences import refusal
from test_models_commands import TINY

from l4f_plugin import cli
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.jobs import CancelToken
from l4f_plugin.training import chain, learning, training_time
from l4f_plugin.training.alpha_training import START_STEPS, AlphaTrainer
from l4f_plugin.training.loop import STEPPING
from l4f_plugin.training.mask_quality import measure_masks
from l4f_plugin.training.refinement import RefinementSettings


@pytest.fixture
def folder(tmp_path, own_folders, quick_photographs, monkeypatch):
    """The installed class "plain", which has no masks, and recipes of six steps."""
    refinement = RefinementSettings(steps=4, batch_size=2, feature_dtype="float32")
    monkeypatch.setattr(learning, "mask_settings", lambda *_: TINY)
    monkeypatch.setattr(chain, "refinement_settings", lambda *_: refinement)
    return saved(tmp_path / "models/plain", without=OF_MASKS, title="Plain")


def test_an_estimate_times_a_step_of_the_guess_and_steps_that_teach_masks(folder, monkeypatch):
    guessed = []
    monkeypatch.setattr(AlphaTrainer, "_start_background", lambda trainer: pytest.fail("a third of a usual step"))

    def guess(trainer, cue, steps):
        guessed.append((cue, steps))
        sleep(0.3)

    monkeypatch.setattr(AlphaTrainer, "start_from_difference", guess)
    assert learning.estimate_seconds("plain", "cpu")["quick"] > 0.3 * START_STEPS
    assert guessed == [("corners", 1)]


def test_the_parts_of_a_stage_follow_one_another():
    stage, told = chain.mask_stages("quick", OF_MASKS, None, None, TINY, None)[0], []
    stage = dataclasses.replace(stage, seconds={training_time.GUESSING: 2.0, STEPPING: 7.0, "more": 1.0})
    tell = chain._overall([stage, stage], 1, lambda *values: told.append(values))
    for part in (STEPPING, "more"):
        tell(1, 2, part)
    assert told == [(100 + 20 + 35, 200, "masks"), (100 + 90 + 5, 200, "masks")]


def test_the_full_chain_goes_on_where_it_was_stopped(folder, tmp_path):
    token, told, said = CancelToken(), [], []

    def stop(done, total, message):
        if message == "photographs":
            token.cancel()

    options = {"quality": "full", "device": "cpu", "report": said.append}
    assert learning.learn_masks("plain", progress=stop, cancel=token, **options) is None
    stages = ["Stage 1 of 5: masks.", "Stage 2 of 5: masks of a second seed.", "Stage 3 of 5: photographs."]
    assert [line for line in said if line.startswith("Stage")] == stages
    assert "alpha.safetensors" not in read_config(folder).files
    said.clear()
    assert cli.main(["learn-masks", "plain", "--quality", "full", "--estimate", "--device", "cpu"]) == 0
    learning.learn_masks("plain", progress=lambda *step: told.append(step), **options)
    assert [line[:7] for line in said if line.startswith("Stage")] == ["Stage 3", "Stage 4", "Stage 5"]
    done, totals = [step[0] for step in told], {step[1] for step in told}
    assert done == sorted(done) and totals == {done[-1]}, "one progress for all stages, to its end"
    assert {step[2] for step in told} == {"photographs", "refined masks", "photographs again"}
    bundle = load_bundle(folder, with_discriminator=True)
    assert bundle.alpha is not None and bundle.student is not None and bundle.discriminator is not None
    card = (folder / "README.md").read_text()
    assert "two seeds" in card and "left out by curation" in card
    with Image.open(folder / learning.WORST_MASKS) as sheet:
        assert sheet.size == (9 * 32, 4 * 32)
    assert not list((tmp_path / "cache/labels4free/masks").glob("plain.*/*"))


def test_quick_measures_too_and_keeps_what_is_not_its_own(folder):
    (folder / learning.WORST_MASKS).write_text("mine")
    assert learning.learn_masks("plain", device="cpu", report=lambda line: None) == folder
    card = (folder / "README.md").read_text()
    assert "measured without true ones on 120 generated pictures" in card and "two seeds" not in card
    assert (folder / learning.WORST_MASKS).read_text() == "mine"
    assert "quick, full" in refusal(learning.learn_masks, "plain", device="cpu", quality="best", again=True)


class Fixed(torch.nn.Module):
    """Stands for an alpha network: a square of a side, everywhere as sure."""

    def __init__(self, side: int, sure: float = 1.0):
        super().__init__()
        self.mask = torch.full((1, 1, 32, 32), 1 - sure)
        self.mask[:, :, :side, :side] = sure

    def forward(self, features):
        return self.mask.expand(len(features[0]), -1, -1, -1)


def test_what_is_measured_without_truth():
    def measured(alpha, *others, count=2):
        bundle = dataclasses.replace(tiny_bundle(), alpha=alpha)
        return measure_masks(bundle, torch.device("cpu"), *others, count=count)

    quality, _ = measured(Fixed(16), (Fixed(16), Fixed(8)), count=6)
    assert (quality.pictures, quality.area, quality.area_spread) == (6, 0.25, 0.0)
    assert (quality.softness, quality.dropped, quality.agreement) == (0.0, 0.0, 0.25)
    quality, sheet = measured(Fixed(16, 0.9), count=6)
    assert quality.softness == pytest.approx(0.1) and quality.agreement is None
    assert sheet.size == (9 * 32, 2 * 32)
    assert quality.doubt == "" and quality.spill == pytest.approx(0.1 + 0.8 / 4, abs=0.1)
    assert "background" in measured(Fixed(32))[0].doubt
    nothing, _ = measured(Fixed(0))
    assert (nothing.dropped, nothing.spill, nothing.doubt) == (1.0, 0.0, "")
