"""Tells a host what there is. Called at each load of the scripts; the host has forgotten everything before then."""

import threading
import traceback
from collections.abc import Callable
from typing import Any

from . import host
from .components import COMPONENTS
from .extras import operation, restore_alpha
from .host_service import service
from .programs import on_app_started
from .settings import add_options
from .tab import build_tab


def register() -> Any:
    """See `l4f_ui.hosts.register`."""
    COMPONENTS.forget()
    _on("on_ui_settings", add_options)
    _on("on_after_component", COMPONENTS.notice)
    _on("on_ui_tabs", build_tab)
    _on("on_before_image_saved", restore_alpha)
    _on("on_app_started", on_app_started)
    _on("on_script_unloaded", leave)
    return operation()


def leave() -> None:
    """Before the host loads its scripts anew, perhaps without us: the networks leave memory, without a wait for it."""
    if service.cache_info().currsize and (engine := service()).loaded():
        threading.Thread(target=engine.unload, name="l4f leaves", daemon=True).start()


def _on(event: str, answer: Callable[..., Any]) -> None:
    """Registers for an event of the host; one that the host does not have costs a feature."""
    listen = host.find("script_callbacks", event)
    if listen is None:
        return
    try:
        listen(answer)
    except Exception as error:
        traceback.print_exception(error)
