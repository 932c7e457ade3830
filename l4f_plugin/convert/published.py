"""The published state-dict layouts, tensor by tensor: rosinality's StyleGAN2, Labels4Free's alpha networks.

Everything about an architecture is read from the shapes. Whatever a state dict holds beyond what its layout
names is refused, so that a variant with other arithmetic cannot pass for the network it is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UserError
from ..networks import DiscriminatorConfig, GeneratorConfig
from .assembly import assemble, discriminator_shapes, generator_shapes, object_switch_for, resolution_after, sizes_up_to
from .state_source import StateSource

NOISE_SEED = 0


def read_generator(source: StateSource) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """Configuration and state dict (our names) of a rosinality generator.

    Noise maps that an old file lacks are drawn with a fixed seed. Raises `UserError` where the layout does
    not fit.
    """
    sizes = sizes_up_to(resolution_after(source.count("to_rgbs.{}.bias"), source.label))
    channels = {4: source.size("conv1.conv.weight", 1)}
    for block, size in enumerate(sizes[1:]):
        channels[size] = source.size(f"convs.{2 * block}.conv.weight", 1)
    config = GeneratorConfig(
        resolution=sizes[-1],
        channels=channels,
        mapping_layers=source.count("style.{}.weight", start=1),
        latent_dim=source.size("style.1.weight", 1),
        style_dim=source.size("style.1.weight", 0),
        object_switch=object_switch_for(sizes[-1]),
    )
    names = {"synthesis.constant": "input.input"}
    for layer in range(config.mapping_layers):
        for kind in ("weight", "bias"):
            names[f"mapping.layers.{layer}.{kind}"] = f"style.{layer + 1}.{kind}"
    for index in range(config.num_convolutions):
        theirs, name = f"convs.{index - 1}" if index else "conv1", f"synthesis.convolutions.{index}"
        names.update(
            {
                f"{name}.weight": f"{theirs}.conv.weight",
                f"{name}.bias": f"{theirs}.activate.bias",
                f"{name}.noise_strength": f"{theirs}.noise.weight",
                f"{name}.noise": f"noises.noise_{index}",
                f"{name}.modulation.weight": f"{theirs}.conv.modulation.weight",
                f"{name}.modulation.bias": f"{theirs}.conv.modulation.bias",
            }
        )
    for index in range(len(sizes)):
        theirs, name = f"to_rgbs.{index - 1}" if index else "to_rgb1", f"synthesis.to_rgb.{index}"
        names.update(
            {
                f"{name}.weight": f"{theirs}.conv.weight",
                f"{name}.bias": f"{theirs}.bias",
                f"{name}.modulation.weight": f"{theirs}.conv.modulation.weight",
                f"{name}.modulation.bias": f"{theirs}.conv.modulation.bias",
            }
        )
    return config, assemble(source, generator_shapes(config), names, _take_or_draw)


def _take_or_draw(source: StateSource, ours: str, theirs: str, shape: Sequence[int]) -> Tensor:
    if theirs in source.state or not theirs.startswith("noises."):
        return source.take(theirs, *shape)
    seed = NOISE_SEED + int(theirs.rpartition("_")[2])
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def read_discriminator(source: StateSource) -> tuple[DiscriminatorConfig, dict[str, Tensor]]:
    """Configuration and state dict (our names) of a rosinality discriminator. Raises `UserError`."""
    blocks = source.count("convs.{}.conv1.0.weight", start=1)
    resolution = resolution_after(blocks, source.label)
    channels = {resolution: source.size("convs.0.0.weight", 0)}
    for block in range(1, blocks + 1):
        channels[resolution >> block] = source.size(f"convs.{block}.conv2.1.weight", 0)
    config = DiscriminatorConfig(resolution=resolution, channels=dict(sorted(channels.items())))
    layers = {
        "from_rgb": ("convs.0.0", "convs.0.1"),
        "last_convolution": ("final_conv.0", "final_conv.1"),
        "hidden": ("final_linear.0", "final_linear.0"),
        "output": ("final_linear.1", "final_linear.1"),
    }
    for block in range(blocks):
        theirs = f"convs.{block + 1}"
        layers.update(
            {
                f"blocks.{block}.first": (f"{theirs}.conv1.0", f"{theirs}.conv1.1"),
                f"blocks.{block}.second": (f"{theirs}.conv2.1", f"{theirs}.conv2.2"),
                f"blocks.{block}.shortcut": (f"{theirs}.skip.1", ""),
            }
        )
    names = {}
    for layer, (weight, bias) in layers.items():
        names.update({f"{layer}.weight": f"{weight}.weight", f"{layer}.bias": f"{bias}.bias"})
    return config, assemble(source, discriminator_shapes(config), names)


def read_alpha(source: StateSource) -> tuple[tuple[int, ...], int, dict[str, Tensor]]:
    """Feature channels, hidden channels and state dict (our names) of an alpha network in either layout.

    One layout numbers the first convolutions through (`conv1`, `conv2` ...), the other keeps those of the
    first and the second tensor of each resolution in lists of their own (`conv_fns0`, `conv_fns1`).
    """
    if "conv_fns0.0.weight" in source.state:
        pairs = source.count("conv_fns0.{}.weight")
        projections = [f"conv_fns{side}.{pair}" for pair in range(pairs) for side in (0, 1)]
        merges = [f"conv_merge_fns.{merge}" for merge in range(max(pairs - 2, 0))]
    else:
        pairs = source.count("conv{}.weight", start=1, step=2)
        projections = [f"conv{number}" for number in range(1, 2 * pairs + 1)]
        merges = ["conv_next" + (str(merge + 1) if merge else "") for merge in range(max(pairs - 2, 0))]
    if pairs < 2:
        raise UserError(f"{source.label} holds no alpha network of a published layout; choose another file.")
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
