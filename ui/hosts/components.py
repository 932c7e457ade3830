"""The host's own components, noticed as the host makes them: where to send to, and what to send from."""

import re
from dataclasses import dataclass
from typing import Any

from ..texts import text

INPAINT_PICTURE, INPAINT_MASK, MASK_BLUR = "img_inpaint_base", "img_inpaint_mask", "img2img_mask_blur"
SIZE = ("img2img_width", "img2img_height")
_GALLERY = re.compile(r"(txt2img|img2img|control|extras|gallery)_gallery")
_PNG_INFO = "pnginfo_image"
_ARROW = "➠"  # what SD.Next writes for "Send to"


@dataclass(frozen=True)
class Offer:
    """A button of ours in another tab, and the gallery or picture that it sends from."""

    button: Any
    source: Any


class HostComponents:
    """`offers` and, where the host can inpaint with a mask from a file, the two components for that."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.offers: list[Offer] = []
        self._inpaint: dict[str, Any] = {}
        self._source: tuple[str, Any] | None = None

    @property
    def inpaint(self) -> list[Any]:
        """The places for picture and mask; empty where there are none."""
        found = [self._inpaint.get(name) for name in (INPAINT_PICTURE, INPAINT_MASK)]
        return [] if None in found else found

    @property
    def mask_blur(self) -> list[Any]:
        """The slider that blurs the mask beforehand; empty where there is none."""
        return [self._inpaint[MASK_BLUR]] if MASK_BLUR in self._inpaint else []

    @property
    def size(self) -> list[Any]:
        """The sliders for width and height; empty where there are none."""
        found = [self._inpaint.get(name) for name in SIZE]
        return [] if None in found else found

    def notice(self, component: Any, **arguments: Any) -> None:
        """Looks at a component that the host has just made, and adds a button of ours after "send to extras"."""
        name = arguments.get("elem_id") or getattr(component, "elem_id", None)
        if not isinstance(name, str):
            return
        if name in (INPAINT_PICTURE, INPAINT_MASK, MASK_BLUR, *SIZE):
            self._inpaint[name] = component
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
        self.offers.append(Offer(button, source))


COMPONENTS = HostComponents()
"""Of the page that the host has built last."""
