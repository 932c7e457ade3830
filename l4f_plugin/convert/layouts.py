"""What every published layout has in common: our tensors one by one, each taken from where the layout keeps it."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..bundles.bundle import build_network, is_finite
from ..bundles.fields import RESOLUTIONS
from ..errors import UserError, printable
from ..networks import Discriminator, Generator, GeneratorConfig

MAXIMUM_TENSOR_BYTES = 1 << 30
MAXIMUM_CHANNELS = 8192
FILTER = torch.outer(*2 * (torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8,))
PublishedNetworks = tuple[Generator, Discriminator | None, Tensor | None]  # of a checkpoint, and the mean of w
_Network = TypeVar("_Network", bound=nn.Module)
_FILTER_NAME = re.compile(r"(blur|upsample|conv2\.0|skip\.0)\.kernel$|(^|\.)resample_filter$")


class StateSource:
    """A published state dict from which each tensor is taken once, with the shape that it must have.

    `state` holds tensors, numbers, and tensors still in their file, of which one at a time is read. What is taken may
    not exceed `limit`, the size of the file in bytes, however often a tensor is named. Messages name the file by
    `label`, and `what` network it is.
    """

    def __init__(self, state: Mapping[str, Any], label: str, what: str, limit: int):
        self.state = {name: torch.tensor(value) if isinstance(value, float) else value for name, value in state.items()}
        self.label, self.what, self.left = label, what, limit

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.state:
            raise UserError(
                f"{self.label} holds no {self.what} of the published layout ({name} is missing); choose another file."
            )
        return tuple(self.state[name].shape)

    def size(self, name: str, axis: int) -> int:
        shape = self.shape(name)
        if axis >= len(shape) or not 1 <= shape[axis] <= MAXIMUM_CHANNELS:
            raise UserError(f"{self.label} holds {name} with an impossible shape; choose another file.")
        return shape[axis]

    def count(self, pattern: str, number: Callable[[int], int] = lambda place: place) -> int:
        """How many of `pattern` with `number` of 0, 1, 2 ... for {} are there in a row."""
        return next(place for place in itertools.count() if pattern.format(number(place)) not in self.state)

    def sizes(self, doublings: int) -> list[int]:
        """4, 8, ... up to the resolution after so many doublings. Raises `UserError` where that is not supported."""
        if not doublings:
            raise UserError(f"{self.label} holds no network of the published layout; choose another file.")
        resolution = 4 << min(doublings, 60)
        if resolution not in RESOLUTIONS:
            raise UserError(
                f"{self.label} is a network for pictures of {resolution} px, where sizes from {RESOLUTIONS[0]} to "
                f"{RESOLUTIONS[-1]} px are supported; choose another model."
            )
        return [4 << step for step in range(doublings + 1)]

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name` as float32, viewed as `shape` (which may drop or add axes of size one)."""
        found = tuple(size for size in self.shape(name) if size != 1)
        if found != tuple(size for size in shape if size != 1):
            raise UserError(
                f"{self.label} holds {name} with shape {list(self.shape(name))} where "
                f"{list(shape)} was expected; its {self.what} is of another kind."
            )
        return self._read(name).reshape(shape).float()

    def _read(self, name: str) -> Tensor:
        value, shown = self.state.pop(name), printable(name)
        if not isinstance(value, Tensor):
            if value.stored_bytes > MAXIMUM_TENSOR_BYTES:
                raise UserError(f"{self.label} holds {shown} of more than 1 GiB; choose another file.")
            self.left -= value.stored_bytes
            if self.left < 0:
                raise UserError(f"{self.label} is smaller than the {self.what} it describes; get another copy.")
            try:
                value = value.read()
            except ValueError as error:
                said = f"{shown} in a way that cannot be read ({error})"
                raise UserError(f"{self.label} holds {said}; get another copy.") from error
        if not value.is_floating_point() or not is_finite(value.float()):
            raise UserError(f"{self.label} holds values in {shown} that are no finite numbers; get another copy.")
        return value

    def finish(self) -> None:
        """Checks the low-pass filters, which are the same everywhere, and that nothing is left over."""
        for name in [name for name in self.state if _FILTER_NAME.search(name)]:
            kernel = self._read(name).float() if self.shape(name) == (4, 4) else torch.zeros(4, 4)
            if not torch.allclose(kernel / kernel.sum(), FILTER, atol=1e-5):
                raise UserError(
                    f"{self.label} uses another low-pass filter than StyleGAN2 ({printable(name)}), which is not "
                    "supported."
                )
        if self.state:
            raise UserError(
                f"{self.label} holds {printable(min(self.state))}, which the {self.what} of the "
                "published layout does not have; its architecture is not supported."
            )


def named(ours: str, theirs: str | Iterable[str], suffixes: Mapping[str, str]) -> dict[str, str]:
    """Our names and theirs of layers (`ours` has {} for the place in `theirs`), whose tensors end in `suffixes`."""
    layers = [theirs] if isinstance(theirs, str) else theirs
    return {
        f"{ours.format(place)}.{tensor}": layer + suffix
        for place, layer in enumerate(layers)
        for tensor, suffix in suffixes.items()
    }


def assemble(
    source: StateSource,
    build: Callable[[], _Network],
    names: Mapping[str, str],
    take: Callable[[StateSource, str, str, Sequence[int]], Tensor] = lambda source, _, theirs, shape: source.take(
        theirs, *shape
    ),
    without_noise: bool = False,
) -> _Network:
    """The network that `build` makes, each tensor taken from `names[name]` of `source`.

    `take(source, ours, theirs, shape)` turns axes where that is needed. A network that was made `without_noise` gets
    maps of zeros, of strength zero. Nothing may be left over.
    """

    def read(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        tensors = {}
        for ours, shape in shapes.items():
            if without_noise and ours.endswith((".noise", ".noise_strength")):
                tensors[ours] = torch.zeros(shape)
            else:
                tensors[ours] = take(source, ours, names[ours], shape).contiguous()
        source.finish()
        return tensors

    return build_network(build, read)


def generator_config(
    source: StateSource, channels: dict[int, int], layers: int, dense: str, axis: int, clamp: float | None = None
) -> GeneratorConfig:
    """Of a generator with that many `layers` in its mapping, the first of which is `dense` with its inputs on `axis`.

    Models of 512 px switch the object off at the constant input, all others after the first convolution: section 3.2
    of Labels4Free and its published code.
    """
    resolution, widths = max(channels), (source.size(dense, axis), source.size(dense, 1 - axis))
    switch = "constant" if resolution == 512 else "first_convolution"
    return GeneratorConfig(resolution, channels, *widths, layers, switch, clamp)
