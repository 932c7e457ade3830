"""What a request may hold: its fields with their bounds, read from JSON or from a form with files.

The description that programs read and the checks that are made come from the same classes, under pydantic 1 and 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, Literal, TypeVar

import pydantic
from pydantic import BaseModel, Field

from l4f_plugin.arguments import LARGEST_PSI, LARGEST_RADIUS, LARGEST_SEED, EdgeOptions

from ..operations import file_bytes
from ..seeds import LONGEST_TEXT, MOST_PICTURES, wanted_seed, wanted_seeds
from ..texts import text
from . import json_bodies
from .errors import Refusal

_PYDANTIC_2 = pydantic.VERSION.split(".")[0] != "1"
LONGEST_NAME = 200

Kind = Literal["picture", "mask", "cutout", "background"]


def _list_of(item: Any, most: int) -> Any:
    least, greatest = ("min_length", "max_length") if _PYDANTIC_2 else ("min_items", "max_items")
    return pydantic.conlist(item, **{least: 1, greatest: most})


Kinds = _list_of(Kind, 4)
Seed = pydantic.conint(ge=-1, le=LARGEST_SEED)
Seeds = _list_of(Seed, MOST_PICTURES)
Text = pydantic.constr(max_length=LONGEST_TEXT)


def _field(name: str, default: Any = None, **bounds: Any) -> Any:
    return Field(default, description=text(f"http.field.{name}"), **bounds)


class _Request(BaseModel, extra="forbid"):
    """What every request names: the class, how daring, what to answer with."""

    files: ClassVar[tuple[str, ...]] = ()
    """The fields that are files: base64 in JSON, files in a form."""

    class_name: str | None = _field("class", alias="class", max_length=LONGEST_NAME)
    truncation_psi: float | None = _field("truncation_psi", ge=-LARGEST_PSI, le=LARGEST_PSI)


class GenerateRequest(_Request):
    """Pictures of an object class, with their masks."""

    seeds: Seeds | Seed | Text = _field("seeds", "-1")
    count: int = _field("count", 1, ge=1, le=MOST_PICTURES)
    include: Kinds = _field("include", ["picture", "mask", "cutout"])

    def wanted_seeds(self) -> list[int]:
        """The seeds that are meant. Raises `UserError`."""
        written = ",".join(map(str, self.seeds)) if isinstance(self.seeds, list) else str(self.seeds)
        return wanted_seeds(written, self.count)


class SwapRequest(_Request):
    """One subject before another background."""

    files: ClassVar[tuple[str, ...]] = ("picture",)

    seed: int = _field("seed", -1, ge=-1, le=LARGEST_SEED)
    background: str = _field("background", "transparent", max_length=LONGEST_NAME)
    picture: str | None = _field("background_picture")
    threshold: float | None = _field("threshold", ge=0, le=1)
    grow: int = _field("grow", 0, ge=-LARGEST_RADIUS, le=LARGEST_RADIUS)
    feather: float = _field("feather", 0, ge=0, le=LARGEST_RADIUS)
    keep_largest: bool = _field("keep_largest", False)
    include: Kinds = _field("include", ["picture", "mask"])

    def edge(self) -> EdgeOptions:
        """How the mask is edited."""
        return EdgeOptions(self.threshold, self.grow, self.feather, self.keep_largest)


class SegmentRequest(_Request):
    """The mask of a picture that is known: by its seed, its file or its W+ codes."""

    files: ClassVar[tuple[str, ...]] = ("picture", "w_plus")

    seed: int | None = _field("segment_seed", ge=-1, le=LARGEST_SEED)
    picture: str | None = _field("segment_picture")
    w_plus: str | None = _field("w_plus")
    include: Kinds = _field("include", ["cutout", "mask"])


Model = TypeVar("Model", bound=_Request)


def drawn(seed: int) -> int:
    """The seed; -1 draws one."""
    return wanted_seed(str(seed))


def read(model: type[Model], body: bytes | Mapping[str, Any]) -> tuple[Model, dict[str, bytes]]:
    """The request in a body of JSON, or in the fields of a form, and its files.

    A form's fields are texts, lists of texts, or bytes for files. Raises `Refusal`, or `UserError` for a file that is
    not base64.
    """
    values = _from_json(body, model.files) if isinstance(body, bytes) else dict(body)
    known = schema(model)["properties"]
    for name in values:
        if name not in known:
            raise Refusal("invalid", text("http.unknown_field", name=str(name)[:40], known=", ".join(known)))
    files = {name: values.pop(name) for name in model.files if isinstance(values.get(name), bytes)}
    if not isinstance(body, bytes):
        texts = [written for name in values.keys() - set(model.files) for written in _texts(values[name])]
        if sum(map(len, texts)) > json_bodies.MOST_BYTES:
            raise Refusal("too_large", text("http.long_json", megabytes=json_bodies.MOST_BYTES >> 20))
        values = {name: _from_form(value, known[name]) for name, value in values.items()}
    for name, value in values.items():
        if not _fits(value, known[name]):
            raise Refusal("invalid", text("http.wrong_type", name=name, types=types_in_words(known[name])))
        longest = _longest(known[name])
        if json_bodies.is_long(value) or (isinstance(value, str) and len(value) > longest):
            raise Refusal("invalid", text("http.too_long", name=name, longest=longest))
    try:
        request = model.model_validate(values) if _PYDANTIC_2 else model.parse_obj(values)
    except pydantic.ValidationError as error:
        raise Refusal("invalid", _complaint(error)) from None
    for name in model.files:
        if written := getattr(request, name):
            files[name] = file_bytes(written)
            setattr(request, name, None)  # the text is as large as the file
    return request, files


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a request, which refers to nothing outside itself."""
    if _PYDANTIC_2:
        return model.model_json_schema()
    described = deepcopy(model.schema())  # pydantic 1 keeps what it once gave
    for field in model.__fields__.values():
        if field.allow_none:  # which pydantic 1 keeps to itself
            allowed = described["properties"][field.alias]
            kind = {name: allowed.pop(name) for name in allowed.keys() - {"title", "description"}}
            allowed.update(anyOf=[kind, {"type": "null"}], **({} if field.required else {"default": None}))
    return described


def types_in_words(described: Mapping[str, Any]) -> str:
    """The types that a field may have, as "number or null"."""
    kinds = [str(option.get("type", "any")) for option in described.get("anyOf", [described])]
    return " or ".join(kinds)


def _fits(value: Any, described: Mapping[str, Any]) -> bool:
    """Whether a value has a type that the schema allows: pydantic itself would take "3" and true for numbers."""
    return any(_is(value, option) for option in described.get("anyOf", [described]))


def _is(value: Any, option: Mapping[str, Any]) -> bool:
    kind = option.get("type")
    if kind == "array":
        return isinstance(value, list) and all(_fits(item, option.get("items", {})) for item in value)
    if kind in ("integer", "number"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind == "number" or value == int(value))
    types = {"string": str, "boolean": bool, "null": type(None), None: object}
    return isinstance(value, types[kind])


def _longest(described: Mapping[str, Any]) -> float:
    """The most characters of a text. pydantic itself would read one that is too long as the number that it spells."""
    options = described.get("anyOf", [described])
    return max((option.get("maxLength", math.inf) for option in options if option.get("type") == "string"), default=0)


def _from_form(value: Any, described: Mapping[str, Any]) -> Any:
    """A form's text as the type that the field wants; what cannot be read stays text, to be complained about."""
    kinds = [option.get("type") for option in described.get("anyOf", [described])]
    if not isinstance(value, str) or "string" in kinds:  # a list, or a file where none is wanted
        return value
    if "array" in kinds:
        return [word.strip() for word in value.split(",")]
    try:
        return json_bodies.read(value.encode("utf-8", "replace"))
    except Refusal:
        return value


def _from_json(body: bytes, files: tuple[str, ...]) -> dict[str, Any]:
    values = json_bodies.read(body, files)
    if not isinstance(values, dict):
        raise Refusal("malformed", text("http.bad_json"))
    return values


def _texts(value: Any) -> list[str]:
    """The texts of a form's field."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _complaint(error: pydantic.ValidationError) -> str:
    """One sentence about the first thing that is wrong."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"] if not isinstance(part, int) and "[" not in str(part))
    problem = str(first["msg"])[:200].rstrip(".")
    return text("http.wrong_value", name=name, problem=problem[:1].lower() + problem[1:])
