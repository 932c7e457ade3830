"""What the web UIs of the Stable Diffusion family want of a plug-in. Nothing else knows that a host exists.

AUTOMATIC1111, Forge, reForge and SD.Next share one contract and differ in what of it they have. Whatever is asked of
a host may be missing: then a feature is lost, not the tab. Importing this package imports no Gradio and no torch.
"""

import threading
import traceback
from typing import Any

from . import host


def register() -> Any:
    """Tells the host what the plug-in has; returns the class for its tab Extras, None where it has no such tab.

    To be called whenever the host loads its scripts: it has forgotten what was registered before then.
    """
    from .components import COMPONENTS
    from .extras import operation, restore_alpha
    from .programs import on_app_started
    from .settings import add_options
    from .tab import build_tab

    COMPONENTS.forget()
    answers = {
        "on_ui_settings": add_options,
        "on_after_component": COMPONENTS.notice,
        "on_ui_tabs": build_tab,
        "on_before_image_saved": restore_alpha,
        "on_app_started": on_app_started,
        "on_script_unloaded": leave,
    }
    for event, answer in answers.items():
        listen = host.find("script_callbacks", event)
        try:
            if listen is not None:  # an event that the host does not have costs a feature
                listen(answer)
        except Exception as error:
            traceback.print_exception(error)
    return operation()


def leave() -> None:
    """Before the host loads its scripts anew, perhaps without us: the networks leave memory, without a wait for it."""
    from .host_service import service

    if service.cache_info().currsize and (engine := service()).loaded():
        threading.Thread(target=engine.unload, name="l4f leaves", daemon=True).start()
