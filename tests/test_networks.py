"""The networks' own promises.

That they compute the published functions is held in test_conversion.py and test_paper_recipe.py; that neither batch nor
precision changes what they draw, in test_pipeline.py.
"""

import pytest
import torch

from l4f_plugin.errors import Cancelled
from l4f_plugin.networks import AlphaNetwork, Generator, GeneratorConfig
from l4f_plugin.networks.discriminator import minibatch_deviation
from l4f_plugin.networks.generator import StyledConvolution, mix_styles
from l4f_plugin.networks.ops import fir_filter

CHANNELS = {4: 8, 8: 6, 16: 5, 32: 4}


@pytest.fixture()
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(32, CHANNELS, latent_dim=6, style_dim=7, mapping_layers=2)).eval()
    network.latent_avg.normal_()
    for convolution in network.synthesis.convolutions:
        torch.nn.init.constant_(convolution.noise_strength, 0.5)
        torch.nn.init.normal_(convolution.bias)
    return network.requires_grad_(False)


def z_of(count: int) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("switch", ["first_convolution", "constant"])
def test_a_mixed_gate_equals_two_runs(switch):
    torch.manual_seed(0)
    config = GeneratorConfig(32, CHANNELS, latent_dim=6, style_dim=7, mapping_layers=2, object_switch=switch)
    synthesis = Generator(config).requires_grad_(False).synthesis
    w_plus, replacement = torch.randn(2, config.num_styles, 7), torch.randn(1, 8, 4, 4)
    for background_tensor in (None, replacement):
        mixed = synthesis(w_plus, "stored", torch.tensor([1.0, 0.0]), background_tensor)
        subject = synthesis(w_plus[:1])
        background = synthesis(w_plus[1:], "stored", torch.zeros(1), background_tensor)
        torch.testing.assert_close(mixed.image, torch.cat([subject.image, background.image]), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(mixed.image[1:], synthesis(w_plus[1:]).image, atol=1e-2)


def test_noise_modes(generator):
    w_plus = generator.truncate(generator.mapping(z_of(2)))
    synthesis = generator.synthesis
    stored, again = synthesis(w_plus, "stored").image, synthesis(w_plus, "stored").image
    torch.testing.assert_close(stored, again)
    zeros = [torch.zeros(1, 1, r, r) for r in generator.config.convolution_resolutions]
    torch.testing.assert_close(synthesis(w_plus, "none").image, synthesis(w_plus, zeros).image)
    with pytest.raises(ValueError, match="7 tensors"):
        synthesis(w_plus, zeros[:-1])
    with pytest.raises(ValueError, match="'loud'"):
        synthesis(w_plus, "loud")


def test_truncation_pulls_to_the_mean_below_the_cutoff_only(generator):
    w = generator.mapping(z_of(2))
    assert torch.equal(generator.truncate(w, 1.0), w.unsqueeze(1).repeat(1, generator.config.num_styles, 1))
    mean = generator.latent_avg.expand(2, generator.config.num_styles, -1)
    torch.testing.assert_close(generator.truncate(w, 0.0), mean)
    cut = generator.truncate(w, 0.0, truncation_cutoff=3)
    torch.testing.assert_close(cut[:, :3], mean[:, :3])
    assert torch.equal(cut[:, 3], w)


def test_style_mixing_takes_layers_from_both():
    first, second = torch.zeros(3, 4, 2), torch.ones(3, 4, 2)
    mixed = mix_styles(first, second, torch.tensor([0, 1, 4]))[:, :, 0]
    assert mixed.tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]


def test_the_mean_latent_is_that_of_the_mapping_and_repeats(generator):
    estimate = generator.estimate_latent_avg(samples=25_000, seed=1)
    torch.testing.assert_close(estimate, generator.estimate_latent_avg(samples=25_000, seed=1))
    other = generator.mapping(torch.randn(25_000, 6)).mean(dim=0)
    torch.testing.assert_close(estimate, other, atol=0.05, rtol=0.05)


def test_clamped_maps_stay_within_their_bound():
    torch.manual_seed(0)
    config = GeneratorConfig(32, CHANNELS, latent_dim=6, style_dim=7, mapping_layers=2, conv_clamp=0.5)
    output = Generator(config).synthesis(torch.randn(2, config.num_styles, 7) * 9)
    assert max(feature.abs().max() for feature in output.features) == 0.5


@pytest.mark.parametrize(
    "channels, side, upsample, samples",  # which are drawn in three parts
    [(4, 32, True, 9), (4, 64, False, 9), pytest.param(128, 64, False, 3, id="by Winograd's way, one by one")],
)
@pytest.mark.parametrize("own_noise", [False, True])
def test_large_maps_are_drawn_in_parts_with_a_look_before_each(channels, side, upsample, samples, own_noise):
    torch.manual_seed(0)
    convolution = StyledConvolution(channels, channels, 8, side * (1 + upsample), upsample, clamp=1.5)
    convolution.noise_strength.data.fill_(0.5)
    x, w = torch.randn(samples, channels, side, side), torch.randn(samples, 8)
    x = x.contiguous(memory_format=torch.channels_last)
    noise = torch.randn(samples if own_noise else 1, 1, side * (1 + upsample), side * (1 + upsample))
    whole = convolution(x, w, noise)  # all at once, for the sake of gradients
    looks = []
    with torch.no_grad():
        in_parts = convolution(x, w, noise, lambda: looks.append(1))
    assert len(looks) == 1 + 3
    assert in_parts.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(in_parts, whole.detach(), atol=1e-4, rtol=1e-4)

    def stop_at_the_third():
        looks.append(1)
        if len(looks) == 3:
            raise Cancelled

    looks.clear()
    with torch.no_grad(), pytest.raises(Cancelled):
        convolution(x, w, noise, stop_at_the_third)


def test_a_picture_is_looked_at_before_each_convolution(generator):
    looks, config = [], generator.config
    generator.synthesis(torch.randn(1, config.num_styles, config.style_dim), on_step=lambda: looks.append(1))
    assert len(looks) == len(config.convolution_resolutions)


def test_features_are_the_top_six_resolutions():
    assert GeneratorConfig(32, CHANNELS).feature_channels == (6, 6, 5, 5, 4, 4)
    large = {4 << i: 8 for i in range(9)}
    assert GeneratorConfig(1024, large).feature_resolutions == [32, 64, 128, 256, 512, 1024]


def test_published_sizes_of_the_alpha_network():
    for resolution, expected in {1024: 9379, 512: 12259, 256: 14947}.items():
        channels = {4 << i: min(512, 32768 // (4 << i)) for i in range(9) if (4 << i) <= resolution}
        network = AlphaNetwork(GeneratorConfig(resolution, channels).feature_channels)
        assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize(
    ("resolution", "switch", "words"),
    [(48, "constant", "power of two"), (64, "constant", "resolutions"), (32, "light", "object_switch")],
)
def test_configs_refuse_impossible_shapes(resolution, switch, words):
    with pytest.raises(ValueError, match=words):
        GeneratorConfig(resolution, CHANNELS, object_switch=switch)


def test_the_filter_has_the_gradient_of_the_convolution_it_stands_for():
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        for padding in (1, 2):
            assert check(lambda value, pad=padding: fir_filter(value, padding=pad, gain=4.0), x)


def test_the_deviation_groups_by_the_largest_divisor_up_to_four():
    for samples, group in {1: 1, 2: 2, 3: 3, 4: 4, 6: 3, 7: 1, 8: 4}.items():
        x, stride = torch.randn(samples, 2, 4, 4), samples // group
        variances = [x[sample % stride :: stride].var(dim=0, unbiased=False) for sample in range(samples)]
        expected = torch.stack([(variance + 1e-8).sqrt().mean() for variance in variances])
        torch.testing.assert_close(minibatch_deviation(x)[:, 0, 0, 0], expected)
