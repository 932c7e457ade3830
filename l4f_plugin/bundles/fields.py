"""Checks of the fields of decoded JSON: by name, with types and bounds. Each raises `Invalid`, in words."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from ..architecture import resolutions_up_to

RESOLUTIONS = (32, 64, 128, 256, 512, 1024)
SHA256 = re.compile(r"[0-9a-f]{64}")
CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w./-]{0,198}(?<!/)", re.ASCII)
_PATTERNS = {
    SHA256: "be 64 hexadecimal digits",
    CLASS_NAME: "hold small letters, digits, - and _ only",
    REPOSITORY_ID: "be OWNER/NAME",
    REVISION: "be a branch, tag or commit",  # which become paths in the cache
}
_Value = TypeVar("_Value")
Fields = dict[str, Any]


class Invalid(ValueError):
    """A field that is not as it should be, in words."""


def value(data: Fields, name: str) -> Any:
    if name not in data:
        raise Invalid(f"'{name}' is missing")
    return data[name]


def optional(check: Callable[..., _Value], data: Fields, name: str, *bounds: Any) -> _Value | None:
    """What `check` returns; None where the field is missing or null."""
    return None if data.get(name) is None else check(data, name, *bounds)


def _checked(data: Fields, name: str, is_right: Callable[[Any], bool], words: str) -> Any:
    if not is_right(found := value(data, name)):
        raise Invalid(f"'{name}' must {words}")
    return found


def table(data: Fields, name: str) -> Fields:
    return _checked(data, name, lambda found: isinstance(found, dict), "be an object")


def text(data: Fields, name: str, length: int = 2000, pattern: re.Pattern[str] | None = None) -> str:
    """A line of text that matches `pattern`, one of this module."""
    found = value(data, name)
    if not isinstance(found, str) or not found or len(found) > length or not found.isprintable():
        raise Invalid(f"'{name}' must be a line of 1 to {length} characters")
    if pattern and not pattern.fullmatch(found):
        raise Invalid(f"'{name}' must {_PATTERNS[pattern]}")
    return found


def is_integer(found: Any, least: int, most: int) -> bool:
    """Whether that is a whole number within bounds; true and false are none."""
    return type(found) is int and least <= found <= most


def integer(data: Fields, name: str, least: int, most: int) -> int:
    words = f"be a whole number from {least} to {most}"
    return _checked(data, name, lambda found: is_integer(found, least, most), words)


def number(data: Fields, name: str, least: float, most: float) -> float:
    """A number, which may be whole."""
    words = f"be a number from {least:g} to {most:g}"
    return float(_checked(data, name, lambda found: type(found) in (int, float) and least <= found <= most, words))


def flag(data: Fields, name: str) -> bool:
    return _checked(data, name, lambda found: isinstance(found, bool), "be true or false")


def choice(data: Fields, name: str, choices: tuple[str, ...]) -> str:
    return _checked(data, name, lambda found: found in choices, f"be one of {', '.join(choices)}")


def resolution(data: Fields) -> int:
    """The side of a class's pictures."""
    words = "be a power of two from 32 to 1024"
    return _checked(data, "resolution", lambda found: type(found) is int and found in RESOLUTIONS, words)


def channels(data: Fields) -> dict[int, int]:
    """A table from each resolution 4, 8, ... `resolution` to a count of channels."""
    counts, expected = table(data, "channels"), resolutions_up_to(resolution(data))
    if sorted(counts) != sorted(map(str, expected)):
        raise Invalid(f"'channels' must name the resolutions 4 to {expected[-1]}")
    if not all(is_integer(count, 1, 4096) for count in counts.values()):
        raise Invalid("'channels' must hold whole numbers from 1 to 4096")
    return {size: counts[str(size)] for size in expected}


def crop(data: Fields, name: str, resolution: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right in pixels."""
    found = value(data, name)
    if not isinstance(found, list) or len(found) != 4 or not all(is_integer(side, 0, resolution) for side in found):
        raise Invalid(f"'{name}' must be four whole numbers from 0 to {resolution}")
    top, bottom, left, right = found
    if top >= bottom or left >= right:
        raise Invalid(f"'{name}' leaves nothing of a picture")
    return top, bottom, left, right
