"""NVIDIA's StyleGAN2 pickles: the golden numbers, every protocol, refusals in words, memory."""

import os
import sys
from pathlib import Path

import numpy as np
import nvidia_files
import pytest
import torch
from bundles import tiny_bundle
from sentences import refusal
from shell import ended, start
from test_conversion import refused

from l4f_plugin.bundles.bundle import Bundle, load_bundle
from l4f_plugin.convert import child_process
from l4f_plugin.convert.child_process import convert_in_child
from l4f_plugin.convert.conversion import convert
from l4f_plugin.errors import Cancelled
from l4f_plugin.jobs import CancelToken
from l4f_plugin.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

GOLDENS = Path(__file__).parent / "data" / "goldens"
TOLERANCE = 1e-4
ROOTS = {"tensorflow": nvidia_files.tensorflow_root, "pytorch": nvidia_files.pytorch_root}


def original() -> Bundle:
    """A tiny class whose layers are all at work: bounds that bite, noise, biases."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        channels = {4: 8, 8: 6, 16: 5, 32: 4}
        generator = Generator(GeneratorConfig(32, channels, 6, 7, 2, conv_clamp=1.5)).eval()
        discriminator = Discriminator(DiscriminatorConfig(32, channels, conv_clamp=1.5)).eval()
        for network in (generator, discriminator):
            for name, parameter in network.named_parameters():
                if name.endswith(("bias", "strength")):
                    torch.nn.init.normal_(parameter, std=0.3)
        generator.latent_avg.normal_()
    return Bundle(tiny_bundle().config, generator, discriminator=discriminator)


@pytest.fixture
def roots():
    bundle = original()
    return {name: root(bundle.generator, bundle.discriminator) for name, root in ROOTS.items()}


def converted(source: Path, **options) -> Bundle:
    convert(source, source.parent / "bundle", **options)
    return load_bundle(source.parent / "bundle", with_discriminator=True)


def test_the_golden_pickle_agrees(tmp_path):
    expected = np.load(GOLDENS / "stylegan2_tf_tiny_expected.npz", allow_pickle=False)
    convert(GOLDENS / "stylegan2_tf_tiny.pkl", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle", with_discriminator=True)
    generator, psi = bundle.generator, float(expected["truncation_psi"])
    with torch.inference_mode():
        w_plus = generator.truncate(generator.mapping(torch.from_numpy(expected["z"])), psi)
        image = generator.synthesis(w_plus, noise="stored").image
        found = {"w": w_plus[:, 0], "image": image, "discriminator_logits": bundle.discriminator(image)}
    for name, values in found.items():
        difference = np.abs(values.numpy() - expected[name]).max()
        assert values.shape == expected[name].shape
        assert difference <= TOLERANCE * np.abs(expected[name]).max(), f"{name}: {difference}"
    assert bundle.alpha is None and psi == pytest.approx(0.7)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", ROOTS)
def test_networks_come_through_every_protocol(tmp_path, monkeypatch, roots, layout, protocol):
    monkeypatch.chdir(tmp_path)
    # the name says nothing, the content does
    bundle = converted(nvidia_files.write(roots[layout], tmp_path / "source.pt", protocol))
    expected = original()
    assert bundle.generator.config == expected.generator.config
    assert bundle.discriminator.config == expected.discriminator.config
    assert torch.equal(bundle.generator.latent_avg, expected.generator.latent_avg)
    for ours, theirs in ((bundle.generator, expected.generator), (bundle.discriminator, expected.discriminator)):
        for name, tensor in theirs.state_dict().items():
            # the TensorFlow layout counts style biases from one, which rounds
            tolerance = 1e-6 if layout == "tensorflow" and name.endswith("modulation.bias") else 0
            assert (ours.state_dict()[name] - tensor).abs().max() <= tolerance, name
    assert not (tmp_path / nvidia_files.CANARY).exists()


def test_names_of_numpy_1_and_2_are_read_alike(tmp_path, roots):
    source = nvidia_files.write(roots["tensorflow"], tmp_path / "source.pkl", 3)
    content = source.read_bytes()
    assert b"cnumpy._core.multiarray\n" in content or b"cnumpy.core.multiarray\n" in content
    older = content.replace(b"cnumpy._core.", b"cnumpy.core.")
    for written in (older, older.replace(b"cnumpy.core.", b"cnumpy._core.")):
        source.write_bytes(written)
        assert converted(source).generator.config.resolution == 32


def test_a_fortran_ordered_array_is_read_in_its_order(tmp_path, roots):
    dense = dict(roots["tensorflow"][2].components["mapping"].variables)
    before = dense["Dense0/weight"]
    dense["Dense0/weight"] = np.asfortranarray(before)
    roots["tensorflow"][2].components["mapping"].variables = list(dense.items())
    bundle = converted(nvidia_files.write(roots["tensorflow"], tmp_path / "source.pkl"))
    assert np.array_equal(bundle.generator.mapping.layers[0].weight.detach().numpy(), before.T)


def test_numbers_in_half_and_double_precision_are_read(tmp_path, roots):
    variables = roots["tensorflow"][2].components["synthesis"].variables
    for kind, place in ((np.float16, 0), (np.float64, 1)):
        variables[place] = (variables[place][0], variables[place][1].astype(kind))
    bundle = converted(nvidia_files.write(roots["tensorflow"], tmp_path / "source.pkl"))
    assert np.array_equal(bundle.generator.synthesis.constant.detach().numpy(), variables[0][1].astype("f4"))


def test_a_network_without_noise_draws_without_noise(tmp_path, roots):
    def silence(module):
        if hasattr(module, "noise_const"):
            del module.noise_const, module.noise_strength
            module.use_noise = False

    nvidia_files.visit(roots["pytorch"], silence)
    for network in roots["tensorflow"]:
        for part in (network, *network.components.values()):
            part.static_kwargs["use_noise"] = False
            part.variables = [pair for pair in part.variables if "noise" not in pair[0]]
    images = []
    for layout, root in roots.items():
        source = nvidia_files.write(root, tmp_path / f"{layout}.pkl")
        generator = converted(source).generator
        w_plus = generator.truncate(torch.ones(1, 7))
        ones = [torch.ones(1, 1, side, side) for side in generator.config.convolution_resolutions]
        with torch.inference_mode():
            images += [generator.synthesis(w_plus, noise=noise).image for noise in ("stored", "none", ones)]
    assert all(torch.allclose(image, images[0], atol=1e-5) for image in images)


def test_a_missing_mean_is_estimated_and_a_missing_discriminator_is_none(tmp_path, roots):
    del roots["pytorch"]["G_ema"].mapping.w_avg
    roots["pytorch"]["D"] = None
    said = []
    bundle = converted(nvidia_files.write(roots["pytorch"], tmp_path / "source.pkl"), report=said.append)
    assert any("Estimating" in line for line in said) and bundle.generator.latent_avg.abs().max() > 0
    assert bundle.discriminator is None


def set_all(root, **settings):
    for network in root:
        for part in (network, *network.components.values()):
            part.static_kwargs.update(settings)


def variable(part, name, value=None):
    """Drops a variable of Gs, or puts another value in its place."""

    def change(root):
        network = root[2] if part is None else root[2].components[part]
        pairs = dict(network.variables)
        pairs.pop(name, None)
        if value is not None:
            pairs[name] = value
        network.variables = list(pairs.items())

    return change


OF_ANOTHER_KIND = [("architecture", "orig"), ("architecture", "resnet"), ("nonlinearity", "relu"), ("num_channels", 1)]
OF_ANOTHER_KIND += [("mapping_lrmul", 0.1), ("resample_kernel", [1, 2, 1]), ("normalize_latents", False)]
NO_NUMBERS = [np.zeros(7, kind) for kind in (object, "U3", [("a", "f4")])]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: set_all(root, label_size=10), "conditional"),
        *((lambda root, one=one: set_all(root, **dict([one])), f"{one[0]} {one[1]}") for one in OF_ANOTHER_KIND),
        (lambda root: set_all(root, conv_clamp="x"), "conv_clamp"),
        (lambda root: set_all(root, conv_clamp=-1), "conv_clamp"),
        (lambda root: root[2].components.pop("mapping"), "without a mapping network"),
        (lambda root: root[2].__dict__.update(components=None), "without a mapping network"),
        (lambda root: root[2].__dict__.update(static_kwargs=7), "static_kwargs"),
        (lambda root: root[2].__dict__.update(variables=None), "variables"),
        (lambda root: root[2].variables.append("x"), "variables"),
        (variable(None, "lod", np.float32(2)), "holds lod"),
        (variable(None, "dlatent_avg", np.zeros(9, np.float32)), "mean latent"),
        (variable("synthesis", "4x4/Conv/bias"), "4x4/Conv/bias is missing"),
        (variable("synthesis", "8x8/Skip/weight", np.zeros((1, 1, 8, 6), np.float32)), "8x8/Skip/weight"),
        (variable("synthesis", "noise3", np.zeros((1, 1, 4, 4), np.float32)), "noise3 with shape"),
        (variable("mapping", "Dense0/bias", np.full(7, np.nan, np.float32)), "no finite numbers"),
        (variable("mapping", "Dense0/bias", np.zeros(7, np.int32)), "no finite numbers"),
        (variable("mapping", "Dense0/bias", np.zeros(7, ">f4")), "byte order"),
        *((variable("mapping", "Dense0/bias", value), "something else than plain numbers") for value in NO_NUMBERS),
    ],
)
def test_tensorflow_networks_of_another_kind_are_refused(tmp_path, roots, change, expected):
    change(roots["tensorflow"])
    assert expected in refused(nvidia_files.write(roots["tensorflow"], tmp_path / "source.pkl"))


def attribute(name, value):
    def change(root):
        nvidia_files.visit(root, lambda module: name in vars(module) and setattr(module, name, value))

    return change


STRANGE = {"architecture": "orig", "activation": "relu", "bias_gain": 5, "img_channels": 1, "up": 4}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (attribute("c_dim", 3), "conditional"),
        *((attribute(name, value), f"{name} {value}") for name, value in STRANGE.items()),
        (attribute("conv_clamp", "x"), "conv_clamp"),
        (lambda root: setattr(root["G_ema"].synthesis.b8.conv0, "conv_clamp", 9.0), "different conv_clamp"),
        (lambda root: root["G_ema"].synthesis.b8.conv0.resample_filter.fill_(1), "low-pass filter"),
        (lambda root: setattr(root["G_ema"].synthesis.b8.conv0, "activation", ["relu"] * 3), "of another kind"),
        # StyleGAN3's own networks have no 4x4 block
        (lambda root: root["G_ema"].synthesis._modules.pop("b4"), "another architecture than StyleGAN2"),
        (lambda root: root.pop("G_ema"), "no generator"),
        (lambda root: root.update(G_ema=5), "no generator"),
    ],
)
def test_pytorch_networks_of_another_kind_are_refused(tmp_path, roots, change, expected):
    change(roots["pytorch"])
    assert expected in refused(nvidia_files.write(roots["pytorch"], tmp_path / "source.pkl"))


@pytest.mark.parametrize(
    ("layout", "change", "expected"),
    [
        ("pytorch", lambda root: setattr(root["D"].b4.mbstd, "group_size", 8), "group_size 8"),
        ("pytorch", lambda root: setattr(root["D"].b8.conv0, "conv_clamp", 9.0), "different conv_clamp"),
        ("pytorch", lambda root: setattr(root["D"].b8, "architecture", "skip"), "architecture skip"),
        ("pytorch", lambda root: root.update(D=root["G"]), "group_size None"),
        ("tensorflow", lambda root: root[1].static_kwargs.update(mbstd_group_size=8), "mbstd_group_size 8"),
        ("tensorflow", lambda root: root[1].static_kwargs.pop("mbstd_group_size"), "mbstd_group_size None"),
        ("tensorflow", lambda root: root[1].static_kwargs.update(architecture="skip"), "architecture skip"),
    ],
)
def test_discriminators_of_another_kind_are_left_out(tmp_path, roots, layout, change, expected):
    change(roots[layout])
    said = []
    source = nvidia_files.write(roots[layout], tmp_path / "source.pkl")
    assert converted(source, report=said.append).discriminator is None
    assert any(expected in line and "left out" in line for line in said), said


def test_harmless_pickles_of_other_things_are_refused(tmp_path):
    for root in (None, 5, [], {}, (), (1, 2, 3), {"G_ema": {}}, "text"):
        assert "no generator" in refused(nvidia_files.write(root, tmp_path / "source.pkl"))


def test_tensors_that_share_memory_cannot_ask_for_more_than_the_file_holds(tmp_path):
    """A generator whose many large layers are one array, named again and again."""
    wide = Generator(GeneratorConfig(32, {size: 64 for size in (4, 8, 16, 32)}, 6, 7, 2))
    root = nvidia_files.tensorflow_root(wide, original().discriminator)
    shared = np.zeros((3, 3, 64, 64), np.float32)
    for network in (root[0], root[2]):
        part = network.components["synthesis"]
        part.variables = [(name, shared if value.shape == shared.shape else value) for name, value in part.variables]
    source = nvidia_files.write(root, tmp_path / "source.pkl")
    assert "smaller than the generator it describes" in refused(source)


# --- memory, and a process of its own

MEASURE = """
import sys, torch
from pathlib import Path
from l4f_plugin.convert.conversion import convert

def kibibytes(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

before = kibibytes("VmRSS")
convert(Path(sys.argv[1]), Path(sys.argv[2]))
print((kibibytes("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("layout", ROOTS)
def test_memory_stays_below_two_and_a_half_times_the_file(tmp_path, layout):
    channels = {4: 256, 8: 256, 16: 256, 32: 256}
    generator = Generator(GeneratorConfig(32, channels, 64, 64, 2))
    root = ROOTS[layout](generator, Discriminator(DiscriminatorConfig(32, channels)))
    source = nvidia_files.write(root, tmp_path / "source.pkl")
    del generator, root
    assert source.stat().st_size > 50 << 20
    assert int(ended(start(MEASURE, source, tmp_path / "bundle")).out) < 2.5 * source.stat().st_size


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(child_process, "LARGE_BYTES", 0)


def test_another_process_does_the_same(tmp_path, roots, everything_is_large):
    source = nvidia_files.write(roots["tensorflow"], tmp_path / "-odd name.pkl")
    described = {"name": "things", "title": "Th-ings", "licence": "CC0-1.0", "source": "-a test"}
    described |= {"truncation_psi": -0.5, "alpha_threshold": 0.8, "crop": (4, 28, 0, 32)}
    said = []
    apart = convert_in_child(source, tmp_path / "apart", described=described, report=said.append)
    here = convert(source, tmp_path / "here", described=described)
    assert apart == here and [line.split()[0] for line in said] == ["Reading", "Writing"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_killed_process_leaves_nothing_behind(tmp_path, roots, everything_is_large, monkeypatch):
    killer = tmp_path / "killed"
    killer.write_text("#!/bin/sh\nkill -9 $$\n")
    killer.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killer))
    source = nvidia_files.write(roots["tensorflow"], tmp_path / "source.pkl")
    assert "memory" in refusal(convert_in_child, source, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a slow process is a shell script")
def test_conversion_can_be_cancelled(tmp_path, roots, everything_is_large, monkeypatch):
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/number\necho Reading >&2\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    source, cancel = nvidia_files.write(roots["tensorflow"], tmp_path / "source.pkl"), CancelToken()
    with pytest.raises(Cancelled):
        convert_in_child(source, tmp_path / "bundle", report=lambda line: cancel.cancel(), cancel=cancel)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "number").read_text()), 0)
