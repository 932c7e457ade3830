"""Failures in words: what a person reads when something goes wrong."""

from __future__ import annotations

import traceback

from l4f_plugin.errors import UserError
from l4f_plugin.runtime import OutOfMemory

from .texts import text


def in_words(error: BaseException) -> str:
    """One sentence for the page. What nobody foresaw is also printed in full where the page was started."""
    if isinstance(error, OutOfMemory):
        return text("problem.out_of_memory")
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exception(error)
    return text("problem.unexpected", kind=type(error).__name__)
