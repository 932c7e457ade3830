"""Conversion of published checkpoints: the golden numbers, any architecture, and refusals in words."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from alike import assert_same_weights
from bundles import saved, tiny_bundle
from sentences import refusal
from shell import run

from l4f_plugin import cli
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.convert import conversion
from l4f_plugin.convert.checkpoint_files import open_checkpoint
from l4f_plugin.convert.conversion import convert
from l4f_plugin.convert.layouts import StateSource
from l4f_plugin.convert.rosinality import read_generator
from l4f_plugin.networks import Generator, GeneratorConfig

GOLDENS = Path(__file__).parent / "data" / "goldens"
TOLERANCE = 1e-4
FILTER = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


class Golden:
    """A golden generator as a converted bundle, with what is expected of it."""

    def __init__(self, size: int, folder: Path):
        self.expected = dict(np.load(GOLDENS / f"l4f_{size}_expected.npz", allow_pickle=False))
        self.z = torch.from_numpy(self.expected["z"])
        self.psi = float(self.expected["truncation_psi"])
        self.bundles = {}
        for layout in ("repro", "general"):
            target, alpha = folder / layout, GOLDENS / f"l4f_{size}_alpha_{layout}.pt"
            convert(GOLDENS / f"l4f_{size}_generator.pt", target, alpha=alpha)
            self.bundles[layout] = load_bundle(target, with_discriminator=True)
        self.generator = self.bundles["repro"].generator

    def synthesis(self, rows, psi, gate=None):
        generator = self.generator
        w_plus = generator.truncate(generator.mapping(self.z[rows]), psi)
        return generator.synthesis(w_plus, noise="stored", object_gate=gate)

    def agrees(self, name: str, rows, found: torch.Tensor) -> None:
        stride = int(self.expected["stride"]) if found.ndim == 4 else 1
        found = found[..., ::stride, ::stride] if found.ndim == 4 else found
        expected = self.expected[name]
        difference = np.abs(found.numpy() - expected[rows]).max()
        assert found.shape == expected[rows].shape
        assert difference <= TOLERANCE * np.abs(expected).max(), f"{name}: {difference}"


@pytest.fixture(scope="module", params=[256, 512])
def golden(request, tmp_path_factory):
    with torch.inference_mode():
        yield Golden(request.param, tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("rows", [[0, 1], [0], [1], [1, 0, 1], [0, 0, 1, 1, 0]], ids=str)
def test_pictures_backgrounds_and_masks_agree_in_any_batch(golden, rows):
    subject = golden.synthesis(rows, golden.psi)
    golden.agrees("image", rows, subject.image)
    golden.agrees("background", rows, golden.synthesis(rows, 1.0, torch.zeros(len(rows))).image)
    for layout, bundle in golden.bundles.items():
        golden.agrees(f"alpha_{layout}", rows, bundle.alpha(subject.features))


def test_the_discriminator_agrees_at_the_golden_batch(golden):
    image = golden.synthesis([0, 1], golden.psi).image
    golden.agrees("discriminator_logits", [0, 1], golden.bundles["general"].discriminator(image))


def test_the_mean_latent_switch_and_defaults_are_kept(golden):
    assert np.array_equal(golden.generator.latent_avg.numpy(), golden.expected["latent_avg"])
    config = golden.bundles["repro"].config
    switch = "constant" if config.generator.resolution == 512 else "first_convolution"
    assert config.generator.object_switch == switch
    assert config.alpha_threshold == 0.9 and config.licence == "unknown"


def test_a_training_checkpoint_gives_the_network_it_holds(tmp_path):
    convert(GOLDENS / "l4f_256_generator.pt", tmp_path / "b", alpha=GOLDENS / "l4f_256_alpha_training.pt")
    converted = load_bundle(tmp_path / "b").alpha.state_dict()
    with open_checkpoint(GOLDENS / "l4f_256_alpha_training.pt") as root:
        raw = root["bg_extractor_ema"]
        assert torch.equal(converted["output.weight"], raw["module.conv_n.weight"].read())
        assert torch.equal(converted["projections.11.bias"], raw["module.conv12.bias"].read())
        assert torch.equal(converted["merges.3.weight"], raw["module.conv_next4.weight"].read())


# --- any architecture: our weights written in the published layout and read again


def published(generator: Generator) -> dict[str, torch.Tensor]:
    """The state dict of a generator under rosinality's names, filters included."""
    config, state, theirs = generator.config, generator.state_dict(), {}
    theirs["input.input"] = state["synthesis.constant"]
    for layer in range(config.mapping_layers):
        for kind in ("weight", "bias"):
            theirs[f"style.{layer + 1}.{kind}"] = state[f"mapping.layers.{layer}.{kind}"]
    for index in range(len(config.convolution_resolutions)):
        name, ours = f"convs.{index - 1}" if index else "conv1", f"synthesis.convolutions.{index}"
        theirs[f"{name}.conv.weight"] = state[f"{ours}.weight"][None]
        theirs[f"{name}.activate.bias"] = state[f"{ours}.bias"]
        theirs[f"{name}.noise.weight"] = state[f"{ours}.noise_strength"].view(1)
        theirs[f"noises.noise_{index}"] = state[f"{ours}.noise"]
        if index % 2:
            theirs[f"{name}.conv.blur.kernel"] = FILTER * 4
        for kind in ("weight", "bias"):
            theirs[f"{name}.conv.modulation.{kind}"] = state[f"{ours}.modulation.{kind}"]
    for index in range(len(config.resolutions)):
        name, ours = f"to_rgbs.{index - 1}" if index else "to_rgb1", f"synthesis.to_rgb.{index}"
        theirs[f"{name}.conv.weight"] = state[f"{ours}.weight"][None]
        theirs[f"{name}.bias"] = state[f"{ours}.bias"].view(1, 3, 1, 1)
        if index:
            theirs[f"{name}.upsample.kernel"] = FILTER * 4
        for kind in ("weight", "bias"):
            theirs[f"{name}.conv.modulation.{kind}"] = state[f"{ours}.modulation.{kind}"]
    return theirs


@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 1024])
def test_the_architecture_comes_from_the_tensors(resolution):
    torch.manual_seed(resolution)
    sizes = [4 << step for step in range(resolution.bit_length() - 3 + 1) if 4 << step <= resolution]
    shape = GeneratorConfig(
        resolution,
        {size: 1 + (7 * size) % 5 for size in sizes},
        latent_dim=3,
        style_dim=5,
        mapping_layers=1 + resolution % 7,
        object_switch="constant" if resolution == 512 else "first_convolution",
    )
    original = Generator(shape)
    copy = read_generator(StateSource(published(original), "it", "generator", 0))
    assert copy.config == shape
    assert_same_weights(copy, original)


def tiny() -> dict:
    """A checkpoint of a 32 px generator in rosinality's layout."""
    bundle = tiny_bundle()
    return {"g_ema": published(bundle.generator), "latent_avg": bundle.generator.latent_avg}


@pytest.fixture
def save(tmp_path):
    def write(state, name="source.pt", **options) -> Path:
        torch.save(state, tmp_path / name, **options)
        return tmp_path / name

    return write


def refused(source: Path, **options) -> str:
    """The sentence with which a checkpoint is not converted."""
    message = refusal(convert, source, source.parent / "bundle", **options)
    assert not (source.parent / "bundle").exists()
    return message


def test_prefixes_old_files_and_raw_networks_are_understood(save, tmp_path):
    state = tiny()
    expected = tiny_bundle().generator
    prefixed = {f"module.{key}": value for key, value in state["g_ema"].items()}
    raw = {"g": state.pop("g_ema"), "g_optim": {"state": {}}, "args": argparse.Namespace(size=32), **state}
    for name, variant in {"prefixed": {"g_ema": prefixed, **state}, "raw": raw, "bare": raw["g"]}.items():
        source = save(variant, f"{name}.pt", _use_new_zipfile_serialization=name != "raw")
        convert(source, tmp_path / name)
        assert_same_weights(load_bundle(tmp_path / name).generator, expected)


def test_a_missing_mean_latent_is_estimated_with_a_fixed_seed(save, tmp_path):
    state = tiny()
    del state["latent_avg"]
    said = []
    for name in ("first", "second"):
        convert(save(state), tmp_path / name, report=said.append)
    first, second = (load_bundle(tmp_path / name).generator for name in ("first", "second"))
    assert torch.equal(first.latent_avg, second.latent_avg)
    with torch.inference_mode():
        w = first.mapping(torch.randn(100_000, 6, generator=torch.Generator().manual_seed(5)))
    spread = w.std(dim=0) / 100_000**0.5
    assert ((first.latent_avg - w.mean(dim=0)).abs() < 7 * spread + 1e-6).all()
    assert any("100,000" in line for line in said)


def test_missing_noise_maps_are_drawn_the_same_each_time(save, tmp_path):
    state = tiny()
    state["g_ema"] = {key: value for key, value in state["g_ema"].items() if not key.startswith("noises")}
    for name in ("first", "second"):
        convert(save(state), tmp_path / name)
    first, second = (load_bundle(tmp_path / name).generator for name in ("first", "second"))
    assert_same_weights(first, second)
    assert 0.5 < first.synthesis.convolutions[6].noise.std() < 2


def drop(name):
    return lambda state: state["g_ema"].pop(name)


def put(name, value):
    return lambda state: state["g_ema"].update({name: value})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("g_ema"), "no generator"),
        (drop("input.input"), "no generator"),
        (drop("conv1.activate.bias"), "conv1.activate.bias is missing"),
        (drop("style.1.weight"), "style.1.weight is missing"),
        (put("embed.weight", torch.zeros(3, 3)), "embed.weight"),
        *(
            (put("convs.0.conv.blur.kernel", kernel), "another low-pass filter")
            for kernel in (torch.ones(4, 4), torch.zeros(4, 4), FILTER[:2, :2])
        ),
        (put("conv1.conv.weight", torch.zeros(1, 8, 8, 1, 1)), "with shape"),
        (put("conv1.conv.weight", torch.zeros(8)), "impossible shape"),
        (put("style.1.weight", torch.zeros(7, 6).fill_(float("nan"))), "no finite numbers"),
        (put("style.1.weight", torch.zeros(7, 6, dtype=torch.int64)), "no finite numbers"),
        (lambda s: s.update(latent_avg=torch.zeros(9)), "mean latent"),
        (lambda s: s.update(latent_avg="mean"), "mean latent"),
        (lambda s: s.update(d={"final_conv.0.weight": torch.zeros(1)}), "no network of the published layout"),
    ],
)
def test_generators_that_do_not_fit_are_refused(save, change, expected):
    state = tiny()
    change(state)
    assert expected in refused(save(state))


@pytest.mark.parametrize(("levels", "expected"), [(1, "8 px"), (2, "16 px"), (9, "2048 px")])
def test_sizes_out_of_range_are_refused(save, levels, expected):
    state = tiny()["g_ema"]
    state = {key: value for key, value in state.items() if not key.startswith("to_rgbs")}
    state.update({f"to_rgbs.{level}.bias": torch.zeros(1, 3, 1, 1) for level in range(levels)})
    assert expected in refused(save({"g_ema": state}))


@pytest.mark.parametrize("state", [[], 5, {"g_ema": 5}, {"g_ema": {}}, {"g_ema": {"input.input": "x"}}, torch.ones(2)])
def test_other_objects_are_refused(save, state):
    refused(save(state))


def test_the_wrong_files_are_told_apart(save, tmp_path):
    assert "--alpha" in refused(Path(shutil.copy(GOLDENS / "l4f_256_alpha_repro.pt", tmp_path)))
    source = Path(shutil.copy(GOLDENS / "l4f_256_generator.pt", tmp_path))
    assert "no alpha network" in refused(source, alpha=GOLDENS / "l4f_256_generator.pt")
    assert "another generator" in refused(source, alpha=GOLDENS / "l4f_512_alpha_repro.pt")
    assert "does not exist" in refused(source, alpha=tmp_path / "none.pt")
    assert "does not exist" in refused(tmp_path / "none.pt")


def test_an_alpha_network_can_be_put_into_a_bundle(tmp_path):
    convert(GOLDENS / "l4f_256_generator.pt", tmp_path / "plain", described={"licence": "CC0-1.0"})
    before = load_bundle(tmp_path / "plain", with_discriminator=True)
    assert before.alpha is None
    convert(tmp_path / "plain", tmp_path / "masked", alpha=GOLDENS / "l4f_256_alpha_general.pt")
    after = load_bundle(tmp_path / "masked", with_discriminator=True)
    assert after.alpha is not None and after.discriminator is not None
    assert after.config.licence == "CC0-1.0" and after.config.name == "plain"
    assert torch.equal(after.generator.latent_avg, before.generator.latent_avg)


def test_a_learned_background_does_not_outlive_its_alpha_network(save, tmp_path, monkeypatch):
    saved(tmp_path / "own")
    alpha = tiny_bundle(seed=1).alpha
    monkeypatch.setattr(conversion, "read_alpha_network", lambda path, generator: alpha)
    convert(tmp_path / "own", tmp_path / "new", alpha=tmp_path / "some.pt")
    assert set(load_bundle(tmp_path / "new").networks()) == {"generator", "alpha"}


def test_the_command_writes_what_it_is_told(save, tmp_path, capsys):
    target = tmp_path / "cars"
    options = "--name car --title Cars --licence CC0-1.0 --truncation-psi 0.3 --alpha-threshold 0.8 --crop 4 28 0 32"
    answer = run(capsys, "convert", save(tiny()), target, options, ["--source-note", "a test"], "--half --json").data
    config = load_bundle(target).config
    assert answer["folder"] == str(target) and answer["config"]["class_name"] == "car" == config.name
    assert (config.title, config.licence, config.source) == ("Cars", "CC0-1.0", "a test")
    assert (config.truncation_psi, config.alpha_threshold, config.crop) == (0.3, 0.8, (4, 28, 0, 32))
    card = (target / "README.md").read_text()
    assert "# Cars" in card and "cc0-1.0" in card and "a test" in card


WRONG = ["--truncation-psi 7", "--alpha-threshold nan", "--crop 9 3 0 32", ["--name", "No Such"]]


@pytest.mark.parametrize("words", [*WRONG, ["--licence", "two\nlines"]])
def test_descriptions_out_of_bounds_are_refused(save, tmp_path, capsys, words):
    assert run(capsys, "convert", save(tiny()), tmp_path / "bundle", words).code == 2
    assert not (tmp_path / "bundle").exists()


def test_an_unknown_licence_is_pointed_out(save, tmp_path, capsys):
    said = run(capsys, "convert", save(tiny()), tmp_path / "My Class").out
    assert "licence is unknown" in said and "My-class, 32 px, latent 6" in said and "holds generator" in said
    assert load_bundle(tmp_path / "My Class").config.name == "my-class"


def test_a_class_becomes_a_file_that_the_programs_it_came_from_load(tmp_path):
    """Names, shapes and values are those of the file that was converted, which those programs load strictly."""
    source = GOLDENS / "l4f_256_generator.pt"
    convert(source, tmp_path / "class")
    assert cli.main(["convert", str(tmp_path / "class"), str(tmp_path / "again.pt"), "--half"]) == 2
    assert cli.main(["convert", str(tmp_path / "class"), str(tmp_path / "again.pt")]) == 0
    there, again = (torch.load(path, weights_only=True) for path in (source, tmp_path / "again.pt"))
    assert there.keys() == again.keys()
    for network in ("g_ema", "d"):
        assert there[network].keys() == again[network].keys()
        for name, tensor in there[network].items():
            assert again[network][name].shape == tensor.shape, name
            torch.testing.assert_close(again[network][name], tensor, rtol=0, atol=1e-6)
    convert(tmp_path / "again.pt", tmp_path / "back")
    assert_same_weights(*(load_bundle(tmp_path / name).generator for name in ("class", "back")))
