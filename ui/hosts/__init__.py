"""What the web UIs of the Stable Diffusion family want of a plug-in. Nothing else knows that a host exists.

AUTOMATIC1111, Forge, reForge and SD.Next share one contract and differ in what of it they have. Whatever is asked of
a host may be missing: then a feature is lost, not the tab. Importing this package imports no Gradio and no torch.
"""

from typing import Any


def register() -> Any:
    """Tells the host what the plug-in has; returns the class for its tab Extras, None where it has no such tab.

    To be called whenever the host loads its scripts: it has forgotten what was registered before then.
    """
    from . import registration

    return registration.register()
