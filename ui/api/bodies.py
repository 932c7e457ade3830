"""Bodies of requests: JSON as the standard has it, or a form, as the values of its fields with files as bytes.

Only one text of a field may be long in JSON, and is taken out first: read as a whole, 28 MB of nothing but `[]` would
take a gigabyte of memory.
"""

import json
import math
import secrets
from typing import Any

from starlette.requests import ClientDisconnect, Request

from ..operations import file_bytes
from ..refusals import Refusal
from ..texts import text
from .models import FILES

MOST_BYTES = 1 << 20
"""Of a body without its long texts."""
_LONG = 1 << 16
_LONGEST_NUMBER = 40
_MARK = secrets.token_hex(16)  # followed by the number of the long text whose place it keeps
_TEXTS = ("class", "seeds", "background")


async def received(request: Request) -> bytes | dict[str, Any]:
    """The body as bytes, or the fields of a form: texts, lists of texts, and bytes for files. Raises `Refusal`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            return await request.body()
        except ClientDisconnect:
            raise Refusal("cancelled", text("job.stopped")) from None
    if kind != "multipart/form-data":
        raise Refusal("unsupported_media_type", text("http.unsupported_media_type"))
    try:
        form = await request.form()
    except Refusal:
        raise
    except Exception as error:  # releases differ in what they raise for a form that is none
        raise Refusal("malformed", text("http.bad_form")) from error
    fields: dict[str, Any] = {}
    for name in form:
        contents = [value if isinstance(value, str) else await value.read() for value in form.getlist(name)]
        fields[name] = contents if len(contents) > 1 and all(isinstance(one, str) for one in contents) else contents[-1]
    return fields


def read(body: bytes | dict[str, Any], known: list[str]) -> dict[str, Any]:
    """The values of the fields. Raises `Refusal`, or `UserError` for a file that is not base64."""
    values = read_json(body) if isinstance(body, bytes) else body
    for name in values:
        if name not in known:
            raise Refusal("invalid", text("http.unknown_field", name=str(name)[:40], known=", ".join(known)))
    if not isinstance(body, bytes):
        values = _from_form(values)
    for name in FILES:
        if isinstance(values.get(name), str):
            values[name] = file_bytes(values[name])
    return values


def read_json(body: bytes) -> dict[str, Any]:
    """The object that is written there. Raises `Refusal`."""
    short, long = _apart(body)
    values = _loads(short)
    if not isinstance(values, dict):
        raise Refusal("malformed", text("http.bad_json"))
    for name, value in values.items():
        if isinstance(value, str) and value.startswith(_MARK):
            values[name] = _loads(long[int(value[len(_MARK) :])])
    return values


def _from_form(fields: dict[str, Any]) -> dict[str, Any]:
    """A form's texts as what they spell; what cannot be read stays text, to be complained about."""
    written = [value if isinstance(value, list) else [value] for name, value in fields.items() if name not in FILES]
    if sum(len(one) for texts in written for one in texts if isinstance(one, str)) > MOST_BYTES:
        raise Refusal("too_large", text("http.long_json", megabytes=MOST_BYTES >> 20))
    values = dict(fields)
    for name, value in fields.items():
        if name == "include" and isinstance(value, str):
            values[name] = [word.strip() for word in value.split(",")]
        elif isinstance(value, str) and name not in (*FILES, *_TEXTS, "include"):
            try:
                values[name] = _loads(value.encode("utf-8", "replace"))
            except Refusal:
                continue
    return values


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
        return json.loads(written, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
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
