"""A step of the published recipe beside a plain transcription of its formulas, and section 3.2 on golden networks."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import tiny_bundle
from PIL import Image
from shell import assert_refused, run
from torch.nn.functional import relu, softplus

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.convert.conversion import convert
from l4f_plugin.training.alpha_training import AlphaTrainer
from l4f_plugin.training.analysis import analyse, corner_target
from l4f_plugin.training.recipes import PUBLISHED_CLASSES, paper_recipe

GOLDENS = Path(__file__).parent / "data" / "goldens"
BETA, ALPHA_CORRECTION, DISCRIMINATOR_CORRECTION = 0.99, 4 / 5, 16 / 17


class RealPictures:
    """Stands for a folder."""

    def batch(self, size, random):
        return torch.rand(size, 3, 32, 32, generator=random) * 2 - 1


def adam(weights, gradients, rate, correction):
    """The first step of Adam with betas (0, .99), both rate and beta corrected for lazy regularisation."""
    rate, beta = rate * correction, BETA**correction
    moments = [(1 - beta) * gradient**2 / (1 - beta) for gradient in gradients]
    return [w - rate * g / (v.sqrt() + 1e-8) for w, g, v in zip(weights, gradients, moments, strict=True)]


@pytest.mark.parametrize("bias", [-2.0, 0.0, 2.0])  # masks that are too small, undecided, too large
@pytest.mark.parametrize("name", PUBLISHED_CLASSES)
def test_a_step_of_the_published_recipe_is_that_of_its_formulas(name, bias):
    row, bundle = PUBLISHED_CLASSES[name], tiny_bundle()
    settings = paper_recipe(name)
    object.__setattr__(settings, "feature_dtype", "float32")
    trainer = AlphaTrainer(settings, bundle, "cpu", RealPictures())
    trainer.alpha.output.bias.data.fill_(bias)
    alpha, judge = copy.deepcopy(trainer.alpha), copy.deepcopy(trainer.discriminator)
    first_average = [value.clone() for value in trainer.averaged.parameters()]
    generator, random = trainer.generator, torch.Generator().manual_seed(settings.seed)

    def noise():
        return [torch.randn(2, 1, side, side, generator=random) for side in generator.config.convolution_resolutions]

    def composite():
        w = generator.mapping(torch.randn(2, 6, generator=random))
        truncated = generator.latent_avg + row.truncation_psi * (w - generator.latent_avg)
        of_subject, of_background = (
            style[:, None].repeat(1, generator.config.num_styles, 1) for style in (truncated, w)
        )
        subject = generator.synthesis(of_subject, noise())
        background = generator.synthesis(of_background, noise(), torch.zeros(2))
        a = alpha(subject.features)
        return a * subject.image + (1 - a) * background.image, a

    with torch.no_grad():
        fake, _ = composite()
    real = RealPictures().batch(2, random).requires_grad_()
    logits = judge(real)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    loss = softplus(-logits).mean() + softplus(judge(fake)).mean() + 10 / 2 * 16 * slope.square().sum((1, 2, 3)).mean()
    judge_slopes = torch.autograd.grad(loss, list(judge.parameters()))
    taught = adam(list(judge.parameters()), judge_slopes, row.learning_rate, DISCRIMINATOR_CORRECTION)
    for parameter, value in zip(judge.parameters(), taught, strict=True):
        parameter.data.copy_(value)
    image, a = composite()
    area = a.mean(dim=(1, 2, 3))
    mask_loss = torch.minimum(a, 1 - a).mean() + relu(0.25 - area).mean()
    loss = row.adversarial_weight * softplus(-judge(image)).mean() + row.mask_weight * mask_loss
    loss = loss + row.background_weight * relu(row.background_area - (1 - area)).mean()
    slopes = torch.autograd.grad(loss, list(alpha.parameters()))
    learned = adam(list(alpha.parameters()), slopes, row.learning_rate, ALPHA_CORRECTION)

    trainer.step()
    pairs = [(trainer.discriminator, judge_slopes, taught), (trainer.alpha, slopes, learned)]
    for network, gradients, weights in pairs:
        for parameter, gradient, weight in zip(network.parameters(), gradients, weights, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)
            sure = gradient.abs() > 1e-5  # a step of Adam turns the sign of rounding errors into whole steps
            torch.testing.assert_close(parameter[sure], weight[sure], rtol=1e-5, atol=1e-6)
    keep = min(0.5 ** (32 / 10_000), 1 / 10)  # where training begins, old weights are worth less than published
    averages, weights = trainer.averaged.parameters(), trainer.alpha.parameters()
    for average, start, weight in zip(averages, first_average, weights, strict=True):
        torch.testing.assert_close(average, keep * start + (1 - keep) * weight)


def test_the_target_of_section_3_2_is_the_enlarged_corner():
    images = torch.zeros(1, 3, 128, 128)
    images[:, :, :16, :16] = 1.0
    assert (corner_target(images, (0, 128, 0, 128)) == 1).all()
    assert corner_target(images, (8, 120, 0, 128)).shape == (1, 3, 112, 128)
    assert corner_target(images, (8, 120, 0, 128)).mean() < 1


def test_gradients_of_a_factor_on_a_channel_are_what_switching_it_changes():
    """Of pictures that barely change, the squared difference does so by the gradient times the change."""
    bundle = tiny_bundle()
    found = analyse(bundle, pictures=1)
    generator, layer = bundle.generator, found.layers[1]
    z = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    target = corner_target(generator(z), (0, 32, 0, 32))

    def difference(channel, factor):
        def scale(module, inputs, x):
            return torch.cat([x[:, :channel], x[:, channel : channel + 1] * factor, x[:, channel + 1 :]], 1)

        hook = generator.synthesis.convolutions[0].register_forward_hook(scale)
        value = (generator(z).double() - target).square().mean()
        hook.remove()
        return value.item()

    for channel in range(3):
        slope = (difference(channel, 1.001) - difference(channel, 0.999)) / 0.002
        assert layer.channels[channel] == pytest.approx(abs(slope), rel=0.05, abs=1e-4)


@pytest.mark.parametrize(("size", "switch"), [(256, "first_convolution"), (512, "constant")])
def test_the_published_switches_and_those_that_gradients_choose(size, switch, tmp_path):
    """The golden networks have random weights: gradients speak for the first convolution in both, published or not."""
    convert(GOLDENS / f"l4f_{size}_generator.pt", tmp_path / "golden")
    found = analyse(load_bundle(tmp_path / "golden"), pictures=4)
    assert (found.present, found.chosen) == (switch, "first_convolution")
    assert ("the one that the class has" in found.in_words()) == (switch == found.chosen)
    assert len(found.layers) == 1 + len(load_bundle(tmp_path / "golden").generator.synthesis.convolutions)


def test_the_command_prints_a_table_and_draws_a_figure(tiny_bundle_folder, tmp_path, capsys):
    command = ["analyse", tiny_bundle_folder, "--pictures 2 --device cpu --out", tmp_path / "a.png"]
    said = run(capsys, *command)
    assert said.code == 0 and "convolution 0" in said.out and "speak for the switch" in said.out
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 10
    (tmp_path / "a.png").write_text("mine")
    assert_refused(run(capsys, *command), "left alone")
