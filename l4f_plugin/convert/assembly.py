"""What every published layout has in common: our tensors one by one, each taken from where a layout keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..bundles.fields import RESOLUTIONS
from ..errors import UserError
from ..networks import DiscriminatorConfig, GeneratorConfig
from .state_source import StateSource

Shapes = dict[str, tuple[int, ...]]
Take = Callable[[StateSource, str, str, Sequence[int]], Tensor]


@dataclass
class PublishedNetworks:
    """A checkpoint's networks: configurations with state dicts under our names, and the mean of w [style_dim].

    `remark` is a sentence on what was left out.
    """

    generator: tuple[GeneratorConfig, dict[str, Tensor]]
    discriminator: tuple[DiscriminatorConfig, dict[str, Tensor]] | None = None
    latent_avg: Tensor | None = None
    remark: str | None = None


def take_as_it_is(source: StateSource, ours: str, theirs: str, shape: Sequence[int]) -> Tensor:
    """Takes the tensor `theirs`, whose axes lie as ours do."""
    return source.take(theirs, *shape)


def assemble(
    source: StateSource, shapes: Shapes, names: Mapping[str, str], take: Take = take_as_it_is
) -> dict[str, Tensor]:
    """The state dict with the names and `shapes` given, each tensor taken from `names[name]` of `source`.

    `take(source, ours, theirs, shape)` turns axes where that is needed. Nothing may be left over.
    """
    tensors = {name: take(source, name, names[name], shape).contiguous() for name, shape in shapes.items()}
    source.finish()
    return tensors


def silence(source: StateSource, shapes: Shapes, names: Mapping[str, str]) -> None:
    """Gives a network that was made without noise maps of zeros, of strength zero."""
    for name, shape in shapes.items():
        if name.endswith((".noise", ".noise_strength")):
            source.state[names[name]] = torch.zeros(shape)


def sizes_up_to(resolution: int) -> list[int]:
    """4, 8, ... `resolution`."""
    return [4 << step for step in range(int(math.log2(resolution)) - 1)]


def resolution_after(doublings: int, label: str) -> int:
    """The resolution that so many doublings of 4 px give. Raises `UserError` where it is not supported."""
    if not doublings:
        raise UserError(f"{label} holds no network of the published layout; choose another file.")
    resolution = 4 << min(doublings, 60)
    if resolution not in RESOLUTIONS:
        raise UserError(
            f"{label} is a network for pictures of {resolution} px, where sizes from {RESOLUTIONS[0]} to "
            f"{RESOLUTIONS[-1]} px are supported; choose another model."
        )
    return resolution


def object_switch_for(resolution: int) -> str:
    """Models of 512 px switch the object off at the constant input, all others after the first convolution.

    Section 3.2 of Labels4Free and its published code.
    """
    return "constant" if resolution == 512 else "first_convolution"


def generator_shapes(config: GeneratorConfig) -> Shapes:
    """Names and shapes of a generator's state dict, known before any memory is taken for it."""
    channels, style = config.channels, config.style_dim
    shapes: Shapes = {"synthesis.constant": (1, channels[4], 4, 4)}
    for layer in range(config.mapping_layers):
        name = f"mapping.layers.{layer}"
        shapes[f"{name}.weight"] = (style, style if layer else config.latent_dim)
        shapes[f"{name}.bias"] = (style,)
    inputs = channels[4]
    for index, size in enumerate(config.convolution_resolutions):
        name, outputs = f"synthesis.convolutions.{index}", channels[size]
        shapes.update(
            {
                f"{name}.weight": (outputs, inputs, 3, 3),
                f"{name}.bias": (outputs,),
                f"{name}.noise_strength": (),
                f"{name}.noise": (1, 1, size, size),
            }
        )
        shapes.update(_modulation(name, inputs, style))
        inputs = outputs
    for index, size in enumerate(config.resolutions):
        name = f"synthesis.to_rgb.{index}"
        shapes.update({f"{name}.weight": (3, channels[size], 1, 1), f"{name}.bias": (3,)})
        shapes.update(_modulation(name, channels[size], style))
    return shapes


def _modulation(name: str, channels: int, style_dim: int) -> Shapes:
    return {f"{name}.modulation.weight": (channels, style_dim), f"{name}.modulation.bias": (channels,)}


def discriminator_shapes(config: DiscriminatorConfig) -> Shapes:
    """Names and shapes of a discriminator's state dict."""
    channels, sizes = config.channels, config.resolutions[::-1]
    last = channels[4]
    shapes: Shapes = {"from_rgb.weight": (channels[sizes[0]], 3, 1, 1), "from_rgb.bias": (channels[sizes[0]],)}
    for block, size in enumerate(sizes[:-1]):
        name, inputs, outputs = f"blocks.{block}", channels[size], channels[size // 2]
        shapes.update(
            {
                f"{name}.first.weight": (inputs, inputs, 3, 3),
                f"{name}.first.bias": (inputs,),
                f"{name}.second.weight": (outputs, inputs, 3, 3),
                f"{name}.second.bias": (outputs,),
                f"{name}.shortcut.weight": (outputs, inputs, 1, 1),
            }
        )
    shapes.update(
        {
            "last_convolution.weight": (last, last + 1, 3, 3),
            "last_convolution.bias": (last,),
            "hidden.weight": (last, last * 16),
            "hidden.bias": (last,),
            "output.weight": (1, last),
            "output.bias": (1,),
        }
    )
    return shapes
