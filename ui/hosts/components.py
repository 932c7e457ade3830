"""The host's own components, noticed as the host makes them: where to send to, and what to send from."""

import re
from typing import Any

from ..texts import text

INPAINT = ("img_inpaint_base", "img_inpaint_mask")
MASK_BLUR = ("img2img_mask_blur",)
SIZE = ("img2img_width", "img2img_height")
_GALLERY = re.compile(r"(txt2img|img2img|control|extras|gallery)_gallery")
_PNG_INFO = "pnginfo_image"
_ARROW = "➠"  # what SD.Next writes for "Send to"


class HostComponents:
    """`offers` are buttons of ours in other tabs, each with the gallery or picture that it sends from."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.offers: list[tuple[Any, Any]] = []
        self._noticed: dict[str, Any] = {}
        self._source: tuple[str, Any] | None = None

    def named(self, names: tuple[str, ...]) -> list[Any]:
        """The components of these names; empty where one is missing."""
        return [self._noticed[name] for name in names] if self._noticed.keys() >= set(names) else []

    def notice(self, component: Any, **arguments: Any) -> None:
        """Looks at a component that the host has just made, and adds a button of ours after "send to extras"."""
        name = arguments.get("elem_id") or getattr(component, "elem_id", None)
        if not isinstance(name, str):
            return
        if name in (*INPAINT, *MASK_BLUR, *SIZE):
            self._noticed.setdefault(name, component)  # SD.Next has two of a name, of which the first counts
        elif name == _PNG_INFO or _GALLERY.fullmatch(name):
            self._source = (name.partition("_")[0], component)
        elif self._source is not None and name in ("extras_tab", f"{self._source[0]}_send_to_extras"):
            self._offer(component)

    def _offer(self, neighbour: Any) -> None:
        """A button that looks like the one before it: an icon with a tooltip, or words."""
        import gradio as gr

        if not isinstance(neighbour, gr.Button):
            return
        (tab, source), self._source = self._source, None
        name = f"{tab}_send_to_labels4free"
        if type(neighbour).__name__ == "ToolButton":
            button = type(neighbour)("🏷️", elem_id=name, tooltip=text("host.send_here_tooltip"))
        else:
            arrow = str(neighbour.value).startswith(_ARROW)
            button = gr.Button(text("host.send_here_arrow" if arrow else "host.send_here"), elem_id=name)
        self.offers.append((button, source))


COMPONENTS = HostComponents()
"""Of the page that the host has built last."""
