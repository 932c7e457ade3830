"""What programs call through `gradio_client`: four named endpoints with plain values and no session.

    client.predict("avatar", "0-3", 0.7, 1, api_name="/generate")

Every other endpoint of the page is private. Files go in as base64, which names nothing on the server, and come out as
files. See `operations`.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from l4f_plugin.arguments import EdgeOptions
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import CancelToken

from . import compat, seeds
from .controls import named, unsaved
from .operations import OperationResult, Operations, file_bytes
from .service import Service
from .texts import text
from .words import in_words


class Endpoints:
    """Builds invisible components inside the current Blocks. `prefix` keeps the names apart from those of a host."""

    def __init__(self, service: Service, prefix: str = ""):
        self._service = service
        self._operations = Operations(service)
        subject = {"class": "avatar", "seed": "0"}
        swap = {**subject, "background": "transparent", "picture": "", "psi": None, "threshold": None}
        swap |= {"grow": 0, "feather": 0, "largest": False, "placed": "", "flipped": False}
        swap |= {"class_size": False, "w_plus": ""}
        segment = {**subject, "psi": None, "picture": "", "w_plus": "", "canvas": "", "margin": "8%", "largest": True}
        generate = {"class": "avatar", "seeds": "-1", "psi": None, "count": 1}
        endpoints = (
            (self.classes, {}, (), "classes"),
            (self.generate, generate, ("pictures", "masks", "cutouts"), "generated"),
            (self.swap, swap, ("result", "mask"), "swapped"),
            (self.segment, segment, ("mask", "cutout"), "segmented"),
        )
        with gr.Column(visible=False, elem_id="l4f_endpoints"):
            for handler, inputs, files, details in endpoints:
                name = handler.__name__
                fields = [_input(f"api.{name}_{field}", value) for field, value in inputs.items()]
                many = {"interactive": False, "file_count": "multiple" if name == "generate" else "single"}
                outputs = [unsaved(compat.make(gr.File, label=text(f"api.{name}_{kind}"), **many)) for kind in files]
                outputs.append(unsaved(gr.JSON(label=text(f"api.{details}"))))
                compat.endpoint(prefix + name, _in_words(handler), fields, outputs)

    def classes(self) -> list[dict]:
        """The object classes that can be named."""
        return self._operations.classes()

    def generate(self, class_name: str, seed_list: str, truncation_psi: float | None, count: float) -> tuple:
        """Pictures, masks and cut-outs of the seeds, in their order."""
        wanted = seeds.wanted_seeds(seed_list, _whole(count))
        results = self._operations.generate(class_name, wanted, truncation_psi, CancelToken())
        kinds = ("picture", "mask", "cutout")
        rows = [self._write(result, *kinds, before=f"{number:02d}_") for number, result in enumerate(results)]
        first = results[0].details
        details = {"class": first["class"], "seeds": wanted, "truncation_psi": first["truncation_psi"]}
        return *([row[column] for row in rows] for column in range(len(kinds))), details

    def swap(
        self,
        class_name: str,
        seed: str,
        background: str,
        picture: str,
        truncation_psi: float | None,
        threshold: float | None,
        grow: float,
        feather: float,
        keep_largest: bool,
        placed: str = "",
        flipped: bool = False,
        class_size: bool = False,
        w_plus: str = "",
    ) -> tuple:
        """The subject before another background, and its mask. Files take the place of `background` and `seed`."""
        edge = EdgeOptions(threshold, _whole(grow), feather, bool(keep_largest))
        behind = file_bytes(picture) if picture else background
        subject = seeds.wanted_seed(seed)
        more = {"placed": placed, "flipped": flipped, "class_size": class_size}
        more["w_plus"] = file_bytes(w_plus) if w_plus else None
        result = self._operations.swap(class_name, subject, behind, edge, truncation_psi, CancelToken(), **more)
        return *self._write(result, "picture", "mask"), result.details

    def segment(
        self,
        class_name: str,
        seed: str,
        truncation_psi: float | None,
        picture: str,
        w_plus: str,
        canvas: str = "",
        margin: str = "8%",
        keep_largest: bool = True,
    ) -> tuple:
        """Mask and cut-out of a seed, or of one of our pictures or W+ codes where they are given."""
        files = {"picture": file_bytes(picture)} if picture else {"w_plus": file_bytes(w_plus)} if w_plus else {}
        subject = None if files else seeds.wanted_seed(seed)
        files |= {"canvas": self._operations.canvas(canvas, margin), "keep_largest": bool(keep_largest)}
        result = self._operations.segment(class_name, subject, truncation_psi, CancelToken(), **files)
        return *self._write(result, "mask", "cutout"), result.details

    def _write(self, result: OperationResult, *kinds: str, before: str = "") -> list[str]:
        parts = {kind: result.images[kind] for kind in kinds}
        files = self._service.outputs.preview(before + result.stem, parts, result.infotext)
        return [str(path) for path in files.values()]


def _in_words(handler: Callable) -> Callable:
    @wraps(handler)
    def answer(*values: Any) -> Any:
        try:
            return handler(*values)
        except Exception as error:
            raise compat.refusal(in_words(error)) from None

    return answer


def _whole(value: float) -> int:
    if not math.isfinite(value) or value != int(value):
        raise UserError(text("api.not_whole", value=value))
    return int(value)


def _input(key: str, value: str | float | None) -> Any:
    """A field for text, a number or a switch, as the value is."""
    kind = gr.Textbox if isinstance(value, str) else gr.Checkbox if isinstance(value, bool) else gr.Number
    return unsaved(kind(value, **named(key)))
