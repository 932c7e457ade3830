"""The page without a browser: what tests of its handlers share. The fixture `page` is in conftest.py."""

from __future__ import annotations

import html
import re
import threading
from types import SimpleNamespace

import numpy as np
from PIL import Image


def run(panel, handler, *values) -> dict:
    """All updates of a job as one, as the browser would see them in the end. Handlers take a `Running` first."""
    seen: dict = {}
    for update in panel.job.guarded(handler)(*values):
        seen |= update
    return seen


def status_of(panel, seen: dict) -> str:
    return html.unescape(re.sub("<[^>]*>", "", seen[panel.job.status]))


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def listeners(blocks, component, event: str) -> list:
    """What answers an event of a component: each has `fn` and `inputs`. Before Gradio 4 the two lie in two lists."""
    if isinstance(blocks.fns, dict):
        return [function for function in blocks.fns.values() if (component._id, event) in map(tuple, function.targets)]
    return [
        SimpleNamespace(fn=function.fn, inputs=told["inputs"])
        for function, told in zip(blocks.fns, blocks.dependencies, strict=True)
        if component._id in told["targets"] and told["trigger"] == event
    ]


def wait_until(condition) -> None:
    for _ in range(6000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("did not happen")
