"""Pickles in the layouts of NVIDIA's StyleGAN2 programs, written from our networks.

The programs' classes are stood in for by stubs of the same names, which exist only while a pickle is written.
"""

import copy
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from l4f_plugin.networks import Discriminator, Generator

FILTER = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
CANARY = "canary-of-the-source"
SOURCE = f"import pathlib\npathlib.Path({CANARY!r}).write_text('x')\nraise SystemExit('the source was run')\n"


class EasyDict(dict):
    """Stands for dnnlib.util.EasyDict."""


class Network:
    """Stands for dnnlib.tflib.network.Network."""

    def __init__(self, **state: Any):
        self.__dict__.update(state)


class Persistent(torch.nn.Module):
    """Stands for a class that torch_utils.persistence saves with its source text."""

    def __init__(self, class_name: str, buffers: Any = (), parameters: Any = (), children: Any = (), **attributes: Any):
        super().__init__()
        self.__dict__.update(attributes, class_name_of_stub=class_name)
        for name, tensor in dict(buffers).items():
            self.register_buffer(name, tensor)
        for name, tensor in dict(parameters).items():
            value = None if tensor is None else torch.nn.Parameter(tensor.detach(), requires_grad=False)
            self.register_parameter(name, value)
        for name, child in dict(children).items():
            self.add_module(name, child)

    def __reduce__(self):
        state = {name: value for name, value in self.__dict__.items() if name != "class_name_of_stub"}
        description = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.class_name_of_stub,
            "state": state,
        }
        return _reconstruct_persistent_obj, (description,)


def _reconstruct_persistent_obj(description):
    raise AssertionError("the pickle was run")


@contextmanager
def _as_theirs() -> Iterator[None]:
    """Gives the stubs the names of NVIDIA's classes."""
    homes = {
        "dnnlib.util": [EasyDict],
        "dnnlib.tflib.network": [Network],
        "torch_utils.persistence": [_reconstruct_persistent_obj],
    }
    packages = {"dnnlib", "dnnlib.tflib", "torch_utils"}
    modules = {name: types.ModuleType(name) for name in packages | homes.keys()}
    before = {name: sys.modules.get(name) for name in modules}
    own = {stub: stub.__module__ for stubs in homes.values() for stub in stubs}
    try:
        for name, stubs in homes.items():
            for stub in stubs:
                stub.__module__ = name
                setattr(modules[name], stub.__name__, stub)
        sys.modules.update(modules)
        yield
    finally:
        for stub, module in own.items():
            stub.__module__ = module
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def write(root: Any, path: Path, protocol: int = 4) -> Path:
    """Pickles an object made of stubs."""
    with _as_theirs(), open(path, "wb") as file:
        pickle.dump(root, file, protocol)
    return path


# --- TensorFlow


def tensorflow_root(generator: Generator, discriminator: Discriminator) -> tuple[Network, Network, Network]:
    """(G, D, Gs): Gs holds `generator`, G something else."""
    average = _tensorflow_generator("Gs", generator)
    return _tensorflow_generator("G", _halved(generator)), _tensorflow_discriminator(discriminator), average


def _tensorflow_generator(name: str, generator: Generator) -> Network:
    config, state = generator.config, generator.state_dict()
    synthesis, mapping = {"4x4/Const/const": state["synthesis.constant"].numpy()}, {}
    for index, size in enumerate(config.convolution_resolutions):
        layer = f"{size}x{size}/" + ("Conv" if not index else "Conv0_up" if index % 2 else "Conv1")
        ours = f"synthesis.convolutions.{index}"
        _put_styled(synthesis, layer, state, ours, flip=bool(index % 2))
        synthesis[f"{layer}/noise_strength"] = np.float32(state[f"{ours}.noise_strength"].item())
        synthesis[f"noise{index}"] = state[f"{ours}.noise"].numpy()
    for index, size in enumerate(config.resolutions):
        _put_styled(synthesis, f"{size}x{size}/ToRGB", state, f"synthesis.to_rgb.{index}")
    for layer in range(config.mapping_layers):
        _put(mapping, f"Dense{layer}", state, f"mapping.layers.{layer}")
    settings = _settings(config, architecture="skip", truncation_psi=0.5)
    parts = {
        part: _network(f"G_{part}", variables, settings)
        for part, variables in (("synthesis", synthesis), ("mapping", mapping))
    }
    own = {"lod": np.float32(0), "dlatent_avg": generator.latent_avg.numpy()}
    return _network("G_main", own, settings, name=name, components=EasyDict(parts))


def _tensorflow_discriminator(discriminator: Discriminator) -> Network:
    config, state, variables = discriminator.config, discriminator.state_dict(), {}
    sizes = config.resolutions[::-1]
    _put(variables, f"{sizes[0]}x{sizes[0]}/FromRGB", state, "from_rgb")
    for block, size in enumerate(sizes[:-1]):
        for theirs, ours in (("Conv0", "first"), ("Conv1_down", "second"), ("Skip", "shortcut")):
            _put(variables, f"{size}x{size}/{theirs}", state, f"blocks.{block}.{ours}")
    for theirs, ours in (("4x4/Conv", "last_convolution"), ("4x4/Dense0", "hidden"), ("Output", "output")):
        _put(variables, theirs, state, ours)
    settings = _settings(config, resample_kernel=[1, 3, 3, 1], mbstd_group_size=4)
    return _network("D_main", variables, settings, name="D")


def _settings(config: Any, **more: Any) -> dict[str, Any]:
    of_both = {"num_channels": 3, "resolution": config.resolution, "label_size": 0, "conv_clamp": config.conv_clamp}
    return of_both | more


def _network(
    function: str,
    variables: dict[str, Any],
    settings: dict[str, Any],
    name: str | None = None,
    components: EasyDict | None = None,
) -> Network:
    return Network(
        version=4,
        name=name or function,
        static_kwargs=EasyDict(settings),
        components=components or EasyDict(),
        build_module_src=SOURCE,
        build_func_name=function,
        variables=list(variables.items()),
    )


def _put(variables: dict[str, Any], theirs: str, state: dict[str, torch.Tensor], ours: str, flip: bool = False) -> None:
    weight = state[f"{ours}.weight"]
    if flip:
        weight = weight.flip(2, 3)
    weight = weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight.t()
    variables[f"{theirs}/weight"] = np.ascontiguousarray(weight.numpy())
    if f"{ours}.bias" in state:
        variables[f"{theirs}/bias"] = state[f"{ours}.bias"].numpy()


def _put_styled(
    variables: dict[str, Any], theirs: str, state: dict[str, torch.Tensor], ours: str, flip: bool = False
) -> None:
    _put(variables, theirs, state, ours, flip)
    variables[f"{theirs}/mod_weight"] = np.ascontiguousarray(state[f"{ours}.modulation.weight"].t().numpy())
    variables[f"{theirs}/mod_bias"] = state[f"{ours}.modulation.bias"].numpy() - 1


# --- PyTorch


def pytorch_root(generator: Generator, discriminator: Discriminator | None) -> dict[str, Any]:
    """What ADA's training saves: G_ema holds `generator`, G something else."""
    return {
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", max_size=None),
        "G": pytorch_generator(_halved(generator)),
        "G_ema": pytorch_generator(generator),
        "D": discriminator and pytorch_discriminator(discriminator),
        "augment_pipe": Persistent("AugmentPipe", {"p": torch.zeros(())}, xflip=1.0),
    }


def pytorch_generator(generator: Generator) -> Persistent:
    config, state = generator.config, generator.state_dict()
    layers = {f"fc{n}": _dense(state, f"mapping.layers.{n}", "lrelu", 0.01) for n in range(config.mapping_layers)}
    attributes = {"num_layers": config.mapping_layers, "c_dim": 0}
    mapping = Persistent("MappingNetwork", {"w_avg": generator.latent_avg}, children=layers, **attributes)
    blocks = {}
    for index, size in enumerate(config.resolutions):
        layers = {"torgb": _modulated("ToRGBLayer", state, f"synthesis.to_rgb.{index}", conv_clamp=config.conv_clamp)}
        for layer, place in (("conv0", 2 * index - 1), ("conv1", 2 * index)):
            if place >= 0:
                layers[layer] = _styled_convolution(state, place, config.conv_clamp)
        blocks[f"b{size}"] = Persistent(
            "SynthesisBlock",
            {"resample_filter": FILTER.clone()},
            {"const": state["synthesis.constant"][0]} if size == 4 else {},
            layers,
            architecture="skip",
            resolution=size,
            use_fp16=False,
        )
    synthesis = Persistent("SynthesisNetwork", children=blocks, img_resolution=config.resolution, img_channels=3)
    attributes = {"z_dim": config.latent_dim, "c_dim": 0}
    return Persistent(
        "Generator",
        children={"mapping": mapping, "synthesis": synthesis},
        img_channels=3,
        _init_kwargs=EasyDict(attributes),
        **attributes,
    )


def _styled_convolution(state: dict[str, torch.Tensor], index: int, clamp: float | None) -> Persistent:
    ours = f"synthesis.convolutions.{index}"
    attributes = {"activation": "lrelu", "up": 1 + index % 2, "use_noise": True, "act_gain": np.sqrt(2)}
    layer = _modulated("SynthesisLayer", state, ours, conv_clamp=clamp, **attributes)
    layer.register_buffer("resample_filter", FILTER.clone())
    layer.register_buffer("noise_const", state[f"{ours}.noise"][0, 0])
    strength = torch.nn.Parameter(state[f"{ours}.noise_strength"].detach(), requires_grad=False)
    layer.register_parameter("noise_strength", strength)
    return layer


def _modulated(name: str, state: dict[str, torch.Tensor], ours: str, **attributes: Any) -> Persistent:
    weight = state[f"{ours}.weight"].to(memory_format=torch.channels_last)  # as blocks in half precision keep it
    affine = _dense(state, f"{ours}.modulation", "linear", 1)
    tensors = {"weight": weight, "bias": state[f"{ours}.bias"]}
    return Persistent(name, parameters=tensors, children={"affine": affine}, **attributes)


def pytorch_discriminator(discriminator: Discriminator) -> Persistent:
    config, state = discriminator.config, discriminator.state_dict()
    clamp, blocks = config.conv_clamp, {}
    for block, size in enumerate(config.resolutions[:0:-1]):
        layers = {} if block else {"fromrgb": _convolution(state, "from_rgb", clamp)}
        layers["conv0"] = _convolution(state, f"blocks.{block}.first", clamp)
        layers["conv1"] = _convolution(state, f"blocks.{block}.second", clamp, down=2)
        layers["skip"] = _convolution(state, f"blocks.{block}.shortcut", None, down=2)
        filters = {"resample_filter": FILTER.clone()}
        blocks[f"b{size}"] = Persistent("DiscriminatorBlock", filters, children=layers, architecture="resnet")
    layers = {
        "mbstd": Persistent("MinibatchStdLayer", group_size=4, num_channels=1),
        "conv": _convolution(state, "last_convolution", clamp),
        "fc": _dense(state, "hidden", "lrelu", 1),
        "out": _dense(state, "output", "linear", 1),
    }
    blocks["b4"] = Persistent("DiscriminatorEpilogue", children=layers, architecture="resnet")
    return Persistent("Discriminator", children=blocks, c_dim=0, img_channels=3)


def _convolution(state: dict[str, torch.Tensor], ours: str, clamp: float | None, down: int = 1) -> Persistent:
    bias = state.get(f"{ours}.bias")
    # the weight is a buffer, as where a layer was frozen
    buffers = {"resample_filter": FILTER.clone(), "weight": state[f"{ours}.weight"]}
    attributes = {"activation": "linear" if bias is None else "lrelu", "up": 1, "down": down, "conv_clamp": clamp}
    return Persistent("Conv2dLayer", buffers, {"bias": bias}, **attributes)


def _dense(state: dict[str, torch.Tensor], ours: str, activation: str, multiplier: float) -> Persistent:
    tensors = {kind: state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    gain = multiplier / np.sqrt(tensors["weight"].shape[1])
    attributes = {"activation": activation, "bias_gain": multiplier, "weight_gain": gain}
    return Persistent("FullyConnectedLayer", parameters=tensors, **attributes)


def _halved(generator: Generator) -> Generator:
    other = copy.deepcopy(generator)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    return other


def visit(root: Any, change: Callable[[Persistent], None]) -> None:
    """Applies `change` to every module in the roots of a PyTorch pickle."""
    for value in root.values():
        if isinstance(value, Persistent):
            for module in value.modules():
                change(module)
