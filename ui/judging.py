"""Handlers as Gradio gets them. In a host each looks first at who asks, as nothing of ours stands before a host."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def wired(handler: Callable, outputs: Sequence) -> Callable:
    """The handler as Gradio gets it.

    Where there is a judge it takes the request too, which Gradio then hands over; without one the judge is not asked.
    An empty answer names an output: Gradio takes `{}` for a value.
    """
    judge, unchanged = _judge, {outputs[0]: gr.update()} if outputs else {}

    def let_in(values: tuple) -> tuple:
        if judge is None or not values or not isinstance(values[0], gr.Request):
            return values
        complaint = judge({name.lower(): value for name, value in values[0].headers.items()})
        if complaint:
            from .compat import refusal

            raise refusal(complaint)
        return values[1:]

    @functools.wraps(handler)
    def answer(*values: Any) -> Any:
        answered = handler(*let_in(values))
        return unchanged if answered == {} else answered

    @functools.wraps(handler)
    def answers(*values: Any) -> Iterator[Any]:
        for answered in handler(*let_in(values)):
            yield unchanged if answered == {} else answered

    given = answers if inspect.isgeneratorfunction(handler) else answer
    if judge is not None:
        asked = inspect.Parameter("l4f_request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
        known = inspect.signature(handler)
        given.__signature__ = known.replace(parameters=[asked, *known.parameters.values()])
        given.__annotations__ = {**getattr(handler, "__annotations__", {}), "l4f_request": gr.Request}
    return given
