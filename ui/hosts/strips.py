"""The strips above the panels: what other tabs send here, and the offer of room after memory has run out."""

from contextlib import suppress
from typing import Any

import gradio as gr
from PIL import Image

from l4f_plugin.errors import UserError
from l4f_plugin.images import INFOTEXT_KEY
from l4f_plugin.provenance import recipe_of

from .. import compat
from ..app import Page
from ..controls import button
from ..outputs import Outputs
from ..texts import text
from ..words import in_words
from .components import COMPONENTS
from .host_service import HostService, can_make_room
from .page_scripts import press, reveal
from .sending import copy_paste

TAB = ("tabs", "tab_l4f")
RUN_BUTTONS = ("l4f_generate_run", "l4f_swap_run", "l4f_photos_run")


class Inbox:
    """Builds the strip, hidden until something arrives. `connect` wires it once the panels below it are there."""

    def __init__(self, outputs: Outputs):
        self._outputs = outputs
        self.path = gr.State(None)
        with gr.Row(visible=False, elem_id="l4f_inbox", elem_classes="l4f-inbox") as self.strip:
            with gr.Column(scale=1, min_width=110):
                self.picture = compat.shown_image(
                    label=text("host.received"), show_label=False, height=110, elem_id="l4f_inbox_picture"
                )
            with gr.Column(scale=6, min_width=300):
                self.words = gr.Markdown(text("host.received_info"))
                with gr.Row(elem_classes="l4f-actions"):
                    names = ("use_as_background", "segment", "restore", "restore_swap", "dismiss")
                    self.choices = {name: button(f"host.{name}", size="sm") for name in names}

    def connect(self, page: Page) -> None:
        """Wires the buttons here and in the other tabs; what they start adds to the jobs of the panels."""
        choices, tabs = self.choices, page.tabs
        shown = [self.strip, self.picture, self.path, self.words, choices["restore"], choices["restore_swap"]]
        for send, source in COMPONENTS.offers:
            script = "extract_image_from_gallery" if isinstance(source, gr.Gallery) else None
            received = compat.on(send.click, self.receive, [source], shown, js=script)
            compat.on(received.success, None, js=reveal(TAB, seen="l4f_inbox"))
        page.swap.open_with_background(choices["use_as_background"].click, self.path, tabs)
        page.photos.open_with_picture(choices["segment"].click, self.path, tabs)
        page.swap.open_with_picture(choices["restore_swap"].click, self.path, tabs)
        page.generate.open_with_picture(choices["restore"].click, self.path, tabs)
        for chosen in choices.values():
            compat.on(chosen.click, lambda: gr.update(visible=False), [], [self.strip])

    def receive(self, value: Any) -> dict:
        try:
            image = picture_in(value)
            if image is None:
                raise UserError(text("host.nothing_received"))
            if image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255:
                image = image.convert("RGB")  # Forge hands over every picture with transparency
            infotext = image.info.get(INFOTEXT_KEY)
            infotext = infotext if isinstance(infotext, str) else ""
            path = self._outputs.preview("received", {"picture": image}, infotext)["picture"]
            ours = recipe_of(path)
        except Exception as error:
            raise compat.refusal(in_words(error)) from None
        words, swapped = text("host.received_info"), bool(ours) and (ours.background is not None or ours.seed is None)
        if ours:
            words = text("host.received_codes") if ours.w_plus else text("host.received_ours", seed=ours.seed)
        return {
            self.strip: gr.update(visible=True),
            self.picture: str(path),
            self.path: str(path),
            self.words: words,
            self.choices["restore"]: gr.update(visible=bool(ours) and not swapped),
            self.choices["restore_swap"]: gr.update(visible=bool(ours) and swapped),
        }


def picture_in(value: Any) -> Image.Image | None:
    """The picture that a gallery or a picture field hands to a handler, in any of the hosts' ways."""
    while isinstance(value, list | tuple):
        if not value:
            return None
        value = value[0]
    if isinstance(value, Image.Image) or value is None:
        return value
    read = getattr(copy_paste(), "image_from_url_text", None)  # it opens no file but those that the host has served
    found = None
    if read is not None:
        with suppress(AssertionError):  # one from elsewhere
            found = read(value)
    return found if isinstance(found, Image.Image) else None


class RoomOffer:
    """Builds the strip, hidden until a job has found too little memory. `outputs` are what `refresh` updates."""

    def __init__(self, service: HostService):
        self._service = service
        with gr.Row(visible=False, elem_id="l4f_room", elem_classes="l4f-inbox") as self.strip:
            gr.Markdown(text("host.room_info"))
            self.free = button("host.room", size="sm")
        self.outputs = [self.strip]
        freed = compat.on(self.free.click, self.make_room, [], [self.strip])
        compat.on(freed.then, None, js=press(*RUN_BUTTONS))

    def refresh(self) -> dict:
        return {self.strip: gr.update(visible=self._service.ran_out and can_make_room())}

    def make_room(self) -> dict:
        """The next job begins by freeing the host's model; the page starts it at once."""
        self._service.make_room()
        return {self.strip: gr.update(visible=False)}
