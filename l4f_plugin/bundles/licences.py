"""Licences that restrict use: shown before a download and accepted once per class.

What was accepted stands in `licences.json` of the models folder.
"""

import json
import re
import time
from pathlib import Path

from ..errors import UserError
from .config import ObjectClass
from .files import read_json, write_atomically
from .folders import models_folder
from .locks import lock

FILE_NAME = "licences.json"
_MOST_BYTES = 1 << 20
_RESTRICTS = re.compile(r"\bnc\b|non-?\s?commercial|research[- ]only|nvidia source code", re.IGNORECASE)


class NotAccepted(UserError):
    """A licence is to be accepted first. Faces that can ask, ask, and accept it with `accept`."""

    def __init__(self, wanted: ObjectClass):
        super().__init__(
            f"{wanted.name} is under {wanted.licence_in_words}; read that, and if you agree, accept it once "
            f"with: l4f download {wanted.name} --accept-licence."
        )
        self.wanted = wanted


def restriction(licence: str) -> str | None:
    """What must be accepted of a licence of which only the name is known; None for one that restricts nothing."""
    return "the licence restricts what the weights may be used for" if _RESTRICTS.search(licence) else None


def is_accepted(wanted: ObjectClass) -> bool:
    """Whether a download may start. True for licences that restrict nothing."""
    return wanted.conditions is None or _accepted().get(wanted.name, {}).get("licence") == wanted.licence


def accept(wanted: ObjectClass) -> None:
    """Remembers that the user has accepted the licence of this class. Raises `UserError` where that fails."""
    if is_accepted(wanted):
        return
    with lock(_path().with_name(f".{FILE_NAME}.lock")):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        accepted = {**_accepted(), wanted.name: {"licence": wanted.licence, "accepted": now}}
        write_atomically(_path(), json.dumps(accepted, indent=1, sort_keys=True) + "\n")


def demand(wanted: ObjectClass, accepted: bool = False) -> None:
    """Raises `NotAccepted` unless the licence is accepted, which `accepted` does here and now."""
    if accepted:
        accept(wanted)
    if not is_accepted(wanted):
        raise NotAccepted(wanted)


def _path() -> Path:
    return models_folder() / FILE_NAME


def _accepted() -> dict[str, dict[str, str]]:
    try:
        data = read_json(_path(), _MOST_BYTES)
    except (OSError, ValueError):
        return {}  # asked again: the worst that a damaged file may do
    return {name: entry for name, entry in data.items() if isinstance(entry, dict)} if isinstance(data, dict) else {}
