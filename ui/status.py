"""The one line under the buttons: progress, outcome or problem, read aloud by screen readers."""

import re
from html import escape


def quiet() -> str:
    """Nothing to say; the place stays announced as a live region."""
    return _line("quiet", "")


def running(message: str, done: int = 0, total: int = 0) -> str:
    """A message over a bar; without a total the bar only moves."""
    if total:
        share = round(100 * done / total)
        values = f'aria-valuenow="{share}" aria-valuemin="0" aria-valuemax="100"'
        bar = f'<div class="l4f-bar" role="progressbar" {values}><span style="width:{share}%"></span></div>'
    else:
        bar = '<div class="l4f-bar l4f-bar-moving" role="progressbar"><span></span></div>'
    return _line("running", f"{escape(message)}{bar}")


def finished(message: str) -> str:
    return _line("finished", linked(message))


def problem(message: str) -> str:
    return _line("problem", escape(message))


def linked(words: str) -> str:
    """Words as HTML, with their web addresses as links that open beside the page."""
    parts = re.split(r"(https?://[^\s<>()\"']*[^\s<>()\"'.,;])", words)
    return "".join(
        f'<a href="{escape(part)}" target="_blank" rel="noopener noreferrer">{escape(part)}</a>'
        if number % 2
        else escape(part)
        for number, part in enumerate(parts)
    )


def _line(kind: str, inner: str) -> str:
    return f'<div class="l4f-status l4f-{kind}" role="status" aria-live="polite">{inner}</div>'
