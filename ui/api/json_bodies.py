"""JSON as the standard has it, with long texts taken out first: only these may be long, and reading them is cheap.

Read as a whole, 28 MB of nothing but `[]` would take a gigabyte of memory.
"""

from __future__ import annotations

import json
import math
import secrets
from typing import Any

from ..texts import text
from .errors import Refusal

MOST_BYTES = 1 << 20
"""Of a body without its long texts."""
_LONG = 1 << 16
_LONGEST_NUMBER = 40
_MARK = secrets.token_hex(16)  # followed by the number of the long text whose place it keeps


def read(body: bytes, fields: tuple[str, ...] = ()) -> Any:
    """What is written there; only the values of these fields may be long. Raises `Refusal`."""
    short, long = _apart(body)
    values = _loads(short)
    if isinstance(values, dict):
        for name in fields:
            value = values.get(name)
            if isinstance(value, str) and value.startswith(_MARK):
                values[name] = _loads(long[int(value[len(_MARK) :])])
    return values


def is_long(value: Any) -> bool:
    """Whether a value was a long text where none may be."""
    return isinstance(value, str) and value.startswith(_MARK)


def _apart(body: bytes) -> tuple[bytes, list[bytes]]:
    """The body with a mark in place of each long text, and these."""
    pieces: list[bytes] = []
    long: list[bytes] = []
    kept = start = position = 0
    while (first := body.find(b'"', position)) >= 0:
        end = _end_of_text(body, first)
        if end - first > _LONG:
            pieces += [body[start:first], f'"{_MARK}{len(long)}"'.encode()]
            long.append(body[first:end])
            kept, start = kept + first - start, end
        if kept + end - start > MOST_BYTES:
            break
        position = end
    if kept + len(body) - start > MOST_BYTES:
        raise Refusal("too_large", text("http.long_json", megabytes=MOST_BYTES >> 20))
    return b"".join([*pieces, body[start:]]), long


def _end_of_text(body: bytes, first: int) -> int:
    """Behind the quote that ends the text which begins with the quote at `first`. Raises `Refusal`."""
    position = first
    for _ in range(MOST_BYTES):  # no file in base64 holds a quote
        position = body.find(b'"', position + 1)
        if position < 0:
            break
        before = position
        while body[before - 1] == 0x5C and before - 1 > first:
            before -= 1
        if (position - before) % 2 == 0:
            return position + 1
    raise Refusal("malformed", text("http.bad_json"))


def _loads(written: bytes) -> Any:
    """No NaN, no infinity, no number of a thousand digits."""
    try:
        return json.loads(written, parse_int=_whole, parse_float=_finite, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refusal("malformed", text("http.bad_json")) from None


def _whole(written: str) -> int:
    if len(written) > _LONGEST_NUMBER:
        raise ValueError(written[:_LONGEST_NUMBER])
    return int(written)


def _finite(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(written[:_LONGEST_NUMBER])
    return value


def _no_number(written: str) -> None:
    raise ValueError(written)
