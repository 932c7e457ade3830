"""What requests and answers hold, with descriptions and bounds, under pydantic 1 and 2."""

import math
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import BaseModel, Field, conint, conlist, constr

from l4f_plugin.arguments import LARGEST_MARGIN, LARGEST_PSI, LARGEST_RADIUS, LARGEST_SEED, MARGIN, EdgeOptions

from ..seeds import LONGEST_TEXT, MOST_PICTURES
from ..texts import text

_PYDANTIC_2 = pydantic.VERSION.split(".")[0] != "1"
_NULLABLE = {} if _PYDANTIC_2 else {"nullable": True}  # pydantic 1 does not describe null by itself
LONGEST_NAME = 200
FILES = ("picture", "w_plus")
"""The fields that are files: base64 in JSON, files in a form. No other field may be long."""


def _field(name: str, default: Any = None, **options: Any) -> Any:
    return Field(default, description=text(f"http.field.{name}"), **(_NULLABLE if default is None else {}), **options)


def _number(least: float, most: float) -> Any:
    if _PYDANTIC_2:
        return pydantic.confloat(strict=True, ge=least, le=most)
    # A strict number of pydantic 1 is no whole one.
    whole = conint(strict=True, ge=math.ceil(least), le=math.floor(most))
    return pydantic.confloat(strict=True, ge=least, le=most) | whole


def _list(item: Any, most: int) -> Any:
    return conlist(item, min_length=1, max_length=most) if _PYDANTIC_2 else conlist(item, min_items=1, max_items=most)


# Typed strictly: "3" and true are no numbers.
Seed = conint(strict=True, ge=-1, le=LARGEST_SEED)
Name = constr(strict=True, max_length=LONGEST_NAME)
Share = _number(0, 1)
Kinds = _list(Literal["picture", "mask", "cutout", "background"], 4)
if _PYDANTIC_2:  # in JSON a file is a text
    File = Annotated[bytes, pydantic.WithJsonSchema({"type": "string", "contentEncoding": "base64"})]
else:

    class File(bytes):
        """A file, which pydantic 1 would describe as it stands in a form."""

        @classmethod
        def __get_validators__(cls) -> Any:
            yield pydantic.validators.bytes_validator

        @classmethod
        def __modify_schema__(cls, schema: dict) -> None:
            schema.update(type="string", format="byte")


class _Request(BaseModel, extra="forbid"):
    class_name: Name | None = _field("class", alias="class")
    truncation_psi: _number(-LARGEST_PSI, LARGEST_PSI) | None = _field("truncation_psi")


class GenerateRequest(_Request):
    """Pictures of an object class, with their masks."""

    seeds: _list(Seed, MOST_PICTURES) | Seed | constr(strict=True, max_length=LONGEST_TEXT) = _field("seeds", "-1")
    count: conint(strict=True, ge=1, le=MOST_PICTURES) = _field("count", 1)
    include: Kinds = _field("include", ["picture", "mask", "cutout"])


class SwapRequest(_Request):
    """One subject before another background."""

    seed: Seed = _field("seed", -1)
    w_plus: File | None = _field("swap_w_plus")
    background: Name = _field("background", "transparent")
    picture: File | None = _field("background_picture")
    threshold: Share | None = _field("threshold")
    grow: conint(strict=True, ge=-LARGEST_RADIUS, le=LARGEST_RADIUS) = _field("grow", 0)
    feather: _number(0, LARGEST_RADIUS) = _field("feather", 0)
    keep_largest: pydantic.StrictBool = _field("keep_largest", False)
    match_light: Share = _field("match_light", 0)
    keep_shadow: pydantic.StrictBool = _field("keep_shadow", False)
    placed: Name | None = _field("placed")
    flipped: pydantic.StrictBool = _field("flipped", False)
    class_size: pydantic.StrictBool = _field("class_size", False)
    include: Kinds = _field("include", ["picture", "mask"])

    def edge(self) -> EdgeOptions:
        return EdgeOptions(**{field.name: getattr(self, field.name) for field in fields(EdgeOptions)})


class SegmentRequest(_Request):
    """The subject of a photograph, or of what a class draws: by its seed, its file or its W+ codes."""

    seed: Seed | None = _field("segment_seed")
    picture: File | None = _field("segment_picture")
    w_plus: File | None = _field("w_plus")
    keep_largest: pydantic.StrictBool = _field("keep_largest_photo", True)
    background: Name | None = _field("segment_background")
    canvas: Name | None = _field("canvas")
    margin: _number(0, LARGEST_MARGIN) = _field("margin", MARGIN)
    include: Kinds | None = _field("segment_include")


def field_names(model: type[BaseModel]) -> list[str]:
    known = model.model_fields if _PYDANTIC_2 else model.__fields__
    return [field.alias or name for name, field in known.items()]


# Answers, which are only described


def _answer(name: str, about: str, /, **kinds: Any) -> Any:
    """A model of these fields; one that may be None is nullable."""
    told = {}
    for key, kind in kinds.items():
        nullable = _NULLABLE if type(None) in get_args(kind) else {}
        told[key] = (kind, Field(..., description=text(f"http.answer.{key}"), **nullable))
    model = pydantic.create_model(name, **told)
    model.__doc__ = about
    return model


_PICTURES = {"images": dict[str, str], "infotext": str}
_SUBJECT = {**_PICTURES, "class": str, "seed": int | None, "note": str | None}
_CLASS = _answer("ObjectClassAnswer", "One object class.", name=str, title=str, resolution=int, licence=str)
_SAMPLE = _answer("SampleAnswer", "One picture with its mask.", **_PICTURES, seed=int)
_PROBLEM = _answer("Problem", "Why a request was refused.", code=str, message=str)

ClassesAnswer = _answer("ClassesAnswer", "The object classes that can be named.", classes=list[_CLASS])
_GENERATED = {"class": str, "truncation_psi": float, "samples": list[_SAMPLE]}
GenerateAnswer = _answer("GenerateAnswer", "What was generated.", **_GENERATED)
SwapAnswer = _answer("SwapAnswer", "What was swapped.", **_SUBJECT, truncation_psi=float, background=str)
_SEGMENTED = {"mask_area": float, "confidence": float | None, "better": str | None, "dropped": int}
SegmentAnswer = _answer("SegmentAnswer", "What was segmented.", **_SUBJECT, **_SEGMENTED)
Failure = _answer("Failure", "The answer to a request that was refused.", error=_PROBLEM)
