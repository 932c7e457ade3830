"""StyleGAN2 as NVIDIA's TensorFlow programs save it (configurations E and F, and ADA).

A tuple (G, D, Gs) of networks, each with its recorded keyword arguments and its variables as (name, array)
pairs; Gs, the moving average, is the generator to use. Compared with our layout: dense weights are [in, out],
kernels [height, width, in, out], kernels of up-sampling convolutions are turned by half a circle (a transposed
convolution is asked for with the kernel flipped), and style biases count from 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..jobs import Report
from ..networks import Discriminator, DiscriminatorConfig, Generator
from .checkpoint_files import TENSORFLOW_NETWORK
from .layouts import PublishedNetworks, StateSource, assemble, generator_config, named
from .nvidia_settings import difference, read_clamp, refuse_conditional
from .pickles import Record
from .stored_tensors import StoredTensor

_COMMON = {"num_channels": 3, "nonlinearity": "lrelu", "resample_kernel": [1, 3, 3, 1], "use_spectral_norm": False}
_GENERATOR = _COMMON | {
    "architecture": "skip",
    "mapping_nonlinearity": "lrelu",
    "mapping_lrmul": 0.01,
    "normalize_latents": True,
}
_DISCRIMINATOR = _COMMON | {
    "architecture": "resnet",
    "mbstd_num_features": 1,
    "mbstd_group_size": 4,
    "use_pagan": False,
    "score_max": 1,
}
_GROUP_IS_THE_BATCH = "D_main"  # ADA's discriminator, unless a group size is recorded
_PLAIN = {"weight": "/weight", "bias": "/bias"}
_TO_RGB = {**_PLAIN, "modulation.weight": "/mod_weight", "modulation.bias": "/mod_bias"}
_STYLED = {**_TO_RGB, "noise_strength": "/noise_strength"}


def is_tensorflow(root: Any) -> bool:
    return isinstance(root, tuple) and len(root) == 3 and all(map(_is_network, root))


def _is_network(value: Any) -> bool:
    return isinstance(value, Record) and value.name == TENSORFLOW_NETWORK and isinstance(value.state, dict)


def read_tensorflow(root: Sequence[Record], label: str, limit: int, report: Report) -> PublishedNetworks:
    """The networks of a file of `limit` bytes; `report` is told what is left out.

    Raises `UserError` where they are of another kind than ours.
    """
    _, discriminator_state, generator_state = (network.state for network in root)
    settings, variables = _settings(generator_state, label), _variables(generator_state, "", label)
    parts = generator_state.get("components")
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
    if wrong := difference(settings, _GENERATOR):
        raise UserError(f"{label} holds a generator with {wrong}; choose another model.")

    source = StateSource(variables, label, "generator", limit)
    mean = source.take("dlatent_avg", source.size("dlatent_avg", 0)) if "dlatent_avg" in source.state else None
    generator, settings = _read_generator(source, settings), _settings(discriminator_state, label)
    if discriminator_state.get("build_func_name") == _GROUP_IS_THE_BATCH:
        settings.setdefault("mbstd_group_size", None)
    if wrong := difference(settings, _DISCRIMINATOR):
        report(f"The discriminator has {wrong} and was left out.")
        return generator, None, mean
    source = StateSource(_variables(discriminator_state, "", label), label, "discriminator", limit)
    return generator, _read_discriminator(source, settings), mean


def _settings(state: Mapping[Any, Any], label: str) -> dict[Any, Any]:
    settings = state.get("static_kwargs")
    if not isinstance(settings, dict):
        raise UserError(f"{label} holds a network without its settings (static_kwargs); get another copy.")
    return dict(settings)


def _variables(state: Mapping[Any, Any], prefix: str, label: str) -> dict[str, StoredTensor | float]:
    """A network's own variables by name, without the progress of a growing training if that is over (lod 0)."""
    pairs, variables = state.get("variables"), {}
    for pair in pairs if isinstance(pairs, list) else [None]:
        name, value = pair if isinstance(pair, (tuple, list)) and len(pair) == 2 else (None, None)
        if not isinstance(name, str) or not isinstance(value, (StoredTensor, float)):
            raise UserError(f"{label} holds a network whose variables are not named arrays; get another copy.")
        if name != "lod" or value != 0.0:
            variables[prefix + name] = value
    return variables


def _read_generator(source: StateSource, settings: Mapping[Any, Any]) -> Generator:
    sizes = source.sizes(source.count("synthesis/{0}x{0}/ToRGB/weight", lambda place: 8 << place))
    blocks = [f"synthesis/{size}x{size}" for size in sizes]
    layers = source.count("mapping/Dense{}/weight")
    convolutions = [f"{blocks[0]}/Conv"]
    convolutions += [f"{block}/{layer}" for block in blocks[1:] for layer in ("Conv0_up", "Conv1")]
    names = {
        "synthesis.constant": "synthesis/4x4/Const/const",
        **named("mapping.layers.{}", [f"mapping/Dense{layer}" for layer in range(layers)], _PLAIN),
        **named("synthesis.convolutions.{}", convolutions, _STYLED),
        **{f"synthesis.convolutions.{index}.noise": f"synthesis/noise{index}" for index in range(len(convolutions))},
        **named("synthesis.to_rgb.{}", [f"{block}/ToRGB" for block in blocks], _TO_RGB),
    }
    channels = {size: source.size(f"{block}/ToRGB/weight", 2) for size, block in zip(sizes, blocks, strict=True)}
    clamp = read_clamp(settings.get("conv_clamp"), source.label)
    config = generator_config(source, channels, layers, "mapping/Dense0/weight", 0, clamp)
    return assemble(source, lambda: Generator(config), names, _take, without_noise=settings.get("use_noise") is False)


def _read_discriminator(source: StateSource, settings: Mapping[Any, Any]) -> Discriminator:
    sizes = source.sizes(source.count("{0}x{0}/Skip/weight", lambda place: 8 << place))
    blocks = [f"{size}x{size}" for size in sizes[::-1]]
    names = {
        **named("from_rgb", f"{blocks[0]}/FromRGB", _PLAIN),
        **named("blocks.{}.first", [f"{block}/Conv0" for block in blocks[:-1]], _PLAIN),
        **named("blocks.{}.second", [f"{block}/Conv1_down" for block in blocks[:-1]], _PLAIN),
        **named("blocks.{}.shortcut", [f"{block}/Skip" for block in blocks[:-1]], _PLAIN),
        **named("last_convolution", "4x4/Conv", _PLAIN),
        **named("hidden", "4x4/Dense0", _PLAIN),
        **named("output", "Output", _PLAIN),
    }
    channels = {size: source.size(f"{size}x{size}/Conv{'0' if size > 4 else ''}/weight", 3) for size in sizes}
    config = DiscriminatorConfig(sizes[-1], channels, read_clamp(settings.get("conv_clamp"), source.label))
    return assemble(source, lambda: Discriminator(config), names, _take)


def _take(source: StateSource, ours: str, theirs: str, shape: Sequence[int]) -> Tensor:
    if ours.endswith(".weight"):
        weight = source.take(theirs, *shape[2:], shape[1], shape[0])
        if theirs.endswith("Conv0_up/weight"):
            weight = weight.flip(0, 1)
        return weight.permute(3, 2, 0, 1) if len(shape) == 4 else weight.t()
    tensor = source.take(theirs, *shape)
    return tensor + 1 if ours.endswith(".modulation.bias") else tensor
