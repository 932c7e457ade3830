"""The layouts of rosinality's StyleGAN2 and of Labels4Free's alpha networks, tensor by tensor.

Everything about an architecture is read from the shapes. Whatever a state dict holds beyond what its layout
names is refused, so that a variant with other arithmetic cannot pass for the network it is not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bundles.bundle import Bundle
from ..bundles.file_kinds import kind_of_network
from ..bundles.files import write_atomically
from ..errors import UserError
from ..networks import AlphaNetwork, Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from .layouts import FILTER, PublishedNetworks, StateSource, assemble, generator_config, named
from .stored_tensors import StoredTensor

NOISE_SEED = 0
GENERATOR_KEYS = ("g_ema", "g")
ALPHA_KEYS = ("bg_extractor_ema", "bg_extractor")
_PLAIN = {"weight": ".weight", "bias": ".bias"}
_MODULATED = {
    "weight": ".conv.weight",
    "modulation.weight": ".conv.modulation.weight",
    "modulation.bias": ".conv.modulation.bias",
}


def read_rosinality(root: Any, label: str, limit: int) -> PublishedNetworks:
    """The networks in the object of a file of `limit` bytes. Raises `UserError` where it holds none or others."""
    state = _state_of(root, GENERATOR_KEYS, "input.input")
    if state is None:
        if _state_of(root, ALPHA_KEYS, "conv_n.weight") is not None:
            raise UserError(
                f"{label} holds an alpha network without a generator; "
                "give the generator as the source and this file with --alpha."
            )
        parts = (root, root.get("state_dict")) if isinstance(root, dict) else ()
        names = [name for part in parts if isinstance(part, dict) for name in part if isinstance(name, str)]
        if kind := kind_of_network(names):
            raise UserError(f"{label} is {kind}.")
        raise UserError(
            f"{label} holds no generator in a layout of rosinality's or NVIDIA's StyleGAN2; choose another file."
        )
    mean = root.get("latent_avg") if isinstance(root, dict) else None
    if mean is not None:
        source = StateSource(_stored({"latent_avg": mean}), label, "mean latent", limit)
        mean = source.take("latent_avg", *source.shape("latent_avg"))
    generator, discriminator = read_generator(StateSource(_stored(state), label, "generator", limit)), None
    state = _state_of(root, ("d",), "final_conv.0.weight")
    if state is not None and state is not root:
        discriminator = _read_discriminator(StateSource(_stored(state), label, "discriminator", limit))
    return generator, discriminator, mean


def read_generator(source: StateSource) -> Generator:
    """A rosinality generator.

    Noise maps that an old file lacks are drawn with a fixed seed. Raises `UserError` where the layout does not fit.
    """
    sizes = source.sizes(source.count("to_rgbs.{}.bias"))
    convolutions = _convolutions(sizes)
    layers = source.count("style.{}.weight", lambda place: place + 1)
    named_sizes = zip(sizes, [convolutions[0], *convolutions[1::2]], strict=True)
    channels = {size: source.size(f"{name}.conv.weight", 1) for size, name in named_sizes}
    config = generator_config(source, channels, layers, "style.1.weight", 1)
    return assemble(source, lambda: Generator(config), _generator_names(config), _take_or_draw)


def _convolutions(sizes: Sequence[int]) -> list[str]:
    return ["conv1", *(f"convs.{index}" for index in range(2 * len(sizes) - 2))]


def _generator_names(config: GeneratorConfig) -> dict[str, str]:
    """Our names of a generator's tensors, and those of the layout."""
    convolutions = _convolutions(config.resolutions)
    to_rgbs = ["to_rgb1", *(f"to_rgbs.{index}" for index in range(len(config.resolutions) - 1))]
    styled = {**_MODULATED, "bias": ".activate.bias", "noise_strength": ".noise.weight"}
    return {
        "synthesis.constant": "input.input",
        **named("mapping.layers.{}", [f"style.{layer + 1}" for layer in range(config.mapping_layers)], _PLAIN),
        **named("synthesis.convolutions.{}", convolutions, styled),
        **{f"synthesis.convolutions.{index}.noise": f"noises.noise_{index}" for index in range(len(convolutions))},
        **named("synthesis.to_rgb.{}", to_rgbs, {**_MODULATED, "bias": ".bias"}),
    }


def _take_or_draw(source: StateSource, ours: str, theirs: str, shape: Sequence[int]) -> Tensor:
    if theirs in source.state or not theirs.startswith("noises."):
        return source.take(theirs, *shape)
    seed = NOISE_SEED + int(theirs.rpartition("_")[2])
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _read_discriminator(source: StateSource) -> Discriminator:
    blocks = source.count("convs.{}.conv1.0.weight", lambda place: place + 1)
    sizes = source.sizes(blocks)
    channels = {size: source.size(f"convs.{blocks - place}.conv2.1.weight", 0) for place, size in enumerate(sizes[:-1])}
    channels[sizes[-1]] = source.size("convs.0.0.weight", 0)
    config = DiscriminatorConfig(resolution=sizes[-1], channels=channels)
    return assemble(source, lambda: Discriminator(config), _discriminator_names(blocks))


def _discriminator_names(blocks: int) -> dict[str, str]:
    theirs = [f"convs.{block + 1}" for block in range(blocks)]
    return {
        **named("from_rgb", "convs.0", {"weight": ".0.weight", "bias": ".1.bias"}),
        **named("blocks.{}.first", theirs, {"weight": ".conv1.0.weight", "bias": ".conv1.1.bias"}),
        **named("blocks.{}.second", theirs, {"weight": ".conv2.1.weight", "bias": ".conv2.2.bias"}),
        **named("blocks.{}.shortcut", theirs, {"weight": ".skip.1.weight"}),
        **named("last_convolution", "final_conv", {"weight": ".0.weight", "bias": ".1.bias"}),
        **named("hidden", "final_linear.0", _PLAIN),
        **named("output", "final_linear.1", _PLAIN),
    }


def write_rosinality(bundle: Bundle, path: Path) -> None:
    """Writes a `.pt` that rosinality's programs load strictly. Raises `UserError` for what that layout cannot hold."""
    config = bundle.generator.config
    if config.conv_clamp is not None or config.latent_dim != config.style_dim:
        raise UserError(
            f"The layout of rosinality has no place for what {bundle.config.name} computes (clamped activations, or a "
            "latent that is not as wide as the style); choose another class."
        )
    state, steps = bundle.generator.state_dict(), len(config.resolutions) - 1
    generator = {
        theirs: state[ours].reshape(_shape_there(theirs, state[ours].shape))
        for ours, theirs in _generator_names(config).items()
    }
    for step in range(steps):
        generator |= {f"convs.{2 * step}.conv.blur.kernel": FILTER * 4, f"to_rgbs.{step}.upsample.kernel": FILTER * 4}
    written = {"g_ema": generator, "latent_avg": bundle.generator.latent_avg.float()}
    if bundle.discriminator is not None:
        blocks, state = len(bundle.discriminator.blocks), bundle.discriminator.state_dict()
        written["d"] = {theirs: state[ours] for ours, theirs in _discriminator_names(blocks).items()}
        for block in range(1, blocks + 1):
            written["d"] |= {f"convs.{block}.{part}.0.kernel": FILTER for part in ("conv2", "skip")}
    write_atomically(path, lambda target: torch.save(written, target))


def _shape_there(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    if name.endswith(".conv.weight"):
        return (1, *shape)
    if name == "input.input":
        return (1, *shape[-3:])
    if name.endswith(".noise.weight"):
        return (1,)
    if name.startswith("noises."):
        return (1, 1, *shape[-2:])
    return (1, 3, 1, 1) if name.startswith("to_rgb") and ".conv." not in name else tuple(shape)


def read_alpha(root: Any, label: str, limit: int) -> AlphaNetwork:
    """An alpha network in either layout, from the object in a file of `limit` bytes.

    One layout numbers the first convolutions through (`conv1`, `conv2` ...), the other keeps those of the
    first and the second tensor of each resolution in lists of their own (`conv_fns0`, `conv_fns1`). Raises `UserError`.
    """
    state = _state_of(root, ALPHA_KEYS, "conv_n.weight")
    if state is None:
        raise UserError(f"{label} holds no alpha network (bg_extractor); choose another file.")
    source = StateSource(_stored(state), label, "alpha network", limit)
    if "conv_fns0.0.weight" in source.state:
        pairs = source.count("conv_fns0.{}.weight")
        projections = [f"conv_fns{side}.{pair}" for pair in range(pairs) for side in (0, 1)]
        merges = [f"conv_merge_fns.{merge}" for merge in range(pairs - 2)]
    else:
        pairs = source.count("conv{}.weight", lambda pair: 2 * pair + 1)
        projections = [f"conv{number}" for number in range(1, 2 * pairs + 1)]
        merges = ["conv_next" + (str(merge + 1) if merge else "") for merge in range(pairs - 2)]
    if pairs < 2:
        raise UserError(f"{source.label} holds no alpha network of a published layout; choose another file.")
    hidden = source.size(f"{projections[0]}.weight", 0)
    channels = tuple(source.size(f"{name}.weight", 1) for name in projections)
    names = {
        **named("projections.{}", projections, _PLAIN),
        **named("merges.{}", merges, _PLAIN),
        **named("output", "conv_n", _PLAIN),
    }
    return assemble(source, lambda: AlphaNetwork(channels, hidden), names)


def _state_of(root: Any, keys: tuple[str, ...], mark: str) -> dict[str, Any] | None:
    """The state dict under the first of `keys` (or the object itself) that holds a tensor named `mark`."""
    if not isinstance(root, dict):
        return None
    for candidate in (*(root.get(key) for key in keys), root):
        if isinstance(candidate, dict) and (mark in candidate or f"module.{mark}" in candidate):
            return candidate
    return None


def _stored(state: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    """A state dict's tensors, without the prefix that distributed training leaves."""
    return {
        name.removeprefix("module."): value
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, StoredTensor)
    }
