"""The plug-in's tab in a host, which is there whatever is missing."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from ..texts import text
from . import host

if TYPE_CHECKING:
    import gradio as gr

MODULES = {
    "torch": "torch",
    "numpy": "numpy",
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "safetensors": "safetensors",
}
"""Modules that the plug-in imports, and the packages that have them; Gradio builds the tab that says so."""
TAB_ID = "l4f"
PREFIX = "l4f_"
"""Before the names of our endpoints, among those of the host and of other plug-ins."""


def build_tab() -> list[tuple[gr.Blocks, str, str]]:
    """What `on_ui_tabs` wants: the Blocks of the tab, its title, its id."""
    import gradio as gr

    from ..compat import judged_by

    with gr.Blocks(analytics_enabled=False) as blocks:
        missing = [package for module, package in MODULES.items() if not _is_there(module)]
        if missing:
            _notice(mend(missing))
        problem = None
        with gr.Column() as place:
            try:
                with judged_by(_complaint):
                    _fill(blocks)
            except Exception as error:  # the tab of a plug-in that does not work says so
                traceback.print_exception(error)
                problem = _explained(error)
        if problem:
            place.visible = False
            if not missing:
                _notice(problem)
    for block in list(blocks.blocks.values()):
        block.do_not_save_to_config = True  # else the first values would stay the defaults for ever
    return [(blocks, text("app.title"), TAB_ID)]


def _fill(blocks: gr.Blocks) -> None:
    import gradio as gr

    from .. import app, compat
    from .host_service import service
    from .page_scripts import when_seen
    from .sending import neighbours
    from .strips import Inbox, RoomOffer

    shared = service()
    with gr.Column(elem_classes="l4f l4f-strips"):
        shared.neighbours = neighbours()
        gr.HTML(f"<style>{app.style()}</style>", elem_classes="l4f-hidden")  # hosts read no sheet of a page in theirs
        inbox, room = Inbox(shared.outputs), RoomOffer(shared)
        opened = gr.Button(elem_id="l4f_opened", elem_classes="l4f-hidden")
    page = app.Page(shared, PREFIX, [room])
    inbox.connect(page)
    # An event when the host's page is loaded would hold up all of it.
    page.generate.open_on(opened.click)
    compat.on(blocks.load, None, js=when_seen("l4f", "l4f_opened"))
    compat.on(blocks.load, None, js=app.script())


def _complaint(headers: Mapping[str, str]) -> str | None:
    """What is wrong with a request for one of our handlers: see `Visitors`. Under which name it came counts only
    where nobody but the owner reaches the host, and without a login."""
    from .programs import visitors

    complaint = visitors(None, host.has_login() or not host.is_private()).complaint("POST", headers)
    return complaint and text(complaint)


def _notice(words: str) -> None:
    """What is wrong and its mend; what stands between backticks is a command to copy."""
    import gradio as gr

    marked = re.sub("`([^`]*)`", r"<code>\1</code>", escape(words, quote=False))
    gr.HTML(f'<p role="alert">{marked}</p>', elem_id="l4f_notice")


def _explained(error: Exception) -> str:
    if isinstance(error, ImportError) and error.name:
        return mend([error.name.partition(".")[0]])
    return text("host.broken", kind=type(error).__name__, reason=str(error)[:300])


def mend(packages: list[str]) -> str:
    command = f'"{sys.executable}" -m pip install {" ".join(packages)}'
    return text("host.missing", packages=", ".join(packages), command=command)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is loaded, and does not say from where
        return True
