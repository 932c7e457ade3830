"""The plug-in's section in the host's settings, and what they say to the engine. Read whenever a job begins."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..server import set_variables
from ..service import API_MEGAPIXELS, LARGEST_MEGAPIXELS, Settings
from ..texts import text
from . import host

SECTION = "labels4free"
AFTER_EACH_JOB, WHEN_IDLE, NEVER = RELEASES = ("after each job", "when idle", "never")
DEVICES = ("auto", "cuda", "cuda:0", "cuda:1", "mps", "cpu")
PRECISIONS = ("auto", "float32", "float16", "bfloat16")
LONGEST_IDLENESS = 3600
_MODELS_VARIABLE, _OFFLINE_VARIABLE = "LABELS4FREE_MODELS", "LABELS4FREE_OFFLINE"
_models_of_the_user = os.environ.get(_MODELS_VARIABLE)
_offline_of_the_user = os.environ.get(_OFFLINE_VARIABLE)


@dataclass(frozen=True)
class Option:
    """One setting. `component` names a component of Gradio, None leaves the choice to the host."""

    name: str
    default: Any
    component: str | None = None
    arguments: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        return f"l4f_{self.name}"

    def read(self) -> Any:
        return host.option(self.key, self.default)


DEFAULT_CLASS = Option("default_class", "avatar")
DEVICE = Option("device", "auto", "Dropdown", {"choices": list(DEVICES)})
PRECISION = Option("precision", "auto", "Dropdown", {"choices": list(PRECISIONS)})
MODELS = Option("models_folder", "")
RELEASE = Option("release", AFTER_EACH_JOB, "Radio", {"choices": list(RELEASES)})
IDLE = Option("idle_seconds", 60, "Slider", {"minimum": 10, "maximum": LONGEST_IDLENESS, "step": 10})
OUTPUT = Option("output_folder", "")
OFFLINE = Option("offline", False)
ALLOWED_HOSTS = Option("allowed_hosts", "")
API_PIXELS = Option(
    "api_megapixels", API_MEGAPIXELS, "Slider", {"minimum": 1, "maximum": LARGEST_MEGAPIXELS, "step": 1}
)
OPTIONS = (DEFAULT_CLASS, DEVICE, PRECISION, MODELS, RELEASE, IDLE, OUTPUT, OFFLINE, ALLOWED_HOSTS, API_PIXELS)


def add_options() -> None:
    """Adds the section to the host's settings; a second time it replaces the first."""
    import gradio as gr

    info_class, options = host.find("shared", "OptionInfo"), host.find("shared", "opts")
    info_class = info_class or host.find("options", "OptionInfo")
    categories = host.find("options", "categories")
    if hasattr(categories, "register_category"):  # headings over the sections, of which ours would stand under none
        categories.register_category(SECTION, text("app.title"))
    if info_class is None or not hasattr(options, "add_option"):
        return
    for option in OPTIONS:
        words = f"host.option.{option.name}"
        component = getattr(gr, option.component) if option.component else None
        info = info_class(
            option.default, text(words), component, option.arguments, section=(SECTION, text("app.title"))
        )
        info.category_id = SECTION
        if hasattr(info, "info"):
            info = info.info(text(f"{words}_info"))
        options.add_option(option.key, info)


def service_settings() -> Settings:
    """What the settings say now. Also points the engine at the folder of the weights, and on or off the Hub."""
    apply_environment()
    device, precision = str(DEVICE.read()), str(PRECISION.read())
    release = {NEVER: None, WHEN_IDLE: _number(IDLE, 1, LONGEST_IDLENESS)}.get(RELEASE.read(), 0.0)
    return Settings(
        device=_device_of_the_host() if device == "auto" else device,
        dtype=None if precision == "auto" else precision,
        default_class=str(DEFAULT_CLASS.read()),
        release_after=release,
        api_megapixels=_number(API_PIXELS, 1, LARGEST_MEGAPIXELS),
    )


def apply_environment() -> None:
    """Hands the engine, and processes that it starts, what it reads from the environment."""
    offline = "1" if OFFLINE.read() else _offline_of_the_user
    set_variables({_MODELS_VARIABLE: str(models_folder() or "") or None, _OFFLINE_VARIABLE: offline})


def models_folder() -> Path | None:
    """Where the user's classes lie: as set, else as LABELS4FREE_MODELS said at the start, else among the models of
    the host. None where it names no folder: then the engine has a place of its own."""
    chosen = host.folder(MODELS.read()) or host.folder(_models_of_the_user)
    if chosen is not None:
        return chosen
    among = host.models_folder()
    return among and among / SECTION


def output_folder() -> Path:
    """Where results are saved: as set, else next to the pictures of the host."""
    return host.folder(OUTPUT.read()) or host.output_folder() / SECTION


def _device_of_the_host() -> str | None:
    """The device that the host computes on, which --device-id and the like may have chosen; None for others' kinds."""
    device = str(host.find("devices", "device") or "")
    known = device.partition(":")[0]
    if known in ("cuda", "mps", "cpu"):
        return device
    return "cpu" if device else None  # a kind of device that the engine does not work on


def _number(option: Option, least: float, most: float) -> float:
    try:
        return float(min(max(float(option.read()), least), most))
    except (TypeError, ValueError):
        return float(option.default)
