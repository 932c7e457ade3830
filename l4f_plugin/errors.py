"""The two exceptions that every face of the plug-in (command line, page, API) turns into words."""

from __future__ import annotations


class UserError(Exception):
    """Something a user can mend. The message is one sentence: what is wrong and what to do."""


class Cancelled(Exception):
    """The user stopped the work. Not a failure: faces report it without an error."""
