"""Handlers of a page that a host serves: each may first look at who asks, as nothing of ours stands before a host."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr

Judge = Callable[[Mapping[str, str]], "str | None"]
"""What is wrong with a request of these headers, as a sentence; None for one that is let in."""

_judge: Judge | None = None


@contextmanager
def judged_by(judge: Judge) -> Iterator[None]:
    """Handlers that are wired within ask `judge` before they do anything."""
    global _judge
    before, _judge = _judge, judge
    try:
        yield
    finally:
        _judge = before


def judged(handler: Callable) -> Callable:
    """The handler as it is wired: where there is a judge it takes the request too, which Gradio then hands over.

    Called without a request, as by the page's own code, it is not asked about.
    """
    judge = _judge
    if judge is None:
        return handler

    def let_in(values: tuple) -> tuple:
        if not values or not isinstance(values[0], gr.Request):
            return values
        complaint = judge({name.lower(): value for name, value in values[0].headers.items()})
        if complaint:
            from .compat import refusal

            raise refusal(complaint)
        return values[1:]

    @functools.wraps(handler)
    def answer(*values: Any) -> Any:
        return handler(*let_in(values))

    @functools.wraps(handler)
    def answers(*values: Any) -> Iterator[Any]:
        yield from handler(*let_in(values))

    wired = answers if inspect.isgeneratorfunction(handler) else answer
    asked = inspect.Parameter("l4f_request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
    known = inspect.signature(handler)
    wired.__signature__ = known.replace(parameters=[asked, *known.parameters.values()])
    wired.__annotations__ = {**getattr(handler, "__annotations__", {}), "l4f_request": gr.Request}
    return wired
