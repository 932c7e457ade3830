"""StyleGAN2 as NVIDIA's PyTorch programs save it (ADA, and the StyleGAN2 networks of StyleGAN3's program).

A dictionary with the modules G, D and G_ema, the moving average and the generator to use. The axes of all
tensors lie as ours do, and their learning-rate scales are applied at run time as ours are. What a layer
computes is read from the attributes that it recorded, since the defaults of the two programs differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..networks import DiscriminatorConfig, GeneratorConfig
from ..networks.generator import MAPPING_LEARNING_RATE_MULTIPLIER
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
from .nvidia_pickles import PersistentObject
from .nvidia_settings import difference, read_clamp, refuse_conditional
from .state_source import StateSource
from .torch_files import StoredTensor

MAXIMUM_MODULES = 1000
MAXIMUM_NAME = 64
_ACTIVE = {"activation": "lrelu"}
_LINEAR = {"activation": "linear"}
_DENSE = {"bias_gain": 1}
_MAPPING = {**_ACTIVE, "bias_gain": MAPPING_LEARNING_RATE_MULTIPLIER}


class _Module:
    """A tree of modules: tensors by their full names, and the attributes of each module."""

    def __init__(self, root: PersistentObject, label: str):
        self.label = label
        self.tensors: dict[str, StoredTensor] = {}
        self.attributes: dict[str, dict[Any, Any]] = {}
        waiting: list[tuple[str, Any]] = [("", root)]
        while waiting:
            prefix, module = waiting.pop()
            if not isinstance(module, PersistentObject) or len(self.attributes) >= MAXIMUM_MODULES:
                raise UserError(f"{label} holds modules in a way that StyleGAN2 does not; get another copy.")
            self.attributes[prefix.removesuffix(".")] = module.state
            for kind in ("_parameters", "_buffers"):
                for name, value in self._items(module, kind, prefix):
                    if isinstance(value, StoredTensor):
                        self.tensors[name] = value
            waiting += [
                (f"{name}.", value) for name, value in self._items(module, "_modules", prefix) if value is not None
            ]

    def _items(self, module: PersistentObject, kind: str, prefix: str) -> Iterable[tuple[str, Any]]:
        items = module.state.get(kind)
        for name, value in items.items() if isinstance(items, dict) else ():
            if not isinstance(name, str) or len(prefix) + len(name) > MAXIMUM_NAME:
                raise UserError(f"{self.label} names modules in a way that StyleGAN2 does not; get another copy.")
            yield prefix + name, value

    def get(self, module: str, attribute: str) -> Any:
        return self.attributes.get(module, {}).get(attribute)

    def difference(self, expected: Mapping[str, Mapping[str, Any]]) -> str | None:
        """In words, the first attribute of a module that is not as `expected[module]` has it."""
        for module, values in expected.items():
            recorded = self.attributes.get(module, {})
            found = {name: recorded.get(name) for name in values}
            if wrong := difference(found, values):
                return wrong + (f" ({module})" if module else "")
        return None

    def clamp(self, modules: Iterable[str]) -> tuple[float | None, str | None]:
        """The `conv_clamp` of `modules`, and in words what is wrong if they do not share one."""
        first, *others = {read_clamp(self.get(module, "conv_clamp"), self.label) for module in modules}
        return first, "layers with different conv_clamp where one is supported" if others else None


def is_pytorch(root: Any) -> bool:
    """Whether a pickle's object is the dictionary that these programs save."""
    return isinstance(root, dict) and isinstance(root.get("G_ema"), PersistentObject)


def read_pytorch(root: Mapping[Any, Any], label: str, limit: int) -> PublishedNetworks:
    """The networks of a file of `limit` bytes. Raises `UserError` where they are of another kind than ours."""
    module = _Module(root["G_ema"], label)
    refuse_conditional(module.get("", "c_dim"), label)
    source = StateSource(module.tensors, label, "generator", limit)
    mean = None
    if "mapping.w_avg" in source.state:
        mean = source.take("mapping.w_avg", source.size("mapping.w_avg", 0))
    networks = PublishedNetworks(_read_generator(source, module), latent_avg=mean)
    if not isinstance(root.get("D"), PersistentObject):
        return networks
    module = _Module(root["D"], label)
    source = StateSource(module.tensors, label, "discriminator", limit)
    sizes = sizes_up_to(networks.generator[0].resolution)
    wrong = module.difference(_expected_discriminator(sizes))
    clamp, different = module.clamp(_clamped_in_discriminator(sizes))
    if wrong or different:
        networks.remark = f"The discriminator has {wrong or different} and was left out."
    else:
        networks.discriminator = _read_discriminator(source, sizes, clamp)
    return networks


def _read_generator(source: StateSource, module: _Module) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    label = source.label
    if "synthesis.b4.const" not in source.state:
        raise UserError(
            f"{label} holds a generator of another architecture than StyleGAN2, perhaps StyleGAN3's "
            "own; only StyleGAN2 is supported."
        )
    sizes = sizes_up_to(resolution_after(source.doublings("synthesis.b{0}.conv0.weight"), label))
    layers = source.count("mapping.fc{}.weight")
    names = {"synthesis.constant": "synthesis.b4.const"}
    expected = {"": {"img_channels": 3}, **{f"mapping.fc{layer}": _MAPPING for layer in range(layers)}}
    for layer in range(layers):
        names.update(_named(f"mapping.layers.{layer}", f"mapping.fc{layer}"))
    convolutions = ["synthesis.b4.conv1"]
    convolutions += [f"synthesis.b{size}.conv{index}" for size in sizes[1:] for index in (0, 1)]
    for index, theirs in enumerate(convolutions):
        names.update(_styled(f"synthesis.convolutions.{index}", theirs))
        expected[theirs] = {**_ACTIVE, "up": 2 if index % 2 else 1}
        expected[f"{theirs}.affine"] = {**_LINEAR, **_DENSE}
    for index, size in enumerate(sizes):
        names.update(_styled(f"synthesis.to_rgb.{index}", f"synthesis.b{size}.torgb"))
        expected[f"synthesis.b{size}"] = {"architecture": "skip"}
        expected[f"synthesis.b{size}.torgb.affine"] = {**_LINEAR, **_DENSE}
    clamp, different = module.clamp([*convolutions, *(f"synthesis.b{size}.torgb" for size in sizes)])
    wrong = module.difference(expected) or different
    if wrong:
        raise UserError(f"{label} holds a generator with {wrong}; choose another model.")
    config = GeneratorConfig(
        resolution=sizes[-1],
        mapping_layers=layers,
        conv_clamp=clamp,
        channels={size: source.size(f"synthesis.b{size}.conv1.weight", 0) for size in sizes},
        latent_dim=source.size("mapping.fc0.weight", 1),
        style_dim=source.size("mapping.fc0.weight", 0),
        object_switch=object_switch_for(sizes[-1]),
    )
    shapes = generator_shapes(config)
    if all(module.get(theirs, "use_noise") is False for theirs in convolutions):
        silence(source, shapes, names)
    return config, assemble(source, shapes, names)


def _expected_discriminator(sizes: list[int]) -> dict[str, dict[str, Any]]:
    expected: dict[str, dict[str, Any]] = {
        "": {"c_dim": 0, "img_channels": 3},
        "b4.mbstd": {"group_size": 4, "num_channels": 1},
        "b4.conv": {**_ACTIVE, "down": 1},
        "b4.fc": {**_ACTIVE, **_DENSE},
        "b4.out": {**_LINEAR, **_DENSE},
        f"b{sizes[-1]}.fromrgb": {**_ACTIVE, "down": 1},
    }
    for size in sizes[1:]:
        expected.update(
            {
                f"b{size}": {"architecture": "resnet"},
                f"b{size}.conv0": {**_ACTIVE, "down": 1},
                f"b{size}.conv1": {**_ACTIVE, "down": 2},
                f"b{size}.skip": {**_LINEAR, "down": 2, "conv_clamp": None},
            }
        )
    return expected


def _clamped_in_discriminator(sizes: list[int]) -> list[str]:
    return [f"b{sizes[-1]}.fromrgb", "b4.conv", *(f"b{size}.conv{index}" for size in sizes[1:] for index in (0, 1))]


def _read_discriminator(
    source: StateSource, sizes: list[int], clamp: float | None
) -> tuple[DiscriminatorConfig, dict[str, Tensor]]:
    names = {
        **_named("from_rgb", f"b{sizes[-1]}.fromrgb"),
        **_named("last_convolution", "b4.conv"),
        **_named("hidden", "b4.fc"),
        **_named("output", "b4.out"),
    }
    for block, size in enumerate(sizes[:0:-1]):
        for ours, theirs in (("first", "conv0"), ("second", "conv1"), ("shortcut", "skip")):
            names.update(_named(f"blocks.{block}.{ours}", f"b{size}.{theirs}"))
    channels = {4: source.size("b4.conv.weight", 0)}
    channels.update({size: source.size(f"b{size}.conv0.weight", 0) for size in sizes[1:]})
    config = DiscriminatorConfig(resolution=sizes[-1], channels=channels, conv_clamp=clamp)
    return config, assemble(source, discriminator_shapes(config), names)


def _named(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}.weight", f"{ours}.bias": f"{theirs}.bias"}


def _styled(ours: str, theirs: str) -> dict[str, str]:
    return {
        **_named(ours, theirs),
        f"{ours}.noise": f"{theirs}.noise_const",
        f"{ours}.noise_strength": f"{theirs}.noise_strength",
        f"{ours}.modulation.weight": f"{theirs}.affine.weight",
        f"{ours}.modulation.bias": f"{theirs}.affine.bias",
    }
