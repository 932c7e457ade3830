"""What differs between Gradio 3.41 and 6. The only module that asks for Gradio's version.

Panels build components and wire events through these functions and otherwise use what all versions share:
`gr.update`, `gr.State`, `gr.SelectData`, dictionaries returned by handlers.
"""

from __future__ import annotations

import inspect
import os
import re
from abc import ABCMeta
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read once, when Gradio is imported

import gradio as gr  # noqa: E402

VERSION = tuple(int(number) for number in re.findall(r"\d+", gr.__version__)[:2])
MAJOR = VERSION[0]


def _make(component: type, **arguments: Any) -> Any:
    """A component with those of the arguments that its version knows (4 and later refuse unknown ones)."""
    known = inspect.signature(component).parameters
    return component(**{name: value for name, value in arguments.items() if name in known})


def _image_tools(*names: str) -> dict[str, Any]:
    """The small buttons on a picture: a list since 6, one switch each before."""
    if MAJOR >= 6:
        return {"buttons": list(names)}
    return {f"show_{name}_button": name in names for name in ("download", "share", "fullscreen")}


def gallery(**arguments: Any) -> gr.Gallery:
    """A gallery that shows PNG files as they are and lets each be downloaded."""
    return _make(
        gr.Gallery,
        format="png",
        type="filepath",
        interactive=False,
        object_fit="contain",
        **_image_tools("download", "fullscreen"),
        **arguments,
    )


def gallery_update(pictures: Sequence[tuple[str, str]]) -> dict:
    """The update that shows other pictures, (file, caption) each, with none of them enlarged."""
    return gr.update(value=pictures, **({"selected_index": None} if MAJOR >= 4 else {}))


def shown_image(**arguments: Any) -> gr.Image:
    """A picture to look at and download; an RGBA PNG keeps its transparency."""
    return _make(
        gr.Image,
        format="png",
        image_mode=None if MAJOR >= 5 else "RGBA",
        type="filepath",
        interactive=False,
        **_image_tools("download", "fullscreen"),
        **arguments,
    )


def _untouched(payload: Any) -> str | None:
    """The path of an uploaded file, which Gradio has checked to be one."""
    return None if payload is None else payload.path


def uploaded_image(**arguments: Any) -> gr.Image:
    """A field for the user's own picture; handlers get the path of the file as it was uploaded.

    Gradio's own reading would answer a damaged or odd file with words of PIL and a path of the server, so
    since 4 it is passed over: only the engine decides what it can read.
    """
    kind = gr.Image
    if MAJOR >= 4:
        # By the metaclass's parent: the metaclass itself writes a stub file next to the source of a subclass.
        parts = {"preprocess": lambda _, payload: _untouched(payload), "is_template": True}
        kind = ABCMeta.__new__(type(gr.Image), "Image", (gr.Image,), parts)
    return _make(
        kind,
        format="png",
        type="filepath",
        interactive=True,
        image_mode=None if MAJOR >= 5 else "RGBA",
        source="upload",
        sources=["upload", "clipboard"],
        **_image_tools("fullscreen"),
        **arguments,
    )


class Comparison:
    """Two pictures to compare: a slider since Gradio 5, side by side before."""

    def __init__(self, *, label: str, before: str, after: str, elem_id: str):
        with gr.Column(visible=False, elem_id=elem_id) as self.frame:
            if MAJOR >= 5:
                tools = _image_tools("fullscreen")
                self._parts = [
                    _make(
                        gr.ImageSlider,
                        label=label,
                        format="png",
                        image_mode=None,
                        type="filepath",
                        interactive=False,
                        max_height=640,
                        **tools,
                    )
                ]
            else:
                with gr.Row():
                    self._parts = [shown_image(label=before), shown_image(label=after)]

    @property
    def outputs(self) -> list:
        """What a handler that returns `shown` must name among its outputs."""
        return list(self._parts)

    def shown(self, before: Path, after: Path) -> dict:
        """The update that shows the two files."""
        pair = (str(before), str(after))
        return {self._parts[0]: pair} if MAJOR >= 5 else dict(zip(self._parts, pair, strict=True))


def download_button(label: str, *, elem_id: str, **arguments: Any) -> Any:
    """A button that downloads the file which is its value; a file list where Gradio has no such button."""
    if hasattr(gr, "DownloadButton"):
        return _make(gr.DownloadButton, label=label, elem_id=elem_id, interactive=False, **arguments)
    return _make(gr.File, label=label, elem_id=elem_id, interactive=False, **arguments)


def download_update(file: Path | None) -> dict:
    """The update that gives a download button its file, or takes it away."""
    value = None if file is None else str(file)
    if hasattr(gr, "DownloadButton"):
        return gr.update(value=value, interactive=file is not None)
    return gr.update(value=value)


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


def on(
    trigger: Callable,
    handler: Callable | None,
    inputs: Sequence = (),
    outputs: Sequence = (),
    *,
    latest: bool = False,
    queue: bool = True,
    js: str | None = None,
) -> Any:
    """Wires a handler to an event such as `button.click`; returns what `.then` hangs on.

    `latest` drops what came between a running call and the newest one. Calls of one handler may overlap: the
    engine itself runs one job at a time. None becomes an endpoint of Gradio's own API.
    """
    arguments: dict[str, Any] = {
        "fn": handler,
        "inputs": list(inputs),
        "outputs": list(outputs),
        "show_progress": "hidden",  # the panels have a progress bar of their own
        "queue": queue,
    }
    arguments["_js" if MAJOR < 4 else "js"] = js
    if MAJOR >= 4:
        arguments["concurrency_limit"] = None
        if latest:
            arguments["trigger_mode"] = "always_last"
    if MAJOR >= 6:
        arguments["api_visibility"] = "private"
    else:
        arguments["api_name"] = False
        if MAJOR >= 4:
            arguments["show_api"] = False
    return trigger(**arguments)


def settled(component: Any) -> Callable:
    """The event of a control that the user has finished with, which code that sets a value does not fire."""
    if isinstance(component, gr.Slider) and MAJOR < 4:
        return component.release  # without "latest" each step of a drag would be answered
    return component.input


def colour_as_hex(value: object) -> str:
    """`#rrggbb` for the `rgb(...)` of newer colour pickers; anything else as it is, after a #."""
    written = str(value or "").strip().lower()
    numbers = re.findall(r"\d+(?:\.\d+)?", written) if written.startswith("rgb") else []
    if len(numbers) >= 3:
        return "#" + "".join(f"{min(255, round(float(number))):02x}" for number in numbers[:3])
    return "#" + written.lstrip("#")


def theme() -> Any:
    """A quiet theme that follows the browser's dark setting and loads no font from the network."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    quiet = gr.themes.Default(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=system,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    # Gradio's own explanations are too faint to be read by everybody (contrast 2.6 on white).
    return quiet.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
    )


def blocks(title: str, css: str) -> gr.Blocks:
    """An empty stand-alone page; hand `launch` the same css."""
    looks = {} if MAJOR >= 6 else {"theme": theme(), "css": css}
    tidy = {"fill_width": True, "delete_cache": (3600, 86400)}  # files of yesterday, looked for every hour
    return _make(gr.Blocks, title=title, analytics_enabled=False, **looks, **tidy)


def launch(page: gr.Blocks, css: str, **arguments: Any) -> tuple[str, str | None]:
    """Serves the page without blocking; returns its local and its public address (None where not shared)."""
    if MAJOR >= 6:
        arguments.update(theme=theme(), css=css, footer_links=[])
    elif MAJOR == 5:
        arguments.update(show_api=False)
    if MAJOR >= 5:
        # One server is enough for such a page; what is larger than any picture that is read is not taken in.
        arguments.update(ssr_mode=False, max_file_size="256mb")
    page.queue()
    _, local, public = page.launch(prevent_thread_lock=True, quiet=True, show_error=True, **arguments)
    return local.rstrip("/") + "/", public
