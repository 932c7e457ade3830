"""The two exceptions that every face of the plug-in (command line, page, API) turns into words."""

from typing import Any


class UserError(Exception):
    """Something a user can mend. The message is one sentence: what is wrong and what to do."""


class Cancelled(Exception):
    """The user stopped the work. Not a failure: faces report it without an error."""


def printable(text: Any, length: int = 80) -> str:
    """Text of unknown origin as one short line without control characters."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in str(text)[: length + 1])
    return plain if len(plain) <= length else plain[:length] + "..."
