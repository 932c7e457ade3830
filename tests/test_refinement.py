"""Masks that learn from the class's photo segmenter."""

import dataclasses

import pytest
import torch
from alike import assert_same_weights
from bundles import red_finder, tiny_bundle
from sentences import refusal
from shell import assert_refused, run

from l4f_plugin.bundles.bundle import load_bundle, save_bundle
from l4f_plugin.networks import StudentConfig
from l4f_plugin.training import loop
from l4f_plugin.training.refinement import RefinementSettings, RefinementTrainer
from l4f_plugin.training.runs import refine_alpha

TINY = RefinementSettings(steps=40, batch_size=4, learning_rate=2e-2, feature_dtype="float32")


def bundle_with_student(resolution: int = 32, **described):
    return tiny_bundle(student=red_finder(resolution), **described)


def trainer(bundle, settings=TINY) -> RefinementTrainer:
    return RefinementTrainer(settings, bundle)


@torch.no_grad()
def distance(bundle) -> float:
    """Between the masks and the segmenter's, of pictures that no step has seen."""
    z = torch.randn(16, 6, generator=torch.Generator().manual_seed(99))
    drawn = bundle.generator.synthesis(bundle.generator.truncate(bundle.generator.mapping(z), 1.0), "stored")
    wanted = torch.sigmoid(bundle.student(((drawn.image + 1) / 2).clamp(0, 1)))
    return (bundle.alpha(drawn.features) - wanted).abs().mean().item()


def test_masks_come_nearer_to_the_segmenter_and_nothing_else_changes(tmp_path):
    save_bundle(bundle_with_student(), tmp_path / "before", dtype=torch.float32)
    assert refine_alpha(tmp_path / "before", tmp_path / "run", TINY, report=lambda line: None)
    before = load_bundle(tmp_path / "before", with_discriminator=True)
    after = load_bundle(tmp_path / "run" / "bundle", with_discriminator=True)
    assert distance(after) < 0.8 * distance(before)
    assert not torch.equal(before.alpha.output.weight, after.alpha.output.weight)
    for name in ("generator", "student", "background", "discriminator"):
        assert_same_weights(getattr(before, name).half(), getattr(after, name).half())
    assert list(tmp_path.glob("run/sample_*.png"))


def test_a_stopped_run_goes_on_to_the_same_weights(one_thread, tmp_path):
    whole, first, second = (trainer(bundle_with_student()) for _ in range(3))
    loop.train(whole, tmp_path / "whole", 24)
    loop.train(first, tmp_path / "parts", 12)
    assert loop.resume(second, tmp_path / "parts")
    loop.train(second, tmp_path / "parts", 24)
    assert_same_weights(whole.averaged, second.averaged)
    assert whole.rounds == second.rounds == 6
    other = trainer(bundle_with_student(), dataclasses.replace(TINY, networks_sha256="of other networks"))
    assert "networks_sha256" in refusal(loop.resume, other, tmp_path / "parts")


def test_pictures_are_compared_as_the_segmenter_knows_them():
    refined = trainer(bundle_with_student(resolution=12, crop=(4, 28, 0, 32)))
    images = torch.arange(32.0 * 32).view(1, 1, 32, 32)
    seen = refined._as_the_student_sees(images)
    assert refined.student.config == StudentConfig((2, 2), 12)
    assert seen.shape == (1, 1, 8, 10), "24 x 32 px, averaged by 3"
    assert seen[0, 0, 0, 0] == images[0, 0, 4:7, 0:3].mean()
    assert refined.step().keys() == {"cross_entropy", "alpha_error"}


@pytest.mark.parametrize("missing", ["alpha", "student"])
def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path, capsys, missing):
    save_bundle(dataclasses.replace(bundle_with_student(), **{missing: None}), tmp_path / "tiny")
    said = run(capsys, "train refine", tmp_path / "tiny", "--out", tmp_path / "run", "--steps 2")
    assert_refused(said, f"l4f train {missing}")
    assert not (tmp_path / "run").exists()


def test_the_command_line_refines(tmp_path, capsys):
    save_bundle(bundle_with_student(), tmp_path / "tiny")
    options = ["--out", tmp_path / "run", "--steps 2 --batch-size 2 --dtype float32"]
    said = run(capsys, "train refine", tmp_path / "tiny", *options)
    assert said.code == 0 and str(tmp_path / "run" / "bundle") in said.out
    assert load_bundle(tmp_path / "run" / "bundle").student is not None
