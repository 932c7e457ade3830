"""What the parts of the panel *Models* know of one another: who looks, and how a class is shown there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from l4f_plugin.jobs import Job


@dataclass
class Visit:
    """What one visitor's page shows: the class picked, which of its watchers is the latest, which tasks had ended
    when it was last drawn, which repository's licence it asks about, and of which class it wants to know what
    (`declared`) before that is published."""

    picked: str | None = None
    watcher: object = None
    ended: list[Job] = field(default_factory=list)
    asked: str | None = None
    declaring: str | None = None
    declared: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Picking:
    """How a form shows the class that it made: `pick(visit, name)` updates `outputs`; `visit` holds the `Visit`."""

    visit: gr.State
    outputs: Sequence[Any]
    pick: Callable[[Visit, str], dict]
