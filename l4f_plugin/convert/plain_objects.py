"""Python's own small objects that training programs keep beside weights, as they stand in a pickle.

Counters and dictionaries with a default become dictionaries, queues lists, and what has no plain counterpart (dates,
paths, parsed arguments) a `Record`. Each name stands here because making the object runs nothing of the file.
"""

from __future__ import annotations

from typing import Any

from .pickle_reader import Builder, Record, record_builder

_RECORDS = (
    "argparse.Namespace", "types.SimpleNamespace", "fractions.Fraction", "decimal.Decimal", "uuid.UUID",
    *(f"datetime.{kind}" for kind in ("date", "time", "datetime", "timedelta", "timezone")),
    *(f"pathlib.{kind}Path" for kind in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")),
    *(f"pathlib._local.{kind}Path" for kind in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")),
)  # fmt: skip
_BUILTINS = ("builtins", "__builtin__")


def _pairs(items: Any = ()) -> Any:
    """Python 2 wrote a list of [key, value]; `Counter` writes a dictionary."""
    if isinstance(items, dict):
        return items.items()
    listed = isinstance(items, (list, tuple))
    if not listed or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in items):
        raise ValueError("it makes a dictionary of something else than pairs")
    return items


def _members(items: Any = ()) -> Any:
    """How protocols before 4 wrote sets."""
    if not isinstance(items, (list, tuple)):
        raise ValueError("it makes a set of something else than a list")
    return items


def _queue(items: Any = (), *longest: Any) -> list[Any]:
    if not isinstance(items, (list, tuple)):
        raise ValueError("it makes a queue of something else than a list")
    return list(items)


def _reconstructed(builder: Any, *rest: Any) -> Record:
    if not isinstance(builder, Builder):
        raise ValueError("it rebuilds an unknown object")
    record = builder.function()
    if not isinstance(record, Record):
        raise ValueError("it rebuilds a value in an unknown way")
    return record


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocols before 3 wrote bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("it holds bytes in an unknown encoding")
    return text.encode("latin-1")


def _for_each(names: tuple[str, ...], modules: tuple[str, ...], entry: Any) -> dict[str, Any]:
    return {f"{module}.{name}": entry for module in modules for name in names}


PLAIN_VOCABULARY: dict[str, Any] = {
    "collections.OrderedDict": Builder("OrderedDict", _pairs, dict),
    "collections.Counter": Builder("Counter", _pairs, dict),
    "collections.defaultdict": Builder("defaultdict", lambda default=None: (), dict),
    "collections.deque": Builder("deque", _queue),
    "_codecs.encode": Builder("encode", _encode),
    **_for_each(("_reconstructor",), ("copyreg", "copy_reg"), Builder("object", _reconstructed)),
    **_for_each(("set",), _BUILTINS, Builder("set", _members, set)),
    **_for_each(("frozenset",), _BUILTINS, Builder("frozenset", _members, frozenset)),
    # What a dictionary makes as its default, and what `_reconstructor` starts from: named, never called.
    **{
        f"{module}.{name}": None
        for module in _BUILTINS
        for name in ("object", "int", "float", "bool", "str", "list", "dict", "tuple")
    },
    **{
        f"{module}.{name}": record_builder(name)
        for module in _BUILTINS
        for name in ("complex", "range", "xrange", "slice", "bytearray")
    },
    **{name: record_builder(name) for name in _RECORDS},
}
"""What such objects name in a pickle, and the inert value each name stands for."""
