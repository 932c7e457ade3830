"""What differs between Gradio 3.41 and 6. The only module that asks for Gradio's version.

Panels build components and wire events through these functions and otherwise use what all versions share:
`gr.update`, `gr.State`, `gr.SelectData`, dictionaries returned by handlers.
"""

import importlib.util
import inspect
import os
import re
import tempfile
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read once, when Gradio is imported

import gradio as gr  # noqa: E402

VERSION = tuple(int(number) for number in re.findall(r"\d+", gr.__version__)[:2])
MAJOR = VERSION[0]
SENDS_DIFFERENCES = MAJOR >= 4  # whether a page gets what changed between two updates of a job; else each whole


def make(component: type, **arguments: Any) -> Any:
    """A component with those of the arguments that its version knows (4 and later refuse unknown ones)."""
    known = inspect.signature(component).parameters
    # One wrapped by a host (reForge's Image) takes what its Gradio does not know.
    if any(parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in known.values()):
        arguments = {name: value for name, value in arguments.items() if name in known}
    made = component(**arguments)
    if MAJOR < 4:  # the page would bring 15 KB with each file field, as an example for programs, which none of ours is
        made.example_inputs = lambda: {"raw": None, "serialized": None}
    return made


def _image_tools(*names: str) -> dict[str, Any]:
    """The small buttons on a picture: a list since 6, one switch each before."""
    if MAJOR >= 6:
        return {"buttons": list(names)}
    return {f"show_{name}_button": name in names for name in ("download", "share", "fullscreen")}


def gallery(**arguments: Any) -> gr.Gallery:
    """A gallery that shows PNG files as they are and lets each be downloaded."""
    return make(
        gr.Gallery,
        format="png",
        type="filepath",
        interactive=False,
        object_fit="contain",
        **_image_tools("download", "fullscreen"),
        **arguments,
    )


def gallery_update(pictures: Sequence[tuple[str, str]], opened: int | None = None, *, keep: bool = False) -> dict:
    """The update that shows other pictures, (file, caption) each, one of them large since Gradio 4; with `keep` the
    place that is enlarged stays so."""
    return gr.update(value=pictures, **({"selected_index": opened} if MAJOR >= 4 and not keep else {}))


def selected(event: gr.SelectData) -> int:
    return event.index if isinstance(event.index, int) else event.index[0]


_TRANSPARENT = {"format": "png", "image_mode": None if MAJOR >= 5 else "RGBA"}
"""What lets an RGBA PNG keep its transparency."""


def shown_image(kind: str = "filepath", **arguments: Any) -> gr.Image:
    """A picture to look at and download, transparency and all. Handlers get it as `kind`."""
    tools = _image_tools("download", "fullscreen")
    return make(gr.Image, type=kind, interactive=False, **_TRANSPARENT, **tools, **arguments)


def uploaded_image(**arguments: Any) -> gr.Image:
    """A field for the user's own picture; handlers get the path of the file as it was uploaded.

    Gradio's own reading would answer a damaged or odd file with words of PIL and a path of the server, so
    since 4 it is passed over: only the engine decides what it can read.
    """
    kind = gr.Image
    if MAJOR >= 4:
        # By the metaclass's parent: the metaclass itself writes a stub file next to the source of a subclass.
        parts = {"preprocess": lambda _, payload: payload and payload.path, "is_template": True}
        kind = ABCMeta.__new__(type(gr.Image), "Image", (gr.Image,), parts)
    return make(
        kind,
        type="filepath",
        interactive=True,
        source="upload",
        sources=["upload", "clipboard"],
        **_TRANSPARENT,
        **_image_tools("fullscreen"),
        **arguments,
    )


def name_of_picture(uploaded: Path) -> str | None:
    """What the file of an `uploaded_image` was called by the person; None before 4, whose pages send no name."""
    return uploaded.name if MAJOR >= 4 else None


HAS_EDITOR = MAJOR >= 6
"""Whether a picture can be painted on in two colours. That of 4 takes half a core or more even while it is hidden, and
that of 5 fails when it is shown later, after which the page answers no click."""


def mask_editor(**arguments: Any) -> Any:
    """A place to paint on a picture, green for what is added and red for what is taken away.

    Hidden until `editor_update`: it draws itself anew 60 times a second, whether anybody looks or not.
    """
    brush = gr.Brush(default_size=24, colors=["#22c55e", "#ef4444"], default_color="#22c55e", color_mode="fixed")
    given = {"brush": brush, "type": "numpy", "image_mode": "RGBA", "sources": [], "transforms": [], "layers": False}
    return make(gr.ImageEditor, format="png", interactive=True, visible=False, **given, **arguments)


def editor_update(picture: Any) -> dict:
    """The update that gives an editor another picture, uint8 `[H, W, 3]`, with nothing painted on it."""
    return gr.update(value={"background": picture, "layers": [], "composite": None}, visible=True)


def painted(value: Any) -> Any:
    """What was painted in an editor, uint8 `[H, W, 4]`; None where nothing was."""
    layers = [layer for layer in (value or {}).get("layers") or [] if layer is not None and layer[..., 3].any()]
    return layers[-1] if layers else None


_FILE = "filepath" if MAJOR >= 4 else "file"


def uploaded_file(*endings: str, count: str = "single", **arguments: Any) -> gr.File:
    """A field for the user's own file, or "multiple", of such an ending; handlers get what `file_path(s)` reads."""
    return make(gr.File, type=_FILE, file_count=count, file_types=list(endings), interactive=True, **arguments)


def folder_button(label: str, *, elem_id: str) -> gr.UploadButton:
    """A button that uploads a folder; handlers of its `upload` get what `file_paths` reads."""
    return make(gr.UploadButton, label=label, file_count="directory", type=_FILE, size="sm", elem_id=elem_id)


def file_paths(uploaded: Any) -> list[Path]:
    return [Path(getattr(file, "name", file)) for file in uploaded or []]


def file_path(uploaded: Any) -> Path | None:
    """Where an uploaded file lies: newer versions hand over its path, older ones the open file."""
    return None if uploaded is None else Path(getattr(uploaded, "name", uploaded))


def options(pairs: Sequence[tuple[str, str]]) -> list:
    """(words, value) pairs as the choices of a dropdown, which before Gradio 4 shows the values themselves."""
    return list(pairs) if MAJOR >= 4 else [value for _, value in pairs]


def upload_folder() -> Path:
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def is_uploaded(path: Path) -> bool:
    """Whether the file lies where Gradio puts uploads, so that it may be moved and removed."""
    return upload_folder().resolve() in path.resolve().parents


def only_copy(uploaded: Any) -> Path | None:
    """As `file_path`, for a file that is taken away: Gradio 3 hands over a copy, which then replaces what came in."""
    path, first = file_path(uploaded), getattr(uploaded, "orig_name", None)
    if path is None or first is None or not is_uploaded(Path(first)) or not path.is_file():
        return path
    return path.replace(first)


class Comparison:
    """Two pictures to compare: a slider since Gradio 5, side by side before. `shown` updates `outputs`."""

    def __init__(self, *, label: str, before: str, after: str, elem_id: str):
        with gr.Column(visible=False, elem_id=elem_id) as self.frame:
            if MAJOR >= 5:
                tools = _image_tools("fullscreen")
                looks = {"show_label": False, "format": "png", "image_mode": None, "max_height": 640, **tools}
                self.outputs = [make(gr.ImageSlider, label=label, type="filepath", interactive=False, **looks)]
            else:
                with gr.Row():
                    self.outputs = [shown_image(label=before), shown_image(label=after)]

    def shown(self, before: Path, after: Path) -> dict:
        # Not bare paths: Gradio 4 empties a bare value that the next step of a job does not repeat.
        if MAJOR >= 5:
            return {self.outputs[0]: gr.update(value=(str(before), str(after)))}
        return {part: gr.update(value=str(file)) for part, file in zip(self.outputs, (before, after), strict=True)}


def line_plot(**arguments: Any) -> Any:
    """A plot of curves over pictures seen, by Gradio's own means; None where what these need is not installed.

    None under Gradio 3 too: one plot makes every load of the page, a web UI's included, fetch 4.5 MB of scripts.
    """
    if MAJOR < 4 or importlib.util.find_spec("pandas") is None:
        return None
    axes = {"x": "x", "y": "y", "color": "curve", "color_title": " "}
    return make(gr.LinePlot, height=260, visible=False, min_width=240, **axes, **arguments)


def line_plot_update(points: Sequence[tuple[float, float, str]]) -> dict:
    """The update that shows (x, y, name of the curve); a plot without two points of a curve is hidden."""
    import pandas

    drawn = len({x for x, _, _ in points}) > 1
    value = pandas.DataFrame(points, columns=["x", "y", "curve"]) if drawn else None
    return gr.update(value=value, visible=drawn)


def download_button(label: str, *, elem_id: str, **arguments: Any) -> Any:
    """A button that downloads the file which is its value; where Gradio has none, a file that looks like one."""
    arguments.update(label=label, elem_id=elem_id, interactive=False)
    if hasattr(gr, "DownloadButton"):
        return make(gr.DownloadButton, **arguments)
    arguments.setdefault("elem_classes", "l4f-file")
    return make(gr.File, visible=False, **arguments)


def download_update(file: Path | None) -> dict:
    """The update that gives a download button its file, or takes it away."""
    there = "interactive" if hasattr(gr, "DownloadButton") else "visible"
    return gr.update(**{"value": file and str(file), there: file is not None})


Judge = Callable[[Mapping[str, str]], "str | None"]
"""What is wrong with a request of these headers, as a sentence; None for one that is let in. In a host each handler
asks one first, as nothing of ours stands before a host."""

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
            raise refusal(complaint)
        return values[1:]

    @wraps(handler)
    def answer(*values: Any) -> Any:
        answered = handler(*let_in(values))
        return unchanged if answered == {} else answered

    @wraps(handler)
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


def on(
    trigger: Callable,
    handler: Callable | None,
    inputs: Sequence | set = (),
    outputs: Sequence = (),
    *,
    queue: bool = False,
    latest: bool = False,
    every: bool = False,
    js: str | None = None,
) -> Any:
    """Wires a handler to an event such as `button.click`; returns what `.then` hangs on.

    A handler takes the values of `inputs` one by one; where they are a set it takes `{component: value}`. One that
    answers `{}` changes nothing. `outputs` may name parts that it leaves alone, and one twice. `queue` is for what
    takes longer than a moment; `latest` then drops what came between a running call and the newest one, and with
    `every` nothing is dropped. Calls of one handler may overlap: the engine itself runs one job at a time. None becomes
    an endpoint of Gradio's own API.
    """
    arguments: dict[str, Any] = {
        "fn": handler and wired(handler, outputs),
        "inputs": inputs if isinstance(inputs, set) else list(inputs),
        "outputs": list(dict.fromkeys(outputs)),
        "show_progress": "hidden",  # the panels have a progress bar of their own
        "queue": queue,
    }
    if MAJOR < 4:
        arguments |= {"_js": js, "api_name": False}
    else:
        arguments |= {"js": js, "concurrency_limit": None}
        if latest or every:
            arguments["trigger_mode"] = "always_last" if latest else "multiple"
        arguments |= {"api_visibility": "private"} if MAJOR >= 6 else {"api_name": False, "show_api": False}
    return trigger(**arguments)


def endpoint(name: str, handler: Callable, inputs: Sequence, outputs: Sequence) -> None:
    """Lets programs call a handler under that name; nothing on the page does. See `on` for overlapping calls."""
    limits = {"concurrency_limit": None} if MAJOR >= 4 else {}
    gr.Button("", visible=False).click(wired(handler, outputs), list(inputs), list(outputs), api_name=name, **limits)


def refusal(words: str) -> gr.Error:
    """What an endpoint raises to answer with a sentence, which is no failure to be printed at length."""
    return gr.Error(words, **({"print_exception": False} if MAJOR >= 5 else {}))


def logins(app: Any) -> tuple[Any, Callable | None]:
    """The accounts of the page that `app` serves, name to password, or a function that knows them; and the function
    that tells the user of a request where a host has logins of its own. None for what there is not."""
    return getattr(app, "auth", None), getattr(app, "auth_dependency", None)


def has_logged_in(app: Any, cookies: Mapping[str, str]) -> bool:
    """Whether the cookies are those of somebody who has logged in to the page that `app` serves."""
    ending = f"-{app.cookie_id}" if hasattr(app, "cookie_id") else ""  # since 4
    given = [cookies.get(f"access-token{kind}{ending}") for kind in ("", "-unsecure")]
    return any(token is not None and token in app.tokens for token in given)


def settled(component: Any) -> Callable:
    """The event of a control that the user has finished with, which code that sets a value does not fire."""
    if isinstance(component, gr.Slider) and MAJOR < 4:
        return component.release  # without "latest" each step of a drag would be answered
    return component.input


def _theme() -> Any:
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
    looks = {} if MAJOR >= 6 else {"theme": _theme(), "css": _sheet(css)}
    tidy = {"fill_width": True, "delete_cache": (3600, 86400)}  # files of yesterday, looked for every hour
    return make(gr.Blocks, title=title, analytics_enabled=False, **looks, **tidy)


def _sheet(css: str) -> str:
    """What overflows is cut off as Gradio wants it, but in a way that lets parts stick while the page scrolls."""
    return ".gradio-container { overflow: clip; }\n" + css


def launch(page: gr.Blocks, css: str, *, most_waiting: int | None = None, **arguments: Any) -> tuple[str, str | None]:
    """Serves the page without blocking; returns its local and its public address (None where not shared).

    `most_waiting` bounds Gradio's queue; `max_file_size` of an upload is 256 MB where not given.
    """
    if MAJOR >= 6:
        arguments.update(theme=_theme(), css=_sheet(css), footer_links=[])
    elif MAJOR == 5:
        arguments.update(show_api=False)
    else:
        arguments.pop("max_file_size", None)
    if MAJOR >= 5:
        # One server is enough for such a page; what is larger than any picture that is read is not taken in.
        arguments = {"max_file_size": "256mb", **arguments, "ssr_mode": False}
    if not page.is_running:  # else it is served already, and only the rest of the start is done once more
        # Before 4 the limit is one for all handlers together, and some of ours wait for hours.
        page.queue(max_size=most_waiting, **({"concurrency_count": 64} if MAJOR < 4 else {}))
    # Our own errors are always shown; those of Gradio would tell paths of this computer.
    _, local, public = page.launch(prevent_thread_lock=True, quiet=True, show_error=False, **arguments)
    return local.rstrip("/") + "/", public


def close(page: gr.Blocks) -> None:
    """Stops serving. The server of Gradio 3 is not waited for: it would wait for pages that closed amid a job."""
    if MAJOR < 4 and page.is_running:
        page.server.force_exit = True
    page.close(verbose=False)
