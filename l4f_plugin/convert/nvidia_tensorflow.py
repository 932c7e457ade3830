"""StyleGAN2 as NVIDIA's TensorFlow programs save it (configurations E and F, and ADA).

A tuple (G, D, Gs) of networks, each with its recorded keyword arguments and its variables as (name, array)
pairs; Gs, the moving average, is the generator to use. Compared with our layout: dense weights are [in, out],
kernels [height, width, in, out], kernels of up-sampling convolutions are turned by half a circle (a transposed
convolution is asked for with the kernel flipped), and style biases count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..networks import DiscriminatorConfig, GeneratorConfig
from .assembly import (
    PublishedNetworks,
    assemble,
    discriminator_shapes,
    generator_shapes,
    object_switch_for,
    resolution_after,
    silence,
    sizes_up_to,
)
from .numpy_arrays import StoredArray
from .nvidia_pickles import NETWORK
from .nvidia_settings import difference, read_clamp, refuse_conditional
from .pickle_reader import Record
from .state_source import StateSource

_COMMON = {"num_channels": 3, "nonlinearity": "lrelu", "resample_kernel": [1, 3, 3, 1], "use_spectral_norm": False}
_GENERATOR = {
    **_COMMON,
    "architecture": "skip",
    "mapping_nonlinearity": "lrelu",
    "mapping_lrmul": 0.01,
    "normalize_latents": True,
}
_DISCRIMINATOR = {
    **_COMMON,
    "architecture": "resnet",
    "mbstd_num_features": 1,
    "mbstd_group_size": 4,
    "use_pagan": False,
    "score_max": 1,
}
_GROUP_IS_THE_BATCH = "D_main"  # ADA's discriminator, unless a group size is recorded


def is_tensorflow(root: Any) -> bool:
    """Whether a pickle's object is the tuple that these programs save."""
    return isinstance(root, tuple) and len(root) == 3 and all(map(_is_network, root))


def _is_network(value: Any) -> bool:
    return isinstance(value, Record) and value.name == NETWORK and isinstance(value.state, dict)


def read_tensorflow(root: Sequence[Record], label: str, limit: int) -> PublishedNetworks:
    """The networks of a file of `limit` bytes. Raises `UserError` where they are of another kind than ours."""
    _, discriminator, generator = (network.state for network in root)
    settings, variables = _settings(generator, label), _variables(generator, "", label)
    parts = generator.get("components")
    for name in ("mapping", "synthesis"):
        part = parts.get(name) if isinstance(parts, dict) else None
        if not _is_network(part):
            raise UserError(
                f"{label} holds a generator without a {name} network, perhaps of another "
                "StyleGAN; only StyleGAN2 is supported."
            )
        settings = {**_settings(part.state, label), **settings}
        variables.update(_variables(part.state, f"{name}/", label))
    refuse_conditional(settings.get("label_size"), label)
    wrong = difference(settings, _GENERATOR)
    if wrong:
        raise UserError(f"{label} holds a generator with {wrong}; choose another model.")

    source = StateSource(variables, label, "generator", limit)
    mean = source.take("dlatent_avg", source.size("dlatent_avg", 0)) if "dlatent_avg" in source.state else None
    networks = PublishedNetworks(_read_generator(source, settings), latent_avg=mean)
    settings = _settings(discriminator, label)
    if discriminator.get("build_func_name") == _GROUP_IS_THE_BATCH:
        settings.setdefault("mbstd_group_size", None)
    wrong = difference(settings, _DISCRIMINATOR)
    if wrong:
        networks.remark = f"The discriminator has {wrong} and was left out."
        return networks
    source = StateSource(_variables(discriminator, "", label), label, "discriminator", limit)
    networks.discriminator = _read_discriminator(source, settings)
    return networks


def _settings(state: Mapping[Any, Any], label: str) -> dict[Any, Any]:
    settings = state.get("static_kwargs")
    if not isinstance(settings, dict):
        raise UserError(f"{label} holds a network without its settings (static_kwargs); get another copy.")
    return dict(settings)


def _variables(state: Mapping[Any, Any], prefix: str, label: str) -> dict[str, StoredArray | float]:
    """A network's own variables by name, without the progress of a growing training if that is over (lod 0)."""
    pairs, variables = state.get("variables"), {}
    for pair in pairs if isinstance(pairs, list) else [None]:
        name, value = pair if isinstance(pair, (tuple, list)) and len(pair) == 2 else (None, None)
        if not isinstance(name, str) or not isinstance(value, (StoredArray, float)):
            raise UserError(f"{label} holds a network whose variables are not named arrays; get another copy.")
        if name != "lod" or value != 0.0:
            variables[prefix + name] = value
    return variables


def _read_generator(source: StateSource, settings: Mapping[Any, Any]) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    sizes = sizes_up_to(resolution_after(source.doublings("synthesis/{0}x{0}/ToRGB/weight"), source.label))
    names = {"synthesis.constant": "synthesis/4x4/Const/const"}
    channels = {}
    for size in sizes:
        block = f"synthesis/{size}x{size}"
        channels[size] = source.size(f"{block}/ToRGB/weight", 2)
        first = len(channels) * 2 - 3
        layers = {first: "Conv0_up", first + 1: "Conv1"} if size > 4 else {0: "Conv"}
        for index, layer in layers.items():
            names.update(_styled(f"synthesis.convolutions.{index}", f"{block}/{layer}"))
            names[f"synthesis.convolutions.{index}.noise"] = f"synthesis/noise{index}"
        names.update(_styled(f"synthesis.to_rgb.{len(channels) - 1}", f"{block}/ToRGB"))
    layers = source.count("mapping/Dense{}/weight")
    for layer in range(layers):
        names.update(_named(f"mapping.layers.{layer}", f"mapping/Dense{layer}"))
    config = GeneratorConfig(
        resolution=sizes[-1],
        channels=channels,
        mapping_layers=layers,
        latent_dim=source.size("mapping/Dense0/weight", 0),
        style_dim=source.size("mapping/Dense0/weight", 1),
        object_switch=object_switch_for(sizes[-1]),
        conv_clamp=read_clamp(settings.get("conv_clamp"), source.label),
    )
    shapes = generator_shapes(config)
    if settings.get("use_noise") is False:
        silence(source, shapes, names)
    return config, assemble(source, shapes, names, _take)


def _read_discriminator(
    source: StateSource, settings: Mapping[Any, Any]
) -> tuple[DiscriminatorConfig, dict[str, Tensor]]:
    sizes = sizes_up_to(resolution_after(source.doublings("{0}x{0}/Skip/weight"), source.label))
    channels = {size: source.size(f"{size}x{size}/Conv0/weight", 3) for size in sizes[1:]}
    channels = {4: source.size("4x4/Conv/weight", 3), **channels}
    names = {
        **_named("from_rgb", f"{sizes[-1]}x{sizes[-1]}/FromRGB"),
        **_named("last_convolution", "4x4/Conv"),
        **_named("hidden", "4x4/Dense0"),
        **_named("output", "Output"),
    }
    for block, size in enumerate(sizes[:0:-1]):
        for ours, theirs in (("first", "Conv0"), ("second", "Conv1_down"), ("shortcut", "Skip")):
            names.update(_named(f"blocks.{block}.{ours}", f"{size}x{size}/{theirs}"))
    config = DiscriminatorConfig(
        resolution=sizes[-1], channels=channels, conv_clamp=read_clamp(settings.get("conv_clamp"), source.label)
    )
    return config, assemble(source, discriminator_shapes(config), names, _take)


def _named(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}/weight", f"{ours}.bias": f"{theirs}/bias"}


def _styled(ours: str, theirs: str) -> dict[str, str]:
    return {
        **_named(ours, theirs),
        f"{ours}.noise_strength": f"{theirs}/noise_strength",
        f"{ours}.modulation.weight": f"{theirs}/mod_weight",
        f"{ours}.modulation.bias": f"{theirs}/mod_bias",
    }


def _take(source: StateSource, ours: str, theirs: str, shape: Sequence[int]) -> Tensor:
    if ours.endswith(".weight"):
        weight = source.take(theirs, *shape[2:], shape[1], shape[0])
        if theirs.endswith("Conv0_up/weight"):
            weight = weight.flip(0, 1)
        return weight.permute(3, 2, 0, 1) if len(shape) == 4 else weight.t()
    tensor = source.take(theirs, *shape)
    return tensor + 1 if ours.endswith(".modulation.bias") else tensor
