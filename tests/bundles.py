"""Tiny object classes for tests, made in memory."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from l4f_plugin.bundles.bundle import Bundle, save_bundle
from l4f_plugin.bundles.config import ObjectClass
from l4f_plugin.networks import (
    AlphaNetwork,
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    LearnedBackground,
    Student,
    StudentConfig,
)

CHANNELS = {4: 8, 8: 6, 16: 5, 32: 4}


OF_MASKS = ("alpha", "background")


def tiny_bundle(seed: int = 0, *, without: Sequence[str] = (), student: Student | None = None, **described) -> Bundle:
    """A 32 px class with all four networks but those that it is `without`, and random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = GeneratorConfig(32, CHANNELS, latent_dim=6, style_dim=7, mapping_layers=2)
        generator = Generator(shape).eval()
        generator.latent_avg = torch.randn(7)
        alpha = AlphaNetwork(generator.config.feature_channels).eval()
        background = LearnedBackground(8, generator.config.num_styles, 7).eval()
        torch.nn.init.normal_(background.tensor)
        discriminator = Discriminator(DiscriminatorConfig(32, {4: 6, 8: 6, 16: 5, 32: 4})).eval()
    fields = {"title": "Tiny things", "licence": "CC0-1.0", "source": "random numbers", **described}
    mean = tuple(generator.latent_avg.tolist())
    config = ObjectClass(
        "tiny", generator=generator.config, discriminator=discriminator.config, latent_avg=mean, **fields
    )
    made = Bundle(config, generator, alpha, background, discriminator, student)
    return replace(made, **dict.fromkeys(without))


def saved(folder: Path, card: str | None = None, **made) -> Path:
    """The folder, with the bundle that `tiny_bundle` makes."""
    save_bundle(tiny_bundle(**made), folder, model_card=card)
    return folder


def red_finder(resolution: int = 32) -> Student:
    """A student with weights set by hand: red is the subject, whatever is not redder than green is background."""
    student = Student(StudentConfig((2, 2), resolution)).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
        student.stem[0].weight[0, :2, 1, 1] = torch.tensor([1.0, -1.0])
        student.ups[0][0].weight[0, 2, 1, 1] = 1.0  # the stem's first channel, after the two from below
        student.output.weight[0, 0, 1, 1], student.output.bias[0] = 12.0, -6.0
    return student
