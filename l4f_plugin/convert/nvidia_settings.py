"""What NVIDIA's programs record beside their networks, and which of it our networks can follow."""

import math
from collections.abc import Mapping
from typing import Any

from ..errors import UserError, printable


def difference(settings: Mapping[Any, Any], expected: Mapping[str, Any]) -> str | None:
    """In words, the first of `settings` that is recorded with another value than `expected`; None if all agree."""
    for name, value in expected.items():
        if name in settings and not _same(settings[name], value):
            return f"{name} {_shown(settings[name])} where {_shown(value)} is supported"
    return None


def refuse_conditional(classes: Any, label: str) -> None:
    if classes not in (None, 0):
        raise UserError(
            f"{label} holds a conditional model, which draws a class that it is told; "
            "choose a model without class labels."
        )


def read_clamp(value: Any, label: str) -> float | None:
    """`conv_clamp`: a positive number, or None. Raises `UserError`."""
    if value is None:
        return None
    if not _is_number(value) or not 0 < value < 1e6:
        raise UserError(
            f"{label} records a bound of activations (conv_clamp) that is no positive number; get another copy."
        )
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(found: Any, value: Any) -> bool:
    if isinstance(value, list):
        return isinstance(found, (list, tuple)) and len(found) == len(value) and all(map(_same, found, value))
    if _is_number(value):
        return _is_number(found) and math.isclose(found, value, rel_tol=1e-5)
    return type(found) is type(value) and found == value


def _shown(value: Any) -> str:
    """Plain values as they are; anything else might take forever to write out."""
    if isinstance(value, list) and len(value) < 9 and all(map(_is_number, value)):
        return str(value)
    return printable(value, 40) if value is None or isinstance(value, (str, int, float)) else "of another kind"
