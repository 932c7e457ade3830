"""A web UI as far as a plug-in sees it, in four variants: AUTOMATIC1111, Forge, reForge and SD.Next.

Their modules stand in `sys.modules` as long as the test runs, with what each of them has and lacks; components are
real ones of Gradio. Nothing here is of those projects: it is the contract, written down as behaviour.
"""

from __future__ import annotations

import base64
import importlib.util
import inspect
import io
import os
import sys
import threading
from abc import ABCMeta
from collections import defaultdict, deque
from functools import wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gradio as gr
from fastapi import FastAPI
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = ("A1111", "Forge", "reForge", "SD.Next")
if int(gr.__version__.partition(".")[0]) < 4:
    VARIANTS = ("A1111", "reForge", "SD.Next")  # Forge brings Gradio 4, and wraps what only that has
EVENTS = "ui_settings ui_tabs app_started before_reload script_unloaded after_component before_ui before_image_saved"
PICTURES = {"img2img": ("img2img_image", "img_inpaint_base", "img_inpaint_mask"), "extras": ("extras_image",)}


class FirstInFirstOut:
    """The lock of all but SD.Next: no time limit, first come first served."""

    def __init__(self) -> None:
        self._lock, self._inner, self._waiting = threading.Lock(), threading.Lock(), deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._inner:
            if self._lock.acquire(False):
                return True
            if not blocking:
                return False
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()
        return self._lock.acquire()

    def release(self) -> None:
        with self._inner:
            if self._waiting:
                self._waiting.popleft().set()
            self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class State:
    """What the host says about its job. `log` remembers it."""

    def __init__(self, variant: str):
        self.interrupted, self.job = False, ""
        self.log: list[str] = []
        if variant == "SD.Next":
            self.begin, self.end = self._begin_with_id, self._end_by_id

    def begin(self, job: str = "(unknown)") -> None:
        self.interrupted, self.job = False, job
        self.log.append(f"begin {job}")

    def end(self) -> None:
        self.log.append(f"end {self.job}")
        self.job = ""

    def _begin_with_id(self, title: str = "", task_id: int = 0, api: object = None) -> str:
        State.begin(self, title)
        return f"id of {title}"

    def _end_by_id(self, task_id: str | None = None, api: object = None) -> None:
        assert task_id == f"id of {self.job}"
        State.end(self)


class OptionInfo:
    """One setting as the hosts describe it."""

    def __init__(self, default=None, label="", component=None, component_args=None, onchange=None, section=None):
        self.default, self.label, self.component, self.section = default, label, component, section
        self.component_args, self.comment = component_args, ""

    def info(self, words: str) -> OptionInfo:
        self.comment = words
        return self


class Options:
    """The settings: attributes, with the defaults of what was added."""

    def __init__(self, **values: Any):
        self.data, self.data_labels = dict(values), {}

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info

    def __getattr__(self, key: str) -> Any:
        if key in self.__dict__["data"]:
            return self.data[key]
        if key in self.__dict__["data_labels"]:
            return self.data_labels[key].default
        raise AttributeError(key)


class EventWrapper:
    """What Forge puts in the place of each component's events: the signature is gone, `_js` is taken too."""

    def __init__(self, event: Any):
        self._event = event

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "_js" in kwargs:
            kwargs["js"] = kwargs.pop("_js")
        return self._event(*args, **kwargs)


class ParamBinding:
    """A button that sends a picture to a tab."""

    def __init__(self, paste_button, tabname, source_text_component=None, source_image_component=None):
        self.paste_button, self.tabname, self.source_image_component = paste_button, tabname, source_image_component


class CopyPaste:
    """Sending between tabs, as `infotext_utils` does it. `bindings` are those that were registered."""

    ParamBinding = ParamBinding

    def __init__(self) -> None:
        self.paste_fields: dict[str, dict] = {}
        self.bindings: list[ParamBinding] = []

    def register_paste_params_button(self, binding: ParamBinding) -> None:
        self.bindings.append(binding)

    def image_from_url_text(self, filedata: Any) -> Image.Image | None:
        if isinstance(filedata, str):
            if not filedata.startswith("data:image/png;base64,"):
                raise ValueError(filedata)
            return Image.open(io.BytesIO(base64.b64decode(filedata.partition(",")[2])))
        if filedata and filedata.get("is_file"):
            assert Path(filedata["name"]).parent.name == "served", "outside of allowed directories"
            return Image.open(filedata["name"])
        return None

    def connect(self) -> None:
        for binding in self.bindings:
            target = self.paste_fields[binding.tabname]["init_img"]
            binding.paste_button.click(lambda value: value, [binding.source_image_component], [target])


def _with_wrapped_events(make: Any) -> Any:
    @wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        for event in self.EVENTS:
            bound = getattr(self, str(event))
            setattr(self, str(event), bound if isinstance(bound, EventWrapper) else EventWrapper(bound))

    return init


def _with_any_arguments(make: Any) -> Any:
    """reForge's pictures, which take arguments of other releases of Gradio too: their signature names none."""
    known = inspect.signature(make).parameters

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **{name: value for name, value in kwargs.items() if name in known})

    return init


def _moving_away(load: Any) -> Any:
    def loader(*args: Any, **kwargs: Any) -> Any:
        try:
            return load(*args, **kwargs)
        except Exception as error:
            for path in [*args, *kwargs.values()]:
                if isinstance(path, str) and os.path.exists(path):
                    os.replace(path, path + ".corrupted")
            raise ValueError(str(error)) from error

    return loader


class StubHost:
    """A host in `folder`, which becomes the working directory. `start` builds its page `demo`."""

    def __init__(self, variant: str, folder: Path, monkeypatch):
        self.variant, self.folder, self._monkeypatch = variant, folder, monkeypatch
        self.callbacks: dict[str, list] = defaultdict(list)
        self.scripts: list[type] = []
        self.tabs: list[tuple[Any, str, str]] = []
        monkeypatch.chdir(folder)
        relative = variant == "SD.Next"
        self.models_path = "models" if relative else str(folder / "models")
        self.plugin = "extensions/labels4free" if relative else str(folder / "extensions" / "labels4free")
        (folder / "extensions").mkdir()
        os.symlink(ROOT, folder / "extensions" / "labels4free", target_is_directory=True)
        self.state = State(variant)
        self.lock = threading.Lock() if variant == "SD.Next" else FirstInFirstOut()
        self.copy_paste = CopyPaste()
        self._add_modules()
        if variant == "Forge":
            self._wrap_events()
        if variant == "reForge":
            monkeypatch.setattr(gr.Image, "__init__", _with_any_arguments(gr.Image.__init__))

    # What a host does

    def start(self) -> None:
        """Loads the scripts and builds the page; again for Reload UI."""
        if self.tabs:
            self.fire("before_reload")
            self.fire("script_unloaded")
        self.callbacks.clear()
        self.scripts.clear()
        self._load_scripts()
        self.fire("before_ui")
        self.fire("ui_settings")
        self.copy_paste.paste_fields.clear()
        self.copy_paste.bindings.clear()
        names = ["txt2img", "img2img", "extras", "pnginfo", *(["gallery"] if self.variant == "SD.Next" else [])]
        own = [(self._build(name), name, name) for name in names]
        self.tabs = [tab for answer in self.fire("ui_tabs") for tab in answer or []]
        with gr.Blocks() as self.demo:
            self.copy_paste.connect()
            with gr.Tabs(elem_id="tabs"):
                for blocks, title, name in [*own, *self.tabs]:
                    with gr.TabItem(title, id=name, elem_id=f"tab_{name}"):
                        blocks.render()
        self.serve()

    def serve(self) -> None:
        """Serves the page that has been built, with the options as they are now."""
        self.app = FastAPI()
        self.app.tokens = {}
        logins = self.cmd_opts.auth if self.variant == "SD.Next" else self.cmd_opts.gradio_auth
        self.app.auth = dict([logins.split(":")]) if logins else None
        self.fire("app_started", self.demo, self.app)

    @property
    def blocks(self) -> gr.Blocks:
        """The tab of the plug-in."""
        [(blocks, _, _)] = self.tabs
        return blocks

    def component(self, elem_id: str, page: gr.Blocks | None = None) -> Any:
        """The component with that id, on the whole page or on another."""
        blocks = (page or self.demo).blocks.values()
        [found] = [block for block in blocks if getattr(block, "elem_id", None) == elem_id]
        return found

    def build_tab(self) -> gr.Blocks:
        """The tab of the plug-in once more, outside of the page."""
        [[(blocks, _, _)]] = self.fire("ui_tabs")
        return blocks

    def _build(self, name: str) -> gr.Blocks:
        """A tab of the host's own, with what plug-ins look for in it."""
        with gr.Blocks(analytics_enabled=False) as blocks:
            if name == "pnginfo":
                self._make(gr.Image, type="pil", elem_id="pnginfo_image")
                self._make(gr.Button, value="Send to extras", elem_id="extras_tab")
                return blocks
            made = [self._make(gr.Image, type="pil", elem_id=part) for part in PICTURES.get(name, ())]
            if name == "img2img":
                self._make(gr.Slider, value=4, elem_id="img2img_mask_blur")
                for also in ("", " of the refined")[: 1 + (self.variant == "SD.Next")]:  # there two have the same id
                    for side in ("width", "height"):
                        self._make(gr.Slider, value=512, label=f"{side}{also}", elem_id=f"img2img_{side}")
            self.copy_paste.paste_fields[name] = {"init_img": made[0] if made else None, "fields": None}
            self._make(gr.Gallery, elem_id=f"{name}_gallery")
            if self.variant == "SD.Next":
                self._make(gr.Row, elem_id="extras_tab")  # an id that it gives away twice
                self._make(gr.Button, value="➠ Process", elem_id="extras_tab")
            else:
                self._make(self.tool_button, value="x", elem_id=f"{name}_send_to_extras", tooltip="Send to extras")
        return blocks

    def _make(self, kind: type, **arguments: Any) -> Any:
        component = kind(**arguments)
        self.fire("after_component", component, **arguments)
        return component

    def _load_scripts(self) -> None:
        path = f"{self.plugin}/scripts/labels4free.py"
        before = list(sys.path)
        sys.path = [self.plugin, *sys.path]
        try:
            specification = importlib.util.spec_from_file_location("labels4free.py", path)
            module = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(module)
        finally:
            if self.variant != "Forge":
                sys.path = before
        base = sys.modules["modules.scripts_postprocessing"].ScriptPostprocessing
        self.scripts += [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]
        sys.path = before

    def fire(self, event: str, *values: Any, **words: Any) -> list:
        return [answer(*values, **words) for answer in list(self.callbacks[event])]

    # What a host has

    def _add_modules(self) -> None:
        self._module("modules", __path__=[])
        options = Options(outdir_samples="", outdir_txt2img_samples=self._path("outputs", "txt2img-images"))
        self.options = options
        self.cmd_opts = SimpleNamespace(listen=False, share=False, api=False)
        if self.variant == "SD.Next":
            self.cmd_opts.auth = self.cmd_opts.auth_file = None
        else:
            self.cmd_opts.gradio_auth = self.cmd_opts.gradio_auth_path = self.cmd_opts.api_auth = None
            self.cmd_opts.freeze_settings = self.cmd_opts.skip_install = False
        self._module("modules.shared", opts=options, cmd_opts=self.cmd_opts, state=self.state, OptionInfo=OptionInfo)
        data_path = "" if self.variant == "SD.Next" else str(self.folder)
        places = {"models_path": self.models_path, "data_path": data_path, "script_path": str(self.folder)}
        self.paths = self._module("modules.paths", **places)
        self._module("modules.call_queue", queue_lock=self.lock)
        self._module("modules.devices", device="cpu", torch_gc=lambda: None)
        self._module("modules.scripts", basedir=lambda: self.plugin)
        self._module("modules.scripts_postprocessing", ScriptPostprocessing=type("ScriptPostprocessing", (), {}))
        self._module("modules.images", save_image=self.save_image)
        if self.variant in ("Forge", "reForge"):
            self._module("modules.stealth_infotext")
        self._add_memory()
        kind = type(gr.Button)  # since Gradio 4 one that writes a file next to the source of a subclass
        make = ABCMeta.__new__ if issubclass(kind, ABCMeta) else kind.__new__
        init = lambda self, value, tooltip=None, **rest: gr.Button.__init__(self, value, **rest)  # noqa: E731
        self.tool_button = make(kind, "ToolButton", (gr.Button,), {"__init__": init, "is_template": True})
        name = "generation_parameters_copypaste" if self.variant == "SD.Next" else "infotext_utils"
        self._module(
            f"modules.{name}",
            ParamBinding=ParamBinding,
            paste_fields=self.copy_paste.paste_fields,
            register_paste_params_button=self.copy_paste.register_paste_params_button,
            image_from_url_text=self.copy_paste.image_from_url_text,
        )
        if self.variant == "SD.Next":
            self._module("modules.infotext_utils")  # something else of the same name
        self._module("modules.script_callbacks", **{f"on_{event}": self._listener(event) for event in EVENTS.split()})

    def _add_memory(self) -> None:
        """Ways to free the host's model; `freed` remembers what was asked for."""
        self.freed: list[str] = []
        managers = {"Forge": "backend.memory_management", "reForge": "ldm_patched.modules.model_management"}
        if self.variant in managers:
            *parents, _ = managers[self.variant].split(".")
            for number in range(len(parents)):
                self._module(".".join(parents[: number + 1]), __path__=[])
            free = lambda bytes, device: self.freed.append("free")  # noqa: E731
            self._module(managers[self.variant], free_memory=free, soft_empty_cache=lambda: None)
        self.model_data = SimpleNamespace(sd_model=None)
        functions: dict[str, Any] = {"unload_model_weights": self._unload}
        if self.variant == "A1111":
            functions["send_model_to_device"] = lambda model: self.freed.append("back")
        self._module("modules.sd_models", model_data=self.model_data, **functions)

    def _unload(self, model: object = None) -> None:
        assert self.model_data.sd_model is not None, "a model would be loaded first"
        self.freed.append("unload")

    def save_image(self, image: Image.Image, path: str, info: str | None = None, stealth: str = "Alpha") -> tuple:
        """What the host's own saving does to transparency: Forge and reForge hide text in it, SD.Next prefers JPEG."""
        if self.variant in ("Forge", "reForge") and info and stealth != "None":
            if stealth == "Alpha":
                image.putalpha(255)
            values = image.load()[0, 0]
            assert len(values) == (4 if stealth == "Alpha" else 3), "not enough or too many values to unpack"
        if self.variant == "SD.Next":
            image = image.convert("RGB")
        params = SimpleNamespace(image=image, filename=path, pnginfo={"parameters": info})
        self.fire("before_image_saved", params)
        params.image.save(path)
        return (path, None, None) if self.variant == "SD.Next" else (path, None)

    def wrap_loaders(self) -> None:
        """Forge's loaders, which move a file away that cannot be read."""
        import safetensors.torch
        import torch

        for module, name in ((torch, "load"), (safetensors.torch, "load_file")):
            self._monkeypatch.setattr(module, name, _moving_away(getattr(module, name)))

    def _wrap_events(self) -> None:
        names = {*gr.components.__all__, *gr.layouts.__all__}
        for kind in {getattr(gr, name) for name in names if getattr(getattr(gr, name, None), "EVENTS", None)}:
            self._monkeypatch.setattr(kind, "__init__", _with_wrapped_events(kind.__init__))

    def _listener(self, event: str):
        def plain(callback):
            self.callbacks[event].append(callback)

        def with_name(callback, *, name=None):
            plain(callback)

        return plain if self.variant == "SD.Next" else with_name

    def _module(self, full_name: str, **attributes: Any) -> ModuleType:
        module = ModuleType(full_name)
        vars(module).update(attributes)
        self._monkeypatch.setitem(sys.modules, full_name, module)
        parent, _, name = full_name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, module)
        return module

    def _path(self, *parts: str) -> str:
        return str(Path(*parts)) if self.variant == "SD.Next" else str(self.folder.joinpath(*parts))
