"""What one visitor explores: the subject, the way there, a shelf of others, what was offered. Knows no Gradio."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from l4f_plugin.errors import UserError
from l4f_plugin.exploring import LARGEST_STRENGTH, Look, between, parse_key
from l4f_plugin.provenance import WPlus
from l4f_plugin.subject import Subject

from .texts import text

if TYPE_CHECKING:
    from l4f_plugin.directions import Directions

LARGEST_VARIETY = 1.5
MOST_PAST, MOST_ON_SHELF = 50, 16
LONGEST_WISH = 8192


def read(written: str) -> dict[str, Any]:
    """What the boards of the page sent. Raises `UserError` for anything else."""
    try:
        order = json.loads(written) if len(written) <= LONGEST_WISH else None
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict):
        raise UserError(text("explore.unreadable"))
    return order


class Newest:
    """Lets callers in one at a time, and tells each whether nobody came after it."""

    def __init__(self) -> None:
        self._lock, self._newest = threading.Lock(), None

    def __deepcopy__(self, memo: dict) -> Newest:
        return Newest()  # Gradio copies the state of a page for each visitor

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """The body of the `with` is told whether it is the newest when its turn comes; others have nothing to do."""
        self._newest = mine = object()
        with self._lock:
            yield self._newest is mine


@dataclass
class Kept:
    """A subject on the shelf; `picture` is its thumbnail as the address of an image."""

    codes: WPlus
    picture: str


@dataclass
class Exploration:
    """`chosen` are places on the shelf in the order of clicks, `offers` the subjects of the grid that is shown.

    `obeyed` is when the latest order of the boards was sent: Gradio 5 tells each one twice.
    """

    class_name: str = ""
    title: str = ""
    directions: Directions | None = None
    centre: np.ndarray | None = None
    look: Look | None = None
    subject: Subject | None = None
    past: list[Look] = field(default_factory=list)
    offers: list[WPlus] = field(default_factory=list)
    shelf: list[Kept] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    live: Newest = field(default_factory=Newest)
    obeyed: Any = None

    def enter(self, class_name: str, title: str, directions: Directions, centre: np.ndarray) -> None:
        """Another class: nothing that was found in the one before fits it."""
        fresh = Exploration(class_name, title, directions, centre, live=self.live)
        vars(self).update(vars(fresh))

    def codes(self, look: Look | None = None) -> WPlus:
        """The codes of the subject, or as it would be."""
        return (look or self.look).codes(self.directions, self.centre)

    def at(self, codes: WPlus) -> Look:
        """The look that is such codes, as varied as the subject."""
        return Look.at(codes, self.look.variety if self.look else 1.0, self.centre)

    def wished(self, wish: Any) -> tuple[Look, WPlus]:
        """What the sliders ask for, and its codes. Raises `UserError` for what they cannot say."""
        if not isinstance(wish, dict):
            raise UserError(text("explore.unreadable"))
        if "between" in wish:
            codes = between(*self.picked(2, 2), _number(wish["between"], 0, 1))
            return self.at(codes), codes
        strengths, asked = {}, wish.get("strengths")
        for key, strength in (asked if isinstance(asked, dict) else {}).items():
            parse_key(key, len(self.directions))
            strengths[key] = _number(strength, -LARGEST_STRENGTH, LARGEST_STRENGTH)
        look = replace(self.look, variety=_number(wish.get("variety"), 0, LARGEST_VARIETY), strengths=strengths)
        return look, self.codes(look)

    def settle(self, look: Look) -> None:
        """Goes on from there; `undo` comes back."""
        if self.look is not None:
            self.past = [*self.past, self.look][-MOST_PAST:]
        self.look = look

    def undo(self) -> None:
        """The look before. Raises `UserError` where there is none."""
        if not self.past:
            raise UserError(text("explore.nothing_to_undo"))
        self.look = self.past.pop()

    def put_on_shelf(self, codes: WPlus, picture: str) -> None:
        """Adds a subject, chosen. Raises `UserError` where the shelf is full."""
        if len(self.shelf) >= MOST_ON_SHELF:
            raise UserError(text("explore.shelf_full", most=MOST_ON_SHELF))
        self.shelf.append(Kept(codes, picture))
        self.chosen.append(len(self.shelf) - 1)

    def choose(self, at: int) -> None:
        self.chosen = [other for other in self.chosen if other != at] if at in self.chosen else [*self.chosen, at]

    def drop(self, at: int) -> None:
        del self.shelf[at]
        self.chosen = [other - (other > at) for other in self.chosen if other != at]

    def picked(self, least: int, most: int = MOST_ON_SHELF) -> list[WPlus]:
        """The chosen subjects. Raises `UserError` where they are too few or too many."""
        if not least <= len(self.chosen) <= most:
            raise UserError(text("explore.choose_some", least=least, most=most))
        return [self.shelf[at].codes for at in self.chosen]


def place(value: object, things: list) -> int:
    """A place among `things` as the page names it. Raises `UserError` for what is none (any more)."""
    if not isinstance(value, str) or value not in map(str, range(len(things))):
        raise UserError(text("explore.unreadable"))
    return int(value)


def _number(value: object, least: float, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UserError(text("explore.unreadable"))
    return min(max(float(value), least), most)
