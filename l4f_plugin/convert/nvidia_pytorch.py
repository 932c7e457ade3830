"""StyleGAN2 as NVIDIA's PyTorch programs save it (ADA, and the StyleGAN2 networks of StyleGAN3's program).

A dictionary with the modules G, D and G_ema, the moving average and the generator to use. The axes of all
tensors lie as ours do, and their learning-rate scales are applied at run time as ours are. What a layer
computes is read from the attributes that it recorded, since the defaults of the two programs differ.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import UserError
from ..jobs import Report
from ..networks import Discriminator, DiscriminatorConfig, Generator
from ..networks.generator import MAPPING_LEARNING_RATE_MULTIPLIER
from .checkpoint_files import PYTORCH_MODULE
from .layouts import PublishedNetworks, StateSource, assemble, generator_config, named
from .nvidia_settings import difference, read_clamp, refuse_conditional
from .pickles import Record
from .stored_tensors import StoredTensor

MAXIMUM_MODULES = 1000
MAXIMUM_NAME = 64
_ACTIVE = {"activation": "lrelu"}
_LINEAR = {"activation": "linear"}
_DENSE = {"bias_gain": 1}
_MAPPING = {**_ACTIVE, "bias_gain": MAPPING_LEARNING_RATE_MULTIPLIER}
_PLAIN = {"weight": ".weight", "bias": ".bias"}
_TO_RGB = {**_PLAIN, "modulation.weight": ".affine.weight", "modulation.bias": ".affine.bias"}
_STYLED = {**_TO_RGB, "noise": ".noise_const", "noise_strength": ".noise_strength"}


def is_pytorch(root: Any) -> bool:
    return isinstance(root, dict) and _is_module(root.get("G_ema"))


def _is_module(value: Any) -> bool:
    return isinstance(value, Record) and value.name == PYTORCH_MODULE


class _Module:
    """A tree of modules: tensors by their full names, and the attributes of each module."""

    def __init__(self, root: Record, label: str):
        self.label = label
        self.tensors: dict[str, StoredTensor] = {}
        self.attributes: dict[str, dict[Any, Any]] = {}
        waiting: list[tuple[str, Any]] = [("", root)]
        while waiting:
            prefix, module = waiting.pop()
            if not _is_module(module) or len(self.attributes) >= MAXIMUM_MODULES:
                raise UserError(f"{label} holds modules in a way that StyleGAN2 does not; get another copy.")
            self.attributes[prefix.removesuffix(".")] = module.state
            for kind in ("_parameters", "_buffers"):
                for name, value in self._items(module, kind, prefix):
                    if isinstance(value, StoredTensor):
                        self.tensors[name] = value
            waiting += [
                (f"{name}.", value) for name, value in self._items(module, "_modules", prefix) if value is not None
            ]

    def _items(self, module: Record, kind: str, prefix: str) -> Iterator[tuple[str, Any]]:
        items = module.state.get(kind)
        for name, value in items.items() if isinstance(items, dict) else ():
            if not isinstance(name, str) or len(prefix) + len(name) > MAXIMUM_NAME:
                raise UserError(f"{self.label} names modules in a way that StyleGAN2 does not; get another copy.")
            yield prefix + name, value

    def get(self, module: str, attribute: str) -> Any:
        return self.attributes.get(module, {}).get(attribute)

    def clamp(
        self, modules: Iterable[str], expected: Mapping[str, Mapping[str, Any]]
    ) -> tuple[float | None, str | None]:
        """The `conv_clamp` that `modules` share; and in words, what is wrong: the first attribute of a module that is
        not as `expected[module]` has it, or that they do not share one."""
        first, *others = {read_clamp(self.get(module, "conv_clamp"), self.label) for module in modules}
        for module, values in expected.items():
            if wrong := difference({name: self.get(module, name) for name in values}, values):
                return first, wrong + (f" ({module})" if module else "")
        return first, "layers with different conv_clamp where one is supported" if others else None


def read_pytorch(root: Mapping[Any, Any], label: str, limit: int, report: Report) -> PublishedNetworks:
    """The networks of a file of `limit` bytes; `report` is told what is left out.

    Raises `UserError` where they are of another kind than ours.
    """
    module = _Module(root["G_ema"], label)
    refuse_conditional(module.get("", "c_dim"), label)
    source = StateSource(module.tensors, label, "generator", limit)
    mean = source.take("mapping.w_avg", source.size("mapping.w_avg", 0)) if "mapping.w_avg" in source.state else None
    generator, discriminator = _read_generator(source, module), None
    if _is_module(root.get("D")):
        discriminator = _read_discriminator(_Module(root["D"], label), limit, generator.config.resolutions, report)
    return generator, discriminator, mean


def _read_generator(source: StateSource, module: _Module) -> Generator:
    if "synthesis.b4.const" not in source.state:
        raise UserError(
            f"{source.label} holds a generator of another architecture than StyleGAN2, perhaps StyleGAN3's "
            "own; only StyleGAN2 is supported."
        )
    sizes = source.sizes(source.count("synthesis.b{}.conv0.weight", lambda place: 8 << place))
    mapping = [f"mapping.fc{layer}" for layer in range(source.count("mapping.fc{}.weight"))]
    blocks = [f"synthesis.b{size}" for size in sizes]
    convolutions = ["synthesis.b4.conv1", *(f"{block}.conv{index}" for block in blocks[1:] for index in (0, 1))]
    to_rgbs = [f"{block}.torgb" for block in blocks]
    expected = {
        "": {"img_channels": 3},
        **dict.fromkeys(mapping, _MAPPING),
        **{name: {**_ACTIVE, "up": 2 if index % 2 else 1} for index, name in enumerate(convolutions)},
        **dict.fromkeys(blocks, {"architecture": "skip"}),
        **{f"{name}.affine": {**_LINEAR, **_DENSE} for name in convolutions + to_rgbs},
    }
    clamp, wrong = module.clamp(convolutions + to_rgbs, expected)
    if wrong:
        raise UserError(f"{source.label} holds a generator with {wrong}; choose another model.")
    names = {
        "synthesis.constant": "synthesis.b4.const",
        **named("mapping.layers.{}", mapping, _PLAIN),
        **named("synthesis.convolutions.{}", convolutions, _STYLED),
        **named("synthesis.to_rgb.{}", to_rgbs, _TO_RGB),
    }
    channels = {size: source.size(f"synthesis.b{size}.conv1.weight", 0) for size in sizes}
    config = generator_config(source, channels, len(mapping), "mapping.fc0.weight", 1, clamp)
    without_noise = all(module.get(name, "use_noise") is False for name in convolutions)
    return assemble(source, lambda: Generator(config), names, without_noise=without_noise)


def _read_discriminator(module: _Module, limit: int, sizes: list[int], report: Report) -> Discriminator | None:
    blocks = [f"b{size}" for size in sizes[:0:-1]]
    expected: dict[str, dict[str, Any]] = {
        "": {"c_dim": 0, "img_channels": 3},
        "b4.mbstd": {"group_size": 4, "num_channels": 1},
        "b4.conv": {**_ACTIVE, "down": 1},
        "b4.fc": {**_ACTIVE, **_DENSE},
        "b4.out": {**_LINEAR, **_DENSE},
        f"{blocks[0]}.fromrgb": {**_ACTIVE, "down": 1},
        **dict.fromkeys(blocks, {"architecture": "resnet"}),
        **{f"{block}.conv{index}": {**_ACTIVE, "down": 1 + index} for block in blocks for index in (0, 1)},
        **{f"{block}.skip": {**_LINEAR, "down": 2, "conv_clamp": None} for block in blocks},
    }
    convolutions = [f"{block}.conv{index}" for block in blocks for index in (0, 1)]
    clamp, wrong = module.clamp([f"{blocks[0]}.fromrgb", "b4.conv", *convolutions], expected)
    if wrong:
        report(f"The discriminator has {wrong} and was left out.")
        return None
    names = {
        **named("from_rgb", f"{blocks[0]}.fromrgb", _PLAIN),
        **named("blocks.{}.first", [f"{block}.conv0" for block in blocks], _PLAIN),
        **named("blocks.{}.second", [f"{block}.conv1" for block in blocks], _PLAIN),
        **named("blocks.{}.shortcut", [f"{block}.skip" for block in blocks], _PLAIN),
        **named("last_convolution", "b4.conv", _PLAIN),
        **named("hidden", "b4.fc", _PLAIN),
        **named("output", "b4.out", _PLAIN),
    }
    source = StateSource(module.tensors, module.label, "discriminator", limit)
    channels = {size: source.size(f"b{size}.conv{'0' if size > 4 else ''}.weight", 0) for size in sizes}
    config = DiscriminatorConfig(sizes[-1], channels, clamp)
    return assemble(source, lambda: Discriminator(config), names)
