"""Components named by their key in the table of texts, which gives them words and an id in the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from .texts import has, text


def named(key: str) -> dict[str, str]:
    """Label, explanation and id of an input: `generate.psi` is explained by `generate.psi_info`."""
    return {"label": text(key), "info": text(f"{key}_info") if has(f"{key}_info") else None, "elem_id": element_id(key)}


def side_by_side(build_controls: Callable[[], None], build_stage: Callable[[], None]) -> None:
    """The frame of a panel: its controls, and the wider stage for what comes out; one above the other where narrow."""
    with gr.Row(elem_classes="l4f-panel"):
        with gr.Column(scale=4, min_width=300, elem_classes="l4f-controls"):
            build_controls()
        with gr.Column(scale=7, min_width=300, elem_classes="l4f-stage"):
            build_stage()


def button(key: str, *, icon: str | None = None, **arguments: Any) -> gr.Button:
    """A button, with one of the icons of the style sheet (`dice`, `recycle`) before its words."""
    classes = ["l4f-icon", f"l4f-{icon}"] if icon else None
    arguments.setdefault("elem_id", element_id(key))
    return gr.Button(text(key), elem_classes=classes, **arguments)


def unsaved(component: Any) -> Any:
    """The component; web UIs then do not keep its first value as the default for ever."""
    component.do_not_save_to_config = True
    return component


def choices(group: str, keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """The choices of a radio: words shown, key handed to handlers."""
    return [(text(f"{group}.{key}"), key) for key in keys]


def element_id(key: str) -> str:
    """The id in the page: `generate.psi` is `l4f_generate_psi`."""
    return "l4f_" + key.replace(".", "_")


def click_when_ready(elem_id: str) -> str:
    """JavaScript that presses the download link `elem_id` as soon as it holds a file."""
    return f"""() => {{
        const started = Date.now();
        const look = () => {{
            const link = document.querySelector("#{elem_id} a[href], a#{elem_id}[href]");
            const button = document.querySelector("button#{elem_id}:not([disabled]), #{elem_id} button");
            const target = link || button;
            if (target && Date.now() - started > 150) target.click();
            else if (Date.now() - started < 5000) setTimeout(look, 50);
        }};
        look();
    }}"""
