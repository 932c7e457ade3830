"""Other programs for the same generator, with the weights of ours: a naive twin, and NVIDIA's own.

The naive twin is the arithmetic of the paper, written as published PyTorch programs without compiled extensions do it:

* one set of weights per sample, as a convolution with N groups;
* up-convolutions as a grouped transposed convolution of stride 2, then the low-pass filter;
* the filter as a convolution of one channel over N * C planes, with zeros put between the samples for the RGB skip;
* the default memory format.

NVIDIA's (NVlabs/stylegan2-ada-pytorch) is no part of this project: its licence is for non-commercial use. A folder that
holds it is named on the command line and imported from there. Without a GPU it runs in plain PyTorch, float32.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from l4f_plugin.networks.generator import Generator, StyledConvolution, ToRGB

ROOT_TWO = 2.0**0.5


class NaiveGenerator(nn.Module):
    """Same function as ``generator``, same weights (shared, not copied)."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator

    def forward(self, w_plus: Tensor) -> Tensor:
        """W+ codes ``[N, num_styles, style_dim]`` to pictures ``[N, 3, R, R]``, with the stored noise."""
        synthesis = self.generator.synthesis
        x = synthesis.constant.repeat(w_plus.shape[0], 1, 1, 1)
        x = _styled(synthesis.convolutions[0], x, w_plus[:, 0])
        rgb = _to_rgb(synthesis.to_rgb[0], x, w_plus[:, 1])
        for block in range(1, len(synthesis.to_rgb)):
            x = _styled(synthesis.convolutions[2 * block - 1], x, w_plus[:, 2 * block - 1])
            x = _styled(synthesis.convolutions[2 * block], x, w_plus[:, 2 * block])
            rgb = _upsample(rgb) + _to_rgb(synthesis.to_rgb[block], x, w_plus[:, 2 * block + 1])
        return rgb


def _styled(layer: StyledConvolution, x: Tensor, w: Tensor) -> Tensor:
    samples, channels, height, width = x.shape
    style = layer.modulation(w).view(samples, 1, channels, 1, 1)
    weight = layer.weight_scale * layer.weight * style  # [N, O, I, 3, 3]
    weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, samples * channels, height, width)
    if layer.upsample:
        weight = weight.transpose(1, 2).reshape(samples * channels, -1, 3, 3)
        x = functional.conv_transpose2d(x, weight, stride=2, groups=samples)
        x = x.view(samples, -1, *x.shape[2:])
        x = _filter(x, padding=(1, 1), gain=4.0)
    else:
        x = functional.conv2d(x, weight.reshape(-1, channels, 3, 3), padding=1, groups=samples)
        x = x.view(samples, -1, *x.shape[2:])
    x = x + layer.noise_strength * layer.noise
    return ROOT_TWO * functional.leaky_relu(x + layer.bias.view(1, -1, 1, 1), 0.2)


def _to_rgb(layer: ToRGB, x: Tensor, w: Tensor) -> Tensor:
    samples, channels, height, width = x.shape
    weight = layer.weight_scale * layer.weight * layer.modulation(w).view(samples, 1, channels, 1, 1)
    x = x.reshape(1, samples * channels, height, width)
    x = functional.conv2d(x, weight.view(samples * 3, channels, 1, 1), groups=samples)
    return x.view(samples, 3, height, width) + layer.bias.view(1, 3, 1, 1)


def _upsample(x: Tensor) -> Tensor:
    samples, channels, height, width = x.shape
    zeros = x.new_zeros(samples, channels, height, 2, width, 2)
    zeros[:, :, :, 0, :, 0] = x
    return _filter(zeros.view(samples, channels, 2 * height, 2 * width), padding=(2, 1), gain=4.0)


def _filter(x: Tensor, padding: tuple[int, int], gain: float) -> Tensor:
    samples, channels, height, width = x.shape
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(taps, taps).view(1, 1, 4, 4) * gain
    planes = functional.pad(x.reshape(samples * channels, 1, height, width), padding * 2)
    planes = functional.conv2d(planes, kernel)
    return planes.view(samples, channels, *planes.shape[2:])


def load_reference(folder: Path, ours: Generator) -> Callable[[Tensor], Tensor]:
    """Their synthesis with the weights of ``ours``: W+ ``[N, num_styles, style_dim]`` to pictures ``[N, 3, R, R]``."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        networks = importlib.import_module("training.networks")
    finally:
        sys.path.pop(0)
    config = ours.config
    theirs = networks.SynthesisNetwork(
        w_dim=config.style_dim,
        img_resolution=config.resolution,
        img_channels=3,
        channel_base=config.channels[config.resolution] * config.resolution,
        channel_max=config.channels[4],
    )
    state = theirs.state_dict()
    state.update(_renamed(ours))
    theirs.load_state_dict(state)
    theirs.eval().requires_grad_(False)
    return lambda w_plus: theirs(w_plus, noise_mode="const")


def _renamed(generator: Generator) -> dict[str, Tensor]:
    """The weights of our synthesis under the names of theirs."""
    convolutions = ["b4.conv1"]
    convolutions += [f"b{size}.conv{index}" for size in generator.config.resolutions[1:] for index in (0, 1)]
    layers = {f"convolutions.{index}": name for index, name in enumerate(convolutions)}
    layers |= {f"to_rgb.{index}": f"b{size}.torgb" for index, size in enumerate(generator.config.resolutions)}
    state = {"b4.const": generator.synthesis.constant[0]}
    for name, tensor in generator.synthesis.state_dict().items():
        layer = ".".join(name.split(".")[:2])
        if layer in layers:
            field = name.removeprefix(f"{layer}.").replace("modulation", "affine")
            state[f"{layers[layer]}.{'noise_const' if field == 'noise' else field}"] = (
                tensor[0, 0] if field == "noise" else tensor
            )
    return state
