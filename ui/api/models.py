"""What answers hold, as programs read it in the description."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ..texts import text


def _field(name: str, **options: object) -> object:
    return Field(..., description=text(f"http.answer.{name}"), **options)


class ObjectClass(BaseModel):
    """One object class."""

    name: str = _field("name")
    title: str = _field("title")
    resolution: int = _field("resolution")
    licence: str = _field("licence")


class ClassList(BaseModel):
    """The object classes that can be named."""

    classes: list[ObjectClass] = _field("classes")


class Sample(BaseModel):
    """One picture with its mask."""

    seed: int = _field("seed")
    images: dict[str, str] = _field("images")
    infotext: str = _field("infotext")


class Generated(BaseModel):
    """What was generated."""

    class_name: str = _field("class", alias="class")
    truncation_psi: float = _field("truncation_psi")
    samples: list[Sample] = _field("samples")


class Swapped(Sample):
    """What was swapped."""

    class_name: str = _field("class", alias="class")
    truncation_psi: float = _field("truncation_psi")
    background: str = _field("background")
    note: str | None = _field("note")


class Segmented(BaseModel):
    """What was segmented."""

    class_name: str = _field("class", alias="class")
    seed: int | None = _field("segment_seed")
    mask_area: float = _field("mask_area")
    confidence: float | None = _field("confidence")
    note: str | None = _field("note")
    images: dict[str, str] = _field("images")
    infotext: str = _field("infotext")


class Problem(BaseModel):
    """Why a request was refused."""

    code: str = _field("code")
    message: str = _field("message")


class Failure(BaseModel):
    """The answer to a request that was refused."""

    error: Problem = _field("error")
