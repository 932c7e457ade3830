"""After memory has run out: a strip that offers to free the host's model and to try again."""

from __future__ import annotations

import gradio as gr

from .. import compat
from ..controls import button
from ..texts import text
from . import memory
from .host_service import HostService
from .page_scripts import press

RUN_BUTTONS = ("l4f_generate_run", "l4f_swap_run", "l4f_segment_run", "l4f_photos_run")


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
        """Shows the strip where it would help."""
        return {self.strip: gr.update(visible=self._service.ran_out and memory.can_make_room())}

    def make_room(self) -> dict:
        """The next job begins by freeing the host's model; the page starts it at once."""
        self._service.make_room()
        return {self.strip: gr.update(visible=False)}
