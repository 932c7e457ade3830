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

from l4f_plugin.arguments import EdgeOptions, wanted_spot
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import CancelToken

from . import compat
from .controls import named, unsaved
from .operations import OperationResult, Operations, file_bytes, wanted_subject
from .seeds import wanted_seeds
from .service import Service
from .texts import text
from .words import in_words

_SUBJECT = {"class": "avatar", "seed": "0"}
FIELDS: dict[str, dict[str, Any]] = {
    "classes": {},
    "generate": {"class": "avatar", "seeds": "-1", "psi": None, "count": 1},
    "swap": {
        **{**_SUBJECT, "background": "transparent", "picture": "", "psi": None, "threshold": None, "grow": 0},
        **{"feather": 0, "largest": False, "placed": "", "flipped": False, "class_size": False, "w_plus": ""},
    },
    "segment": {**_SUBJECT, "psi": None, "picture": "", "w_plus": "", "canvas": "", "margin": "8%", "largest": True},
}
"""What each endpoint takes, in this order, and what it is where nobody says."""


class Endpoints:
    """Builds invisible components inside the current Blocks. `prefix` keeps the names apart from those of a host."""

    def __init__(self, service: Service, prefix: str = ""):
        self._service, self._operations = service, Operations(service)
        endpoints = (
            (self.classes, (), "classes"),
            (self.generate, ("pictures", "masks", "cutouts"), "generated"),
            (self.swap, ("result", "mask"), "swapped"),
            (self.segment, ("mask", "cutout"), "segmented"),
        )
        with gr.Column(visible=False, elem_id="l4f_endpoints"):
            for handler, files, details in endpoints:
                name = handler.__name__
                fields = [_input(f"api.{name}_{field}", value) for field, value in FIELDS[name].items()]
                many = {"interactive": False, "file_count": "multiple" if name == "generate" else "single"}
                outputs = [unsaved(compat.make(gr.File, label=text(f"api.{name}_{kind}"), **many)) for kind in files]
                outputs.append(unsaved(gr.JSON(label=text(f"api.{details}"))))
                compat.endpoint(prefix + name, _in_words(handler), fields, outputs)

    def classes(self) -> list[dict]:
        return self._operations.classes()

    def generate(self, class_name: str, seed_list: str, truncation_psi: float | None, count: float) -> tuple:
        """Pictures, masks and cut-outs of the seeds, in their order."""
        wanted = wanted_seeds(seed_list, _whole(count))
        results = self._operations.generate(class_name, wanted, truncation_psi, CancelToken())
        kinds = ("picture", "mask", "cutout")
        rows = [self._write(result, *kinds, before=f"{number:02d}_") for number, result in enumerate(results)]
        first = results[0].details
        details = {"class": first["class"], "seeds": wanted, "truncation_psi": first["truncation_psi"]}
        return *([row[column] for row in rows] for column in range(len(kinds))), details

    def swap(self, *values: Any) -> tuple:
        """The subject before another background, and its mask. Files take the place of `background` and `seed`."""
        given = _given("swap", values)
        edge = EdgeOptions(given["threshold"], _whole(given["grow"]), given["feather"], bool(given["largest"]))
        picture, subject = file_bytes(given["picture"]), wanted_subject(given["seed"], file_bytes(given["w_plus"]))
        behind = given["background"] if picture is None else picture
        where = wanted_spot(given["placed"], given["flipped"], given["class_size"], picture is not None)
        result = self._operations.swap(given["class"], subject, behind, edge, given["psi"], CancelToken(), where)
        return *self._write(result, "picture", "mask"), result.details

    def segment(self, *values: Any) -> tuple:
        """Mask and cut-out of a seed, or of one of our pictures or W+ codes where they are given."""
        given = _given("segment", values)
        source = file_bytes(given["picture"])
        if source is None:
            source = wanted_subject(given["seed"], file_bytes(given["w_plus"]))
        canvas = self._operations.canvas(given["canvas"], given["margin"])
        result = self._operations.segment(given["class"], source, given["psi"], CancelToken(), given["largest"], canvas)
        return *self._write(result, "mask", "cutout"), result.details

    def _write(self, result: OperationResult, *kinds: str, before: str = "") -> list[str]:
        parts = {kind: result.images[kind] for kind in kinds}
        files = self._service.outputs.preview(before + result.stem, parts, result.infotext)
        return [str(path) for path in files.values()]


def _given(name: str, values: tuple) -> dict[str, Any]:
    """The values by the names of their fields; those that are left out are as in the page."""
    return {**FIELDS[name], **dict(zip(FIELDS[name], values, strict=False))}


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
