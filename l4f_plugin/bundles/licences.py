"""Licences that restrict use: shown before a download and accepted once per class.

What was accepted stands in `licences.json` of the models folder.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .files import write_atomically, write_text
from .folders import models_folder
from .locks import lock

FILE_NAME = "licences.json"
_RESTRICTS = re.compile(r"\bnc\b|non-?\s?commercial|research[- ]only|nvidia source code", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """The licence of a class: its name, and what it asks of whoever uses the weights (None: nothing special)."""

    name: str
    terms: str | None = None
    url: str | None = None

    @classmethod
    def by_name(cls, name: str) -> Licence:
        """The licence a bundle states, whose name tells whether it restricts use."""
        terms = "the licence restricts what the weights may be used for" if _RESTRICTS.search(name) else None
        return cls(name, terms)

    def in_words(self) -> str:
        """Name, terms and where to read them, as a part of a sentence."""
        words = self.name + (f": {self.terms}" if self.terms else "")
        return f"{words} ({self.url})" if self.url else words


class NotAccepted(UserError):
    """A licence is to be accepted first. Faces that can ask, ask, and accept it with `accept`."""

    def __init__(self, class_name: str, licence: Licence):
        super().__init__(
            f"{class_name} is under {licence.in_words()}; read that, and if you agree, accept it once "
            f"with: l4f download {class_name} --accept-licence."
        )
        self.class_name, self.licence = class_name, licence


def is_accepted(class_name: str, licence: Licence) -> bool:
    """Whether a download may start. True for licences that restrict nothing."""
    return licence.terms is None or _accepted().get(class_name, {}).get("licence") == licence.name


def accept(class_name: str, licence: Licence) -> None:
    """Remembers that the user has accepted the licence of this class. Raises `UserError` where that fails."""
    if is_accepted(class_name, licence):
        return
    with lock(_path().with_name(f".{FILE_NAME}.lock")):
        accepted = _accepted()
        accepted[class_name] = {"licence": licence.name, "accepted": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        text = json.dumps(accepted, indent=1, sort_keys=True) + "\n"
        write_atomically(_path(), lambda path: write_text(path, text))


def demand(class_name: str, licence: Licence, accepted: bool = False) -> None:
    """Raises `NotAccepted` unless the licence is accepted, which `accepted` does here and now."""
    if accepted:
        accept(class_name, licence)
    if not is_accepted(class_name, licence):
        raise NotAccepted(class_name, licence)


def _path() -> Path:
    return models_folder() / FILE_NAME


def _accepted() -> dict[str, dict[str, str]]:
    try:
        data = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # asked again: the worst that a damaged file may do
    return {name: entry for name, entry in data.items() if isinstance(entry, dict)} if isinstance(data, dict) else {}
