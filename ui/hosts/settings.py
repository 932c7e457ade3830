"""The plug-in's section in the host's settings, and what they say to the engine. Read whenever a job begins."""

import os
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
VARIABLES = ("LABELS4FREE_MODELS", "LABELS4FREE_CACHE", "LABELS4FREE_OFFLINE")
_models_of_the_user, _cache_of_the_user, _offline_of_the_user = map(os.environ.get, VARIABLES)


OPTIONS: dict[str, tuple[Any, str | None, dict[str, Any] | None]] = {
    "default_class": ("avatar", None, None),
    "device": ("auto", "Dropdown", {"choices": list(DEVICES)}),
    "precision": ("auto", "Dropdown", {"choices": list(PRECISIONS)}),
    "models_folder": ("", None, None),
    "release": (AFTER_EACH_JOB, "Radio", {"choices": list(RELEASES)}),
    "idle_seconds": (60, "Slider", {"minimum": 10, "maximum": LONGEST_IDLENESS, "step": 10}),
    "output_folder": ("", None, None),
    "offline": (False, None, None),
    "allowed_hosts": ("", None, None),
    "api_megapixels": (API_MEGAPIXELS, "Slider", {"minimum": 1, "maximum": LARGEST_MEGAPIXELS, "step": 1}),
}
"""Default, component of Gradio (None leaves the choice to the host) and its arguments."""


def read(name: str) -> Any:
    return host.option(f"l4f_{name}", OPTIONS[name][0])


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
    for name, (default, component, arguments) in OPTIONS.items():
        words, kind = f"host.option.{name}", getattr(gr, component) if component else None
        info = info_class(default, text(words), kind, arguments, section=(SECTION, text("app.title")))
        info.category_id = SECTION
        if hasattr(info, "info"):
            info = info.info(text(f"{words}_info"))
        options.add_option(f"l4f_{name}", info)


def service_settings() -> Settings:
    """What the settings say now. Also points the engine at the folder of the weights, and on or off the Hub."""
    apply_environment()
    device, precision = str(read("device")), str(read("precision"))
    release = {NEVER: None, WHEN_IDLE: _number("idle_seconds", 1, LONGEST_IDLENESS)}.get(read("release"), 0.0)
    return Settings(
        device=_device_of_the_host() if device == "auto" else device,
        dtype=None if precision == "auto" else precision,
        default_class=str(read("default_class")),
        release_after=release,
        api_megapixels=_number("api_megapixels", 1, LARGEST_MEGAPIXELS),
    )


def apply_environment() -> None:
    """Hands the engine, and processes that it starts, what it reads from the environment."""
    offline = "1" if read("offline") else _offline_of_the_user
    data, among = host.data_folder(), host.models_folder()
    cache = _cache_of_the_user or (data and str(data / "cache" / SECTION))
    # Where a host names no folder of its models, the engine has a place of its own.
    models = host.folder(read("models_folder") or _models_of_the_user) or (among and among / SECTION)
    set_variables(dict(zip(VARIABLES, (models and str(models), cache, offline), strict=True)))


def output_folder() -> Path:
    """Where results are saved: as set, else next to the pictures of the host."""
    return host.folder(read("output_folder")) or host.output_folder() / SECTION


def _device_of_the_host() -> str | None:
    """The device that the host computes on, which --device-id and the like may have chosen; None for others' kinds."""
    device = str(host.find("devices", "device") or "")
    known = device.partition(":")[0]
    if known in ("cuda", "mps", "cpu"):
        return device
    return "cpu" if device else None  # a kind of device that the engine does not work on


def _number(name: str, least: float, most: float) -> float:
    try:
        return float(min(max(float(read(name)), least), most))
    except (TypeError, ValueError):
        return float(OPTIONS[name][0])
