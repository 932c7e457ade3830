"""Tensors and arrays that are still in their file, and every name by which a checkpoint may speak of anything.

PyTorch writes a tensor as a view (offset, shape, strides) of a storage, NumPy as a shape with bytes. Beside the weights
programs keep counters, dates, paths and the like: those become dictionaries, lists, or a `Record`. Each name stands
here because making what it stands for runs nothing of the file. An array of objects would be a pickle within a
pickle, so only plain numbers are known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np
import torch

from .pickles import Builder, FileBytes, Inert, Record, record_builder

MAXIMUM_DIMENSIONS = 16
_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_NUMPY_TYPES = {
    "f2": torch.float16, "f4": torch.float32, "f8": torch.float64, "b1": torch.bool, "u1": torch.uint8,
    "i1": torch.int8, "i2": torch.int16, "i4": torch.int32, "i8": torch.int64,
}  # fmt: skip
# Known, so that files with such arrays and numbers beside the weights are read, but no tensors.
_OTHER_NUMPY_TYPES = re.compile(r"u[248]|c8|c16|[US][1-9]\d{0,4}")
_ARRAY = "numpy.ndarray"


@dataclass(frozen=True)
class Storage(Inert):
    """The numbers of one or more tensors: `elements` values of `dtype`, or bytes of a type that is not read (None)."""

    key: str
    dtype: torch.dtype | None
    elements: int
    read: Callable[[Storage], bytearray] = field(repr=False, compare=False)

    @property
    def stored_bytes(self) -> int:
        return self.elements * (self.dtype.itemsize if self.dtype else 1)


class StoredTensor(Inert):
    """A tensor in the file. Offset, shape and strides are known to lie inside the storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any):
        if not isinstance(storage, Storage):
            raise ValueError("a tensor has no storage")
        (offset,), shape, stride = integers([offset]), integers(shape), integers(stride)
        if len(shape) != len(stride):
            raise ValueError("a tensor's shape and strides differ in length")
        elements = math.prod(shape)
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        if elements > storage.elements or (elements and last >= storage.elements):
            raise ValueError("a tensor reaches beyond its storage")
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    @property
    def stored_bytes(self) -> int:
        """What is read for it: its whole storage."""
        return self.storage.stored_bytes

    def read(self) -> torch.Tensor:
        """The tensor, on the CPU. Raises `UserError` for damaged bytes, `ValueError` for no type of torch's."""
        if self.storage.dtype is None:
            raise ValueError("it is an array of something else than plain numbers")
        if not self.stored_bytes:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        flat = torch.frombuffer(self.storage.read(self.storage), dtype=self.storage.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).contiguous()


class _Array(StoredTensor):
    """A `numpy.ndarray`, which a pickle makes empty and fills once."""

    def __init__(self):
        super().__init__(Storage(_ARRAY, None, 1, lambda storage: bytearray()), 0, (), ())
        self.filled = False

    def __setstate__(self, state: Any) -> None:
        """Takes the tuple (version, shape, type, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5 or self.filled:
            raise ValueError("an array is filled in an unknown way")
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _NumpyType):
            raise ValueError("an array has no type")
        content, shape = FileBytes.of(content), integers(shape)
        if math.prod(shape) * kind.itemsize != content.length:
            raise ValueError("an array is not of the size it claims")
        dtype = _NUMPY_TYPES.get(kind.code)
        elements = content.length // (kind.itemsize if dtype else 1)
        storage = Storage(_ARRAY, dtype, elements, lambda storage: content.read())
        steps = tuple(accumulate(shape if fortran is True else shape[::-1], mul, initial=1))[:-1]
        super().__init__(storage, 0, shape, steps if fortran is True else steps[::-1])
        self.filled = True


class _NumpyType(Inert):
    """A `numpy.dtype`, which a pickle makes by its code."""

    def __init__(self, code: Any, *rest: Any):
        if not isinstance(code, str) or not (code in _NUMPY_TYPES or _OTHER_NUMPY_TYPES.fullmatch(code)):
            raise ValueError("it holds an array of something else than plain numbers")
        self.code, self.itemsize = code, np.dtype(code).itemsize

    def __setstate__(self, state: Any) -> None:
        """Takes the tuple (version, byte order, subtype, names, fields, size, alignment, flags)."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "|", "="):
            raise ValueError("it holds numbers in another byte order than usual")
        if any(part is not None for part in state[2:5]):
            raise ValueError("it holds an array of structures")


def integers(values: Any) -> tuple[int, ...]:
    """A short list of sizes as a tuple. Raises `ValueError` for anything else."""
    if not isinstance(values, (tuple, list)) or len(values) > MAXIMUM_DIMENSIONS:
        raise ValueError("a tensor's shape is no short list")
    if not all(isinstance(value, int) and 0 <= value < 1 << 62 for value in values):
        raise ValueError("a tensor's shape holds something else than sizes")
    return tuple(values)


def _parameter(data: Any, *rest: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise ValueError("a parameter has no tensor")
    return data


def _array(kind: Any, *rest: Any) -> _Array:
    if kind != _ARRAY:
        raise ValueError("it rebuilds an unknown kind of array")
    return _Array()


def _array_of(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", content))
    return array


def _number(kind: Any, content: Any) -> float | str | bytes | complex:
    if not isinstance(kind, _NumpyType) or not isinstance(content, bytes) or len(content) != kind.itemsize:
        raise ValueError("a number is not of the size it claims")
    return np.frombuffer(content, kind.code)[0].item()


def _list(items: Any = (), *longest: Any) -> list[Any]:
    """How protocols before 4 wrote sets, and all write queues."""
    if not isinstance(items, (list, tuple)):
        raise ValueError("it makes a collection of something else than a list")
    return list(items)


def _pairs(items: Any = ()) -> Any:
    """Python 2 wrote a list of [key, value]; `Counter` writes a dictionary."""
    if isinstance(items, dict):
        return items.items()
    listed = isinstance(items, (list, tuple))
    if not listed or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in items):
        raise ValueError("it makes a dictionary of something else than pairs")
    return items


def _reconstructed(builder: Any, *rest: Any) -> Record:
    record = builder.function() if isinstance(builder, Builder) else None
    if not isinstance(record, Record):
        raise ValueError("it rebuilds an unknown object")
    return record


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocols before 3 wrote bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("it holds bytes in an unknown encoding")
    return text.encode("latin-1")


def _names(modules: str, names: str) -> list[str]:
    return [f"{module}.{name}" for module in modules.split() for name in names.split()]


# Every name that a checkpoint may mention, and the inert value that it stands for.
VOCABULARY: dict[str, Any] = {
    "torch._utils._rebuild_tensor": Builder("tensor", StoredTensor),
    "torch._utils._rebuild_tensor_v2": Builder("tensor", StoredTensor),
    "torch._utils._rebuild_parameter": Builder("parameter", _parameter),
    "torch.Size": Builder("torch.Size", lambda sizes=(): integers(sizes)),
    **{f"torch.{name}": dtype for name, dtype in _STORAGES.items()},
    **{str(dtype): dtype for dtype in _STORAGES.values()},
    "numpy.dtype": Builder("numpy.dtype", _NumpyType),
    "numpy.ndarray": _ARRAY,
    # `core` up to NumPy 1, `_core` from 2 on
    **dict.fromkeys(_names("numpy.core numpy._core", "multiarray._reconstruct"), Builder("_reconstruct", _array)),
    **dict.fromkeys(_names("numpy.core numpy._core", "multiarray.scalar"), Builder("scalar", _number)),
    **dict.fromkeys(_names("numpy.core numpy._core", "numeric._frombuffer"), Builder("_frombuffer", _array_of)),
    **dict.fromkeys(_names("collections", "OrderedDict Counter"), Builder("dictionary", _pairs, makes_table=True)),
    "collections.defaultdict": Builder("defaultdict", lambda default=None: (), makes_table=True),
    **dict.fromkeys(_names("builtins __builtin__", "set frozenset"), Builder("set", _list)),
    "collections.deque": Builder("deque", _list),
    "_codecs.encode": Builder("encode", _encode),
    **dict.fromkeys(_names("copyreg copy_reg", "_reconstructor"), Builder("object", _reconstructed)),
    # What a dictionary makes as its default, and what `_reconstructor` starts from: named, never called.
    **dict.fromkeys(_names("builtins __builtin__", "object int float bool str list dict tuple")),
    **{
        name: record_builder(name)
        for name in [
            *_names("builtins __builtin__", "complex range xrange slice bytearray"),
            *_names("pathlib pathlib._local", "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"),
            *_names("datetime", "date time datetime timedelta timezone"),
            *_names("argparse types", "Namespace SimpleNamespace"),
            *("fractions.Fraction", "decimal.Decimal", "uuid.UUID", "torch.device"),
        ]
    },
}
