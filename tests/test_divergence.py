"""Trainings that leave the finite numbers: stopped in that step, with the state from before it kept."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from alike import assert_same_weights
from bundles import red_finder, tiny_bundle
from pixels import noise_in
from sentences import refusal
from test_training import TINY

from l4f_plugin import cli
from l4f_plugin.bundles.training_state import load_training_state, save_training_state
from l4f_plugin.training import loop
from l4f_plugin.training.alpha_training import AlphaTrainer
from l4f_plugin.training.cut_pictures import CutPictures
from l4f_plugin.training.generator_training import GeneratorTrainer
from l4f_plugin.training.pictures import PictureFolder
from l4f_plugin.training.recipes import AlphaSettings
from l4f_plugin.training.refinement import RefinementSettings, RefinementTrainer
from l4f_plugin.training.student import StudentSettings, StudentTrainer

KINDS = ("generator", "alpha", "student", "refinement")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return noise_in(tmp_path_factory.mktemp("noise") / "pictures", 4, 32, 32, 3)


@pytest.fixture
def make(pictures, tmp_path):
    """Makes the trainer of a kind: its settings, with those changed that it has."""
    bundle = tiny_bundle()

    def made(kind: str, **changes):
        def settings(plain):
            known = {name: value for name, value in changes.items() if hasattr(plain, name)}
            return dataclasses.replace(plain, **known)

        if kind == "generator":
            return GeneratorTrainer(settings(TINY), PictureFolder(pictures, 32, tmp_path / "cache"))
        own = dataclasses.replace(bundle, generator=copy.deepcopy(bundle.generator), discriminator=None)
        if kind == "alpha":
            torch.manual_seed(0)
            return AlphaTrainer(settings(AlphaSettings(steps=9, batch_size=4, feature_dtype="float32")), own)
        if kind == "student":
            parts = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 7), dtype=np.uint8)
            plain = StudentSettings(steps=9, batch_size=4, resolution=32, channels=(4, 4), feature_dtype="float32")
            return StudentTrainer(settings(plain), CutPictures(parts))
        plain = RefinementSettings(steps=9, batch_size=4, feature_dtype="float32")
        return RefinementTrainer(settings(plain), dataclasses.replace(own, student=red_finder()))

    return made


def state_in(folder):
    tensors, metadata = load_training_state(folder / loop.STATE_FILE)
    return tensors, loop.unflatten_state(tensors, metadata["state"])


def learned(trainer) -> torch.nn.Module:
    return getattr(trainer, {GeneratorTrainer: "generator", StudentTrainer: "network"}.get(type(trainer), "alpha"))


def spoil(trainer, what: str, at: int) -> None:
    """Makes a weight, a gradient or a loss of step `at` NaN or infinite."""
    step, network = trainer.step, learned(trainer)
    parameter = next(network.parameters())

    def spoiled_step():
        if trainer.rounds == at and what == "weight":
            with torch.no_grad():
                parameter[0] = float("nan")
        if trainer.rounds == at and what == "gradient":
            parameter.register_hook(lambda gradient: gradient * float("inf"))
        values = step()
        return values | {"loss": float("nan")} if what == "loss" and trainer.rounds == at + 1 else values

    trainer.step = spoiled_step


@pytest.mark.parametrize("what", ["weight", "gradient", "loss"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_diverges_stops_in_that_step_and_goes_on_from_the_state_before(make, tmp_path, kind, what):
    run, trainer = tmp_path / "run", make(kind)
    spoil(trainer, what, at=2)
    said = refusal(loop.train, trainer, run, 36, loop.Watch(save_seconds=0))
    assert trainer.rounds <= 3 and "--learning-rate" in said and str(run) in said
    tensors, state = state_in(run)
    assert state["rounds"] == 2
    assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())
    other = make(kind, seed=5, learning_rate=1e-6)
    assert "another seed" in refusal(loop.resume, other, run), "only what helps may change"
    calmer = make(kind, learning_rate=1e-6, r1_weight=20.0)
    assert loop.resume(calmer, run) and calmer.rounds == 2
    assert loop.train(calmer, run, 36) and calmer.rounds == 9
    assert state_in(run)[1]["rounds"] == 9
    assert "learning_rate" in refusal(loop.resume, make(kind, learning_rate=1e-3 / 7), run), "it has settled"


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_may_be_the_one(make, tmp_path, kind):
    trainer = make(kind, learning_rate=1e30, discriminator_learning_rate=1e30)
    before = {name: value.clone() for name, value in learned(trainer).state_dict().items()}
    assert "diverged" in refusal(loop.train, trainer, tmp_path, 36)
    assert trainer.rounds < 9
    calmer = make(kind)
    assert loop.resume(calmer, tmp_path) and calmer.rounds == 0
    assert_same_weights(before, learned(calmer))


@pytest.mark.parametrize("kind", ["generator", "alpha"])
def test_a_resumed_run_learns_at_the_rate_that_is_asked_for(make, tmp_path, kind):
    trainer = make(kind)
    spoil(trainer, "loss", at=1)
    refusal(loop.train, trainer, tmp_path, 36, loop.Watch(save_seconds=0))
    calmer, fresh = make(kind, learning_rate=1e-6), make(kind, learning_rate=1e-6)
    loop.resume(calmer, tmp_path)
    optimizer = f"{kind}_optimizer"
    rates = [[group["lr"] for group in getattr(made, optimizer).param_groups] for made in (calmer, fresh)]
    assert rates[0] == rates[1] and getattr(calmer, optimizer).state_dict()["state"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_not_finite_is_neither_written_nor_gone_on_from(make, tmp_path, kind):
    trainer = make(kind)
    loop.train(trainer, tmp_path, 4)
    before = (tmp_path / loop.STATE_FILE).read_bytes()
    with torch.no_grad():
        next(learned(trainer).parameters()).fill_(float("inf"))
    with pytest.raises(loop.Diverged):
        loop.save(trainer, tmp_path)
    assert (tmp_path / loop.STATE_FILE).read_bytes() == before
    tensors, metadata = load_training_state(tmp_path / loop.STATE_FILE)  # as earlier versions wrote it
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    save_training_state(tmp_path / loop.STATE_FILE, tensors | {name: tensors[name] * float("nan")}, metadata)
    assert "not finite" in refusal(loop.resume, make(kind), tmp_path)


def test_the_command_says_what_to_change(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = f"train generator {pictures} --out {tmp_path / 'r'} --resolution 32 --channel-base 512 --channel-max 16"
    arguments = f"{line} --batch-size 4 --pictures 12 --device cpu".split()
    for option, wrong in (("--learning-rate", "nan"), ("--r1-weight", "-1"), ("--seed", "1" * 20)):
        assert cli.main([*arguments, option, wrong]) == 2
        assert "must be a" in capsys.readouterr().err and not (tmp_path / "r").exists()
    assert cli.main([*arguments, "--learning-rate", "1e30"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "diverged" in said and "a lower learning rate" in said
    assert not (tmp_path / "r/bundle").exists()
    assert cli.main(arguments) == 0
    assert (tmp_path / "r/bundle/config.json").is_file()
