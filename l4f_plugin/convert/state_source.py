"""The tensors of a published network by their names, each taken once and checked when it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ..bundles.bundle import is_finite
from ..errors import UserError, printable

MAXIMUM_TENSOR_BYTES = 1 << 30
_FILTER = torch.outer(*2 * (torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8,))
_FILTER_NAME = re.compile(r"(blur|upsample|conv2\.0|skip\.0)\.kernel$|(^|\.)resample_filter$")


class Stored(Protocol):
    """A tensor that is still in its file."""

    shape: tuple[int, ...]
    stored_bytes: int

    def read(self) -> Tensor: ...


class StateSource:
    """A state dict from which each tensor is taken once, with the shape it must have.

    `state` may hold tensors, numbers and tensors still in their file, of which one at a time is read. `label` is
    the file and `what` the network, for messages. `limit` is the size of the file in bytes: what is taken may
    not exceed it, however often a tensor is named.
    """

    def __init__(self, state: Mapping[str, Any], label: str, what: str, limit: int | None = None):
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
        if axis >= len(shape) or not 1 <= shape[axis] <= 8192:
            raise UserError(f"{self.label} holds {name} with an impossible shape; choose another file.")
        return shape[axis]

    def count(self, pattern: str, start: int = 0, step: int = 1) -> int:
        """How many of `pattern` with `start`, `start + step` ... for {} are there in a row."""
        found = 0
        while pattern.format(start + step * found) in self.state:
            found += 1
        return found

    def doublings(self, pattern: str) -> int:
        """How many of `pattern` with 8, 16, 32 ... for {0} are there in a row."""
        found = 0
        while pattern.format(8 << found) in self.state:
            found += 1
        return found

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
        value = self.state.pop(name)
        if not isinstance(value, Tensor):
            value = self._from_file(name, value)
        if not value.is_floating_point() or not is_finite(value.float()):
            raise UserError(
                f"{self.label} holds values in {printable(name)} that are no finite numbers; get another copy."
            )
        return value

    def _from_file(self, name: str, stored: Stored) -> Tensor:
        if stored.stored_bytes > MAXIMUM_TENSOR_BYTES:
            raise UserError(f"{self.label} holds {printable(name)} of more than 1 GiB; choose another file.")
        if self.left is not None:
            self.left -= stored.stored_bytes
            if self.left < 0:
                raise UserError(f"{self.label} is smaller than the {self.what} it describes; get another copy.")
        try:
            return stored.read()
        except ValueError as error:
            raise UserError(
                f"{self.label} holds {printable(name)} in a way that cannot be read ({error}); get another copy."
            ) from error

    def finish(self) -> None:
        """Checks the low-pass filters, which are the same everywhere, and that nothing is left over."""
        for name in [name for name in self.state if _FILTER_NAME.search(name)]:
            if self.shape(name) == (4, 4):
                kernel = self._read(name).float()
                if torch.allclose(kernel / kernel.sum(), _FILTER, atol=1e-5):
                    continue
            raise UserError(
                f"{self.label} uses another low-pass filter than StyleGAN2 ({printable(name)}), which is not supported."
            )
        if self.state:
            raise UserError(
                f"{self.label} holds {printable(min(self.state))}, which the {self.what} of the "
                "published layout does not have; its architecture is not supported."
            )
