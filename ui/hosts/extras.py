"""The operation "Labels4Free cut-out" in the host's tab Extras, for pictures, batches and folders alike.

The host saves what it is handed as it likes: as JPEG, or with the transparency painted over. So each cut-out is also
written by us, where our other results are.
"""

from contextlib import nullcontext, suppress
from typing import Any

from PIL import Image

from l4f_plugin.arguments import Background
from l4f_plugin.errors import Cancelled
from l4f_plugin.images import INFOTEXT_KEY
from l4f_plugin.provenance import recipe_of
from l4f_plugin.subject import remarks

from ..outputs import slug
from ..texts import text
from ..words import in_words
from . import host
from .host_service import service
from .queueing import HostToken, within_a_job_of_the_host

RESULTS = ("cutout", "mask")
_LAST = 20_000  # after upscalers, which would drop the transparency
_NOTE, _ALPHA = "l4f_infotext", "l4f_alpha"


def operation() -> type | None:
    """The class that the host looks for in the module of our script; None where it has no such operations."""
    base = host.find("scripts_postprocessing", "ScriptPostprocessing")
    if base is None:
        return None

    class CutOut(base):
        name = text("host.extras")
        order = _LAST

        def ui(self) -> dict[str, Any]:
            return _controls()

        def process_firstpass(self, pp: Any, enable: bool | None = False, **_: Any) -> None:
            if enable:  # operations that come before ours may make a new picture, without the text
                setattr(pp, _NOTE, pp.image.info.get(INFOTEXT_KEY))

        def process(self, pp: Any, enable: bool | None = False, **given: Any) -> None:
            if enable:
                cut_out(pp, given.get("class_name"), given.get("result") or RESULTS[0])

    return CutOut


def _controls() -> dict[str, Any]:
    import gradio as gr
    from gradio.context import Context

    from .. import compat
    from ..controls import choices, named, unsaved

    switch, words = None, {"label": text("host.extras"), "elem_id": "l4f_extras"}
    if isinstance(Context.block, gr.Accordion):  # SD.Next has put the operation into one of its own already
        Context.block.elem_id = "l4f_extras"  # by which javascript/labels4free.js finds it
        place = nullcontext()
    elif accordion := host.find("ui_components", "InputAccordion"):  # one that is switched on by opening it
        place = switch = accordion(False, **words)
    else:
        place = gr.Accordion(open=False, **words)
    engine = service()
    offered = compat.options([(entry.title, entry.name) for entry in engine.classes() if not entry.problem])
    usual = engine.default_class(photographs=True)
    with place as opened:
        parts = {
            "enable": opened if switch is not None else gr.Checkbox(False, **named("host.extras_enable")),
            "class_name": gr.Dropdown(offered, value=usual, elem_classes="l4f-wraps", **named("host.extras_class")),
            "result": gr.Radio(choices("host.extras_result", RESULTS), value=RESULTS[0], **named("host.extras_wanted")),
        }
    return {name: unsaved(part) for name, part in parts.items()}


def cut_out(pp: Any, class_name: str | None, result: str) -> None:
    """Replaces the picture of `pp` by its cut-out or mask; where that cannot be had, says why and leaves it."""
    title = text("app.title")
    try:
        with within_a_job_of_the_host():
            cutout, mask, stem, infotext, note = _segmented(pp, class_name)
        wanted, outputs = mask if result == "mask" else cutout, service().outputs
        [preview] = outputs.preview(stem, {"mask" if result == "mask" else "cutout": wanted}, infotext).values()
        words = text("host.extras_saved", name=outputs.keep(preview).name)
        pp.info[title] = f"{words}. {note}" if note else words
        pp.image = _for_the_host(wanted)
        if hasattr(pp, "nametags"):
            pp.nametags.append(result)
    except Cancelled:
        return
    except Exception as error:  # the border to the host, which would show nothing of it
        words = in_words(error)
        pp.info[title] = words
        print(f"{title}: {words}")
        with suppress(Exception):  # called by a program, there is nobody to show it to
            import gradio as gr

            gr.Warning(words)


def _for_the_host(image: Image.Image) -> Image.Image:
    """What the host is handed to save. Forge and reForge may first hide its text in the pixels, for which it must be
    RGB and loses its transparency: there that is put back by `restore_alpha`, which comes after the text."""
    if host.part("stealth_infotext") is None:
        return image
    plain = image.convert("RGB")
    if image.mode == "RGBA":
        setattr(plain, _ALPHA, image.getchannel("A"))
    return plain


def restore_alpha(params: Any) -> None:
    """Answers the host's event before it saves a picture: ours get their transparency back, in the gallery too."""
    alpha = getattr(getattr(params, "image", None), _ALPHA, None)
    if alpha is not None:
        params.image.putalpha(alpha)


def _segmented(pp: Any, class_name: str | None) -> tuple[Image.Image, Image.Image, str, str, str | None]:
    """Cut-out, mask, start of a file name, infotext, and what is to be said. Raises `UserError` without a mask."""
    engine, picture, token = service(), pp.image, HostToken(runs=True)
    if note := getattr(pp, _NOTE, None):
        picture.info.setdefault(INFOTEXT_KEY, note)
    recipe = recipe_of(picture)
    entry = engine.entry(recipe.class_name if recipe else class_name or engine.default_class(photographs=True))
    name = entry.name
    found = engine.segment(name, recipe or picture, token)
    if recipe is None:
        told = remarks(entry.title, found.confidence, found.dropped, found.along_edge)
        return found.cutout(), found.mask(), f"{slug(name)}_photo", found.infotext(), " ".join(told)
    mask = found.mask()
    if recipe.where is not None:  # the same place on the picture as it is now
        mask = engine.swap(name, found, Background.parse(picture), recipe.edge, token, where=recipe.where).alpha
    mask = mask.resize(picture.size)
    if picture.size == found.mask().size and recipe.background is None:
        cutout = found.cutout()  # its edge is clean of the background
    else:
        cutout = picture.convert("RGB")
        cutout.putalpha(mask)
    return cutout, mask, f"{slug(name)}_{found.stem}", picture.info[INFOTEXT_KEY], None
