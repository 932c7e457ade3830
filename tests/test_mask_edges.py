"""Masks that end where the colours of their own pictures do."""

import dataclasses

import pytest
import torch
import torch.nn.functional as functional
from bundles import tiny_bundle
from test_collapse import discs
from test_models_commands import TINY

from l4f_plugin.bundles.bundle import load_bundle, save_bundle
from l4f_plugin.training import alpha_training
from l4f_plugin.training.guessing import colour_masks
from l4f_plugin.training.runs import alpha_trainer, train_alpha

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("change", ["too small", "too large"])
def test_colours_move_an_edge_to_where_it_is_in_the_picture(change):
    images, right = discs(side=64)
    grown = functional.max_pool2d(right if change == "too large" else 1 - right, 9, stride=1, padding=4)
    wrong = grown if change == "too large" else 1 - grown
    found = (colour_masks(images, wrong) > 0.5).float()
    assert found.shape == right.shape and found.dtype == torch.float32
    assert (found - right).abs().mean() < 0.2 * (wrong - right).abs().mean()


def test_masks_of_large_pictures_are_smaller():
    images, masks = discs(1, side=256)
    found = colour_masks(images, masks)
    assert found.shape == (1, 1, 192, 192)
    assert (found - functional.adaptive_avg_pool2d(masks, 192)).abs().mean() < 0.01


@pytest.mark.parametrize("said", [0.0, 1.0])
def test_masks_learn_what_colours_say_and_their_average_is_that(monkeypatch, said):
    monkeypatch.setattr(alpha_training, "colour_masks", lambda images, coarse: torch.full((len(images), 1, 8, 8), said))
    trainer = alpha_trainer(tiny_bundle(), dataclasses.replace(TINY, batch_size=8, colour_steps=60))
    trainer.end_at_colours()
    subject, _, _ = trainer._draw_subjects()
    with torch.no_grad():
        assert (trainer.averaged(subject.features) - said).abs().mean() < 0.05
    for name, value in trainer.alpha.state_dict().items():
        assert torch.equal(value, trainer.averaged.state_dict()[name])


def test_a_stop_within_the_last_steps_leaves_what_goes_on_to_the_same_masks(tmp_path):
    save_bundle(tiny_bundle(), tmp_path / "tiny")
    settings = dataclasses.replace(TINY, colour_steps=4)
    asked = iter(range(100))

    def stop_late() -> bool:
        begun = (tmp_path / "stopped/attempt1-corners/state.safetensors").exists()
        return begun and next(asked) > settings.steps + 2

    said = {"report": lambda line: None, "bar": False}
    assert not train_alpha(tmp_path / "tiny", tmp_path / "stopped", settings, cancelled=stop_late, **said)
    assert not (tmp_path / "stopped/bundle").exists()
    for name in ("stopped", "whole"):
        assert train_alpha(tmp_path / "tiny", tmp_path / name, settings, **said)
    stopped, whole = (load_bundle(tmp_path / name / "bundle").alpha.state_dict() for name in ("stopped", "whole"))
    for name, value in whole.items():
        torch.testing.assert_close(stopped[name], value, atol=1e-6, rtol=0)
