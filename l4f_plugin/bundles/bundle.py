"""A bundle: one folder with everything about an object class, checked when read, replaced in one step.

    config.json                 what `config.py` describes
    generator.safetensors       required
    alpha.safetensors           masks; absent for a class that has none yet
    background.safetensors      learned background, optional
    discriminator.safetensors   to go on training, optional
    student.safetensors         segmenter of photographs, optional
    README.md                   model card with licence and provenance

Weights may be stored in half precision; networks are always float32 in memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import UserError, printable
from ..networks import AlphaNetwork, Discriminator, Generator, LearnedBackground, Student
from .config import ObjectClass, WeightFile, read_config
from .files import CARD_NAME, CONFIG_NAME, NETWORKS, replace_bundle, sha256_of, write_text
from .model_card import read_model_card, write_model_card
from .records import verify_file
from .tensor_files import open_tensors, save_tensors

STORED_DTYPES = ("F16", "BF16", "F32")
_AGAIN = "fetch the bundle again"
_Network = TypeVar("_Network", bound=nn.Module)


@dataclass
class Bundle:
    """An object class in memory. `generator.latent_avg` is set; networks are in eval mode, float32."""

    config: ObjectClass
    generator: Generator
    alpha: AlphaNetwork | None = None
    background: LearnedBackground | None = None
    discriminator: Discriminator | None = None
    student: Student | None = None
    model_card: str | None = None  # the text of the README; None asks for one made from the config
    folder: Path | None = None  # where it was read from

    def networks(self) -> dict[str, nn.Module]:
        """The networks that are there, by the name of their file without suffix."""
        return {name: network for name in NETWORKS if (network := getattr(self, name)) is not None}


_BUILDERS: dict[str, Callable[[ObjectClass], nn.Module]] = {
    "generator": lambda config: Generator(config.generator),
    "alpha": lambda config: AlphaNetwork(config.generator.feature_channels, config.alpha_hidden_channels),
    "background": lambda config: LearnedBackground(
        config.generator.channels[4], config.generator.num_styles, config.generator.style_dim
    ),
    "discriminator": lambda config: Discriminator(config.discriminator),
    "student": lambda config: Student(config.student),
}


def load_bundle(folder: Path, *, with_discriminator: bool = False) -> Bundle:
    """Reads a bundle and checks all of it: schema, types, bounds, sizes, hashes, names, shapes, dtypes, finite values.

    The discriminator is read only `with_discriminator`, and is None where the bundle has none. Raises `UserError`.
    """
    folder = Path(folder)
    config = read_config(folder)
    wanted = [name for name in NETWORKS if with_discriminator or name != "discriminator"]
    networks = {name: _load_network(folder, config, name) for name in wanted}
    networks["generator"].latent_avg = torch.tensor(config.latent_avg)
    return Bundle(config, **networks, model_card=read_model_card(folder), folder=folder)


def load_network(folder: Path, name: str, device: torch.device | str = "cpu") -> nn.Module | None:
    """One network of a bundle alone, such as "student", checked as `load_bundle` does; None where there is none."""
    found = _load_network(folder, read_config(folder), name)
    return found and found.to(device)


def _load_network(folder: Path, config: ObjectClass, name: str) -> nn.Module | None:
    path = folder / f"{name}.safetensors"
    described = name not in ("discriminator", "student") or getattr(config, name) is not None
    if name != "generator" and not (described and path.name in config.files):
        return None
    verify_file(path, config.files.get(path.name))
    return build_network(lambda: _BUILDERS[name](config), lambda shapes: _checked_tensors(path, shapes))


def build_network(
    build: Callable[[], _Network], read: Callable[[dict[str, tuple[int, ...]]], dict[str, torch.Tensor]]
) -> _Network:
    """Makes a network in eval mode around the tensors that `read` returns for its names and shapes.

    Names and shapes are known before any memory is taken.
    """
    with _WithoutMemory():
        network = build()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(read(shapes), assign=True)
    return network.eval()


_DIVISIONS = (torch.Tensor.div, torch.Tensor.true_divide, torch.Tensor.__truediv__)  # releases differ in what `/` calls


class _WithoutMemory(TorchFunctionMode):
    """Makes each tensor of a network one number, seen in the tensor's shape.

    The meta device would do the same, but its first use imports torch's compiler, which takes seconds.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.randn, torch.zeros, torch.full):
            return torch.empty(()).expand(args[0] if isinstance(args[0], tuple) else args)
        return args[0] if function in _DIVISIONS else function(*args, **(kwargs or {}))


def _checked_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The tensors of a verified weight file as float32, once they are as `shapes` asks and finite."""
    with open_tensors(path, _AGAIN) as file:
        names = set(file.keys())
        for kind, wrong in (("lacks", shapes.keys() - names), ("holds the unknown", names - shapes.keys())):
            if wrong:
                tensor = printable(min(wrong))
                raise UserError(f"{path} {kind} tensor {tensor}, it belongs to another network; {_AGAIN}.")
        for name, shape in shapes.items():
            piece = file.get_slice(name)
            found, dtype = tuple(piece.get_shape()), piece.get_dtype()
            if found != shape:
                asked = f"where {CONFIG_NAME} asks for {list(shape)}"
                raise UserError(f"{path} holds {name} with shape {list(found)} {asked}; {_AGAIN}.")
            if dtype not in STORED_DTYPES:
                known = ", ".join(STORED_DTYPES)
                raise UserError(f"{path} holds {name} as {dtype}, which is none of {known}; convert it again.")
        # Copies, which do not point into the mapped file.
        tensors = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in shapes}
    for name, values in tensors.items():
        if not is_finite(values):
            raise UserError(f"{path} holds values in {name} that are not finite; {_AGAIN}.")
    return tensors


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity (both travel through minimum and maximum)."""
    return not tensor.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def save_bundle(
    bundle: Bundle, folder: Path, *, dtype: torch.dtype | None = None, model_card: str | None = None
) -> ObjectClass:
    """Writes a bundle in one step: whatever happens, `folder` holds the old bundle or the new one.

    `dtype` float16 or float32; None stores a tensor as float16 where that loses nothing, else as float32.
    Tensors that float16 cannot hold stay float32. `model_card` is the README, by default the one that the
    bundle came with or one made from its config. A folder that holds something else than a bundle is left
    alone. Returns the config as written: architecture and `latent_avg` are the networks' own.
    Raises `UserError` (full disk, path under a file, values that are not finite).
    """
    if dtype not in (None, torch.float16, torch.float32):
        raise ValueError(f"bundles are stored as float16 or float32, not {dtype}")
    networks = bundle.networks()
    for name, network in networks.items():
        for tensor, values in network.state_dict().items():
            if not is_finite(values.detach().float()):
                raise UserError(
                    f"The {name} holds values in {tensor} that are not finite and was not saved; "
                    "go back to an earlier state."
                )
    config = replace(
        bundle.config,
        generator=bundle.generator.config,
        discriminator=bundle.discriminator.config if bundle.discriminator else None,
        student=bundle.student.config if bundle.student else None,
        latent_avg=tuple(bundle.generator.latent_avg.detach().float().tolist()),
        alpha_hidden_channels=(
            bundle.alpha.projections[0].out_channels if bundle.alpha else bundle.config.alpha_hidden_channels
        ),
    )

    config.to_json()  # complains now rather than after the weights are written

    def write(target: Path) -> None:
        nonlocal config
        files = {}
        for name, network in networks.items():
            path = target / f"{name}.safetensors"
            save_tensors({key: _stored(value, dtype) for key, value in network.state_dict().items()}, path)
            files[path.name] = WeightFile(path.stat().st_size, sha256_of(path))
        config = replace(config, files=files)
        write_text(target / CONFIG_NAME, config.to_json())
        write_text(target / CARD_NAME, model_card or bundle.model_card or write_model_card(config))

    replace_bundle(folder, write)
    return config


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    full = tensor.detach().to("cpu", torch.float32)
    half = full.half()
    back = half.float()
    fits = dtype != torch.float32 and is_finite(back)
    return half if fits and (dtype == torch.float16 or torch.equal(back, full)) else full
