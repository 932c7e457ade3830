"""NumPy's arrays, numbers and types as they stand in a pickle, without NumPy's own reconstruction.

The names are those that `numpy.ndarray.__reduce__` and its kin write: `numpy.core` up to NumPy 1, `numpy._core`
from 2 on. Only plain numbers are known; an array of objects would be a pickle within a pickle.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch

from .pickle_opcodes import FileBytes
from .pickle_reader import Builder, Record, integers

_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "b1": torch.bool,
    "u1": torch.uint8,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
}
# Known, so that files with such arrays and numbers beside the weights are read, but no tensors.
_OTHERS = re.compile(r"u[248]|c8|c16|[US][1-9]\d{0,4}")
_ARRAY = "numpy.ndarray"


class NumpyType(Record):
    """A `numpy.dtype`: its code, and its byte order once that has been set."""

    order = "|"

    def set_state(self, state: Any) -> None:
        """Takes the tuple (version, byte order, subtype, names, fields, size, alignment, flags)."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "|", "="):
            raise ValueError("it holds numbers in another byte order than usual")
        if any(part is not None for part in state[2:5]):
            raise ValueError("it holds an array of structures")
        self.order = state[1]

    @property
    def code(self) -> str:
        return self.arguments[0]

    @property
    def itemsize(self) -> int:
        return np.dtype(self.code).itemsize


class StoredArray(Record):
    """A `numpy.ndarray` in the file. Its shape is known to fit its bytes, which are read when asked for."""

    content: FileBytes | None = None
    shape: tuple[int, ...] = ()
    code = ""
    fortran = False

    def set_state(self, state: Any) -> None:
        """Takes the tuple (version, shape, type, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5 or self.content is not None:
            raise ValueError("an array is filled in an unknown way")
        self.fill(state[1], state[2], state[3] is True, state[4])

    def fill(self, shape: Any, kind: Any, fortran: bool, content: Any) -> None:
        if not isinstance(kind, NumpyType):
            raise ValueError("an array has no type")
        content, shape = FileBytes.of(content), integers(shape)
        if math.prod(shape) * kind.itemsize != content.length:
            raise ValueError("an array is not of the size it claims")
        self.content, self.shape, self.code, self.fortran = content, shape, kind.code, fortran

    @property
    def stored_bytes(self) -> int:
        """What is read for it."""
        return self.content.length if self.content else 0

    def read(self) -> torch.Tensor:
        """The array as a tensor in memory of its own. Raises `ValueError` if it was never filled, or is no tensor."""
        if self.content is None:
            raise ValueError("an array was left empty")
        if self.code not in _DTYPES:
            raise ValueError("it is an array of something else than plain numbers")
        dtype = _DTYPES[self.code]
        if not self.content.length:
            return torch.empty(self.shape, dtype=dtype)
        flat = torch.frombuffer(self.content.read(), dtype=dtype)
        return (
            flat.reshape(self.shape[::-1]).permute(*reversed(range(len(self.shape))))
            if self.fortran
            else flat.reshape(self.shape)
        )


def _type(code: Any, *rest: Any) -> NumpyType:
    if not isinstance(code, str) or not (code in _DTYPES or _OTHERS.fullmatch(code)):
        raise ValueError("it holds an array of something else than plain numbers")
    return NumpyType("numpy.dtype", (code,))


def _reconstruct(kind: Any, *rest: Any) -> StoredArray:
    if kind is not _ARRAY:
        raise ValueError("it rebuilds an unknown kind of array")
    return StoredArray(_ARRAY)


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> StoredArray:
    array = StoredArray(_ARRAY)
    array.fill(shape, kind, order == "F", content)
    return array


def _scalar(kind: Any, content: Any) -> float | str | bytes | complex:
    if not isinstance(kind, NumpyType) or not isinstance(content, bytes) or len(content) != kind.itemsize:
        raise ValueError("a number is not of the size it claims")
    return np.frombuffer(content, kind.code)[0].item()


NUMPY_VOCABULARY: dict[str, Any] = {
    "numpy.dtype": Builder("numpy.dtype", _type),
    "numpy.ndarray": _ARRAY,
    **{
        f"numpy.{core}.multiarray.{name}": Builder(name, function)
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    **{f"numpy.{core}.numeric._frombuffer": Builder("_frombuffer", _from_buffer) for core in ("core", "_core")},
}
"""What NumPy's pickles name, and the inert value each name stands for."""
