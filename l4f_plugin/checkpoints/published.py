"""The published state-dict layouts, tensor by tensor: rosinality's StyleGAN2, Labels4Free's alpha networks.

Everything about an architecture is read from the shapes. Whatever a state dict holds beyond what its layout
names is refused, so that a variant with other arithmetic cannot pass for the network it is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import UserError
from ..networks import DiscriminatorConfig, GeneratorConfig
from .config import RESOLUTIONS
from .pickle_reader import printable

NOISE_SEED = 0
_FILTER = torch.outer(*2 * (torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8,))
_FILTER_NAME = re.compile(r"(blur|upsample|conv2\.0|skip\.0)\.kernel$")


class _Source:
    """A state dict from which each tensor is taken once, with the shape it must have."""

    def __init__(self, state: Mapping[str, Tensor], label: str, what: str):
        self.state, self.label, self.what = dict(state), label, what

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.state:
            raise UserError(f"{self.label} holds no {self.what} of the published layout ({name} is missing); "
                            "choose another file.")
        return tuple(self.state[name].shape)

    def size(self, name: str, axis: int) -> int:
        shape = self.shape(name)
        if axis >= len(shape) or not 1 <= shape[axis] <= 8192:
            raise UserError(f"{self.label} holds {name} with an impossible shape; choose another file.")
        return shape[axis]

    def count(self, pattern: str, start: int = 0, step: int = 1) -> int:
        """How many of `pattern` with `start`, `start + step` ... for {} are there in a row."""
        found = 0
        while pattern.format(start + step * found) in self.state:
            found += 1
        return found

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name`, viewed as `shape` (which may drop or add axes of size one)."""
        found = tuple(size for size in self.shape(name) if size != 1)
        if found != tuple(size for size in shape if size != 1):
            raise UserError(f"{self.label} holds {name} with shape {list(self.shape(name))} where "
                            f"{list(shape)} was expected; its {self.what} is of another kind.")
        return self.state.pop(name).reshape(shape).float()

    def finish(self) -> None:
        """Checks the low-pass filters, which are the same everywhere, and that nothing is left over."""
        for name in [name for name in self.state if _FILTER_NAME.search(name)]:
            kernel = self.state.pop(name).float()
            if kernel.shape != (4, 4) or not torch.allclose(kernel / kernel.sum(), _FILTER, atol=1e-5):
                raise UserError(f"{self.label} uses another low-pass filter than StyleGAN2 ({name}), "
                                "which is not supported.")
        if self.state:
            raise UserError(f"{self.label} holds {printable(min(self.state))}, which the {self.what} of the "
                            "published layout does not have; its architecture is not supported.")


def _resolution(doublings: int, label: str) -> int:
    if not doublings:
        raise UserError(f"{label} holds no network of the published layout; choose another file.")
    if doublings > 60 or 4 << doublings not in RESOLUTIONS:
        raise UserError(f"{label} is made for pictures that double {doublings} times from 4 px; "
                        f"sizes from {RESOLUTIONS[0]} to {RESOLUTIONS[-1]} px are supported.")
    return 4 << doublings


def read_generator(state: Mapping[str, Tensor], label: str) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """Configuration and state dict (our names) of a rosinality generator.

    Models of 512 px switch the object off at the constant input, all others after the first convolution
    (section 3.2 of Labels4Free and its published code). Noise maps that an old file lacks are drawn with a
    fixed seed. Raises `UserError` naming `label` where the layout does not fit.
    """
    source = _Source(state, label, "generator")
    resolution = _resolution(source.count("to_rgbs.{}.bias"), label)
    sizes = [4 << step for step in range(int(math.log2(resolution)) - 1)]
    layers = source.count("style.{}.weight", start=1)
    latent_dim, style_dim = source.size("style.1.weight", 1), source.size("style.1.weight", 0)
    channels = {4: source.size("conv1.conv.weight", 1)}
    for block, size in enumerate(sizes[1:]):
        channels[size] = source.size(f"convs.{2 * block}.conv.weight", 1)
    config = GeneratorConfig(
        resolution=resolution, channels=channels, latent_dim=latent_dim, style_dim=style_dim,
        mapping_layers=layers, object_switch="constant" if resolution == 512 else "first_convolution")

    ours = {"synthesis.constant": source.take("input.input", 1, channels[4], 4, 4)}
    for layer in range(layers):
        inputs = latent_dim if layer == 0 else style_dim
        ours[f"mapping.layers.{layer}.weight"] = source.take(f"style.{layer + 1}.weight", style_dim, inputs)
        ours[f"mapping.layers.{layer}.bias"] = source.take(f"style.{layer + 1}.bias", style_dim)
    inputs = channels[4]
    for index, size in enumerate(config.convolution_resolutions):
        theirs, name = f"convs.{index - 1}" if index else "conv1", f"synthesis.convolutions.{index}"
        outputs = channels[size]
        ours[f"{name}.weight"] = source.take(f"{theirs}.conv.weight", outputs, inputs, 3, 3)
        ours[f"{name}.bias"] = source.take(f"{theirs}.activate.bias", outputs)
        ours[f"{name}.noise_strength"] = source.take(f"{theirs}.noise.weight")
        ours[f"{name}.noise"] = _noise(source, index, size)
        _take_modulation(source, f"{theirs}.conv", name, ours, inputs, style_dim)
        inputs = outputs
    for index, size in enumerate(sizes):
        theirs, name = f"to_rgbs.{index - 1}" if index else "to_rgb1", f"synthesis.to_rgb.{index}"
        ours[f"{name}.weight"] = source.take(f"{theirs}.conv.weight", 3, channels[size], 1, 1)
        ours[f"{name}.bias"] = source.take(f"{theirs}.bias", 3)
        _take_modulation(source, f"{theirs}.conv", name, ours, channels[size], style_dim)
    source.finish()
    return config, ours


def _take_modulation(source: _Source, theirs: str, name: str, ours: dict[str, Tensor], channels: int,
                     style_dim: int) -> None:
    ours[f"{name}.modulation.weight"] = source.take(f"{theirs}.modulation.weight", channels, style_dim)
    ours[f"{name}.modulation.bias"] = source.take(f"{theirs}.modulation.bias", channels)


def _noise(source: _Source, index: int, size: int) -> Tensor:
    name = f"noises.noise_{index}"
    if name in source.state:
        return source.take(name, 1, 1, size, size)
    return torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(NOISE_SEED + index))


def read_discriminator(state: Mapping[str, Tensor],
                       label: str) -> tuple[DiscriminatorConfig, dict[str, Tensor]]:
    """Configuration and state dict (our names) of a rosinality discriminator. Raises `UserError`."""
    source = _Source(state, label, "discriminator")
    blocks = source.count("convs.{}.conv1.0.weight", start=1)
    resolution = _resolution(blocks, label)
    channels = {resolution: source.size("convs.0.0.weight", 0)}
    for block in range(1, blocks + 1):
        channels[resolution >> block] = source.size(f"convs.{block}.conv2.1.weight", 0)
    config = DiscriminatorConfig(resolution=resolution, channels=dict(sorted(channels.items())))

    widest, last = channels[resolution], channels[4]
    ours = {"from_rgb.weight": source.take("convs.0.0.weight", widest, 3, 1, 1),
            "from_rgb.bias": source.take("convs.0.1.bias", widest)}
    for block in range(blocks):
        theirs, name = f"convs.{block + 1}", f"blocks.{block}"
        inputs, outputs = channels[resolution >> block], channels[resolution >> (block + 1)]
        ours[f"{name}.first.weight"] = source.take(f"{theirs}.conv1.0.weight", inputs, inputs, 3, 3)
        ours[f"{name}.first.bias"] = source.take(f"{theirs}.conv1.1.bias", inputs)
        ours[f"{name}.second.weight"] = source.take(f"{theirs}.conv2.1.weight", outputs, inputs, 3, 3)
        ours[f"{name}.second.bias"] = source.take(f"{theirs}.conv2.2.bias", outputs)
        ours[f"{name}.shortcut.weight"] = source.take(f"{theirs}.skip.1.weight", outputs, inputs, 1, 1)
    ours["last_convolution.weight"] = source.take("final_conv.0.weight", last, last + 1, 3, 3)
    ours["last_convolution.bias"] = source.take("final_conv.1.bias", last)
    ours["hidden.weight"] = source.take("final_linear.0.weight", last, last * 16)
    ours["hidden.bias"] = source.take("final_linear.0.bias", last)
    ours["output.weight"] = source.take("final_linear.1.weight", 1, last)
    ours["output.bias"] = source.take("final_linear.1.bias", 1)
    source.finish()
    return config, ours


def read_alpha(state: Mapping[str, Tensor], label: str) -> tuple[tuple[int, ...], int, dict[str, Tensor]]:
    """Feature channels, hidden channels and state dict (our names) of an alpha network in either layout.

    One layout numbers the first convolutions through (`conv1`, `conv2` ...), the other keeps those of the
    first and the second tensor of each resolution in lists of their own (`conv_fns0`, `conv_fns1`).
    """
    source = _Source(state, label, "alpha network")
    if "conv_fns0.0.weight" in source.state:
        pairs = source.count("conv_fns0.{}.weight")
        projections = [f"conv_fns{side}.{pair}" for pair in range(pairs) for side in (0, 1)]
        merges = [f"conv_merge_fns.{merge}" for merge in range(max(pairs - 2, 0))]
    else:
        pairs = source.count("conv{}.weight", start=1, step=2)
        projections = [f"conv{number}" for number in range(1, 2 * pairs + 1)]
        merges = ["conv_next" + (str(merge + 1) if merge else "") for merge in range(max(pairs - 2, 0))]
    if pairs < 2:
        raise UserError(f"{label} holds no alpha network of a published layout; choose another file.")
    hidden = source.size(f"{projections[0]}.weight", 0)
    channels = tuple(source.size(f"{name}.weight", 1) for name in projections)
    ours = {}
    for index, (name, inputs) in enumerate(zip(projections, channels, strict=True)):
        ours[f"projections.{index}.weight"] = source.take(f"{name}.weight", hidden, inputs, 1, 1)
        ours[f"projections.{index}.bias"] = source.take(f"{name}.bias", hidden)
    for index, name in enumerate(merges):
        ours[f"merges.{index}.weight"] = source.take(f"{name}.weight", 2 * hidden, 4 * hidden, 1, 1)
        ours[f"merges.{index}.bias"] = source.take(f"{name}.bias", 2 * hidden)
    ours["output.weight"] = source.take("conv_n.weight", 1, 2 * hidden, 1, 1)
    ours["output.bias"] = source.take("conv_n.bias", 1)
    source.finish()
    return channels, hidden, ours
