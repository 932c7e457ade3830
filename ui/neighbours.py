"""Other tabs of a web UI that take a result of ours. A host fills in the list; this page alone has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr


@dataclass(frozen=True)
class Handout:
    """What a panel has to give away.

    `shown` is the gallery or picture on the page. `files(*values)`, with the values of `inputs`, gives the PNG files
    of what is picked or shown there, by `picture`, `mask`, `cutout` and `background` as far as they exist, and that
    which the view shows as `shown`; an empty dictionary where there is nothing yet.
    """

    panel: str
    shown: Any
    inputs: Sequence[Any]
    files: Callable[..., dict[str, Path]]


@dataclass(frozen=True)
class Neighbour:
    """A tab to send results to.

    `name` is plain (`img2img`) and `label` the key of the button's words in the table of texts.
    `connect(button, handout)` wires the button, within the Blocks of the page.
    """

    name: str
    label: str
    connect: Callable[[gr.Button, Handout], None]


def draw_buttons(neighbours: Sequence[Neighbour], handout: Handout) -> list[gr.Button]:
    """One connected button for each neighbour."""
    from .controls import button

    buttons = []
    for neighbour in neighbours:
        sending = button(neighbour.label, size="sm", elem_id=f"l4f_{handout.panel}_to_{neighbour.name}")
        neighbour.connect(sending, handout)
        buttons.append(sending)
    return buttons
