"""Send to: results of ours into the host's own tabs, by the host's own way where it has one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageChops

from l4f_plugin.images import load_picture

from .. import compat
from ..controls import unsaved
from ..stage import Stage
from ..texts import text
from . import host
from .components import COMPONENTS, INPAINT, MASK_BLUR, SIZE
from .page_scripts import press, reveal

SHORTEST_SIDE = 512
"""Of a picture that Stable Diffusion is to go on with."""
_STEP = 8
_UPLOAD_A_MASK = ("mode_img2img", "img2img_inpaint_upload_tab")


def copy_paste() -> Any:
    """The host's module for sending between tabs. SD.Next has one of the other name too, about something else."""
    found = (host.part(name) for name in ("infotext_utils", "generation_parameters_copypaste"))
    return next((module for module in found if hasattr(module, "register_paste_params_button")), None)


Connect = Callable[[gr.Button, Stage], None]


def neighbours() -> dict[str, Connect]:
    """The tabs of this host that take results. To be asked when the host has built them, within the Blocks of the page:
    what carries results there is built once, for all panels."""
    known = getattr(copy_paste(), "paste_fields", {})
    found: dict[str, Connect] = {}
    if "img2img" in known:
        found["img2img"] = _pasting("img2img", "picture", _flat)
    if COMPONENTS.named(INPAINT):
        found["inpaint"] = _to_inpaint
    if "extras" in known:
        found["extras"] = _pasting("extras", "shown", _whole)
    return found


def _pasting(tab: str, kind: str, read: Callable[[Path], Image.Image]) -> Connect:
    """Sends such a file through the host's paste buttons: a hidden one, pressed once a hidden picture is there."""
    name, module = f"l4f_{tab}", copy_paste()
    carrier = unsaved(compat.shown_image("pil", label=name, elem_id=f"{name}_carrier", elem_classes="l4f-hidden"))
    paste = gr.Button(name, elem_id=f"{name}_paste", elem_classes="l4f-hidden")
    module.register_paste_params_button(
        module.ParamBinding(paste_button=paste, tabname=tab, source_image_component=carrier)
    )

    def connect(button: gr.Button, stage: Stage) -> None:
        def fetch(*values: Any) -> Image.Image:
            return read(_files(stage, values)[kind])

        fetched = compat.on(button.click, fetch, stage.sent, [carrier])
        compat.on(fetched.success, None, js=press(f"{name}_paste", main=tab))

    return connect


def _to_inpaint(button: gr.Button, stage: Stage) -> None:
    """Sends picture and mask, white where Stable Diffusion is to paint: everything but the subject.

    The blur of the mask is set to 0: the hosts blur it at the picture's own size. Width and height follow the picture.
    """
    places, blur, size = map(COMPONENTS.named, (INPAINT, MASK_BLUR, SIZE))

    def fetch(*values: Any) -> list[Any]:
        files = _files(stage, values)
        if "mask" not in files:
            raise compat.refusal(text("host.no_mask"))
        picture = _flat(files["picture"])
        with Image.open(files["mask"]) as mask:
            background = ImageChops.invert(mask.convert("L").resize(picture.size, Image.Resampling.BICUBIC))
        return [picture, background.convert("RGB"), *(0 for _ in blur), *(picture.size if size else ())]

    sent = compat.on(button.click, fetch, stage.sent, [*places, *blur, *size])
    compat.on(sent.success, None, js=reveal(_UPLOAD_A_MASK, first="switch_to_img2img", main="img2img"))


def _files(stage: Stage, values: tuple) -> dict[str, Path]:
    files = stage.files_to_send(*values)
    if "picture" not in files:
        raise compat.refusal(text("host.nothing_to_send"))
    return files


def _flat(path: Path) -> Image.Image:
    """RGB over white: some hosts would show what lies under transparent parts. At least 512 px on the shorter side, and
    sides that the sliders of the hosts have."""
    from l4f_plugin.upscaling import enlarged  # imports torch

    picture = load_picture(path)
    scale = max(1.0, SHORTEST_SIDE / min(picture.shape[:2]))
    sides = [max(_STEP, round(side * scale / _STEP) * _STEP) for side in picture.shape[1::-1]]
    large = Image.fromarray(enlarged(picture, None, scale)[0])
    return large if scale == 1 else large.resize(sides, Image.Resampling.LANCZOS)


def _whole(path: Path) -> Image.Image:
    """As it is, with its transparency and its text."""
    with Image.open(path) as picture:
        picture.load()
        return picture
