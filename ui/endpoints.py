"""What programs call through `gradio_client`: four named endpoints with plain values and no session.

    client.predict("avatar", "0-3", 0.7, 1, api_name="/generate")

They do what the panels do, in the same queue (see `operations`); every other endpoint of the page is private. Files go
in as base64, which every client sends alike and which names nothing on the server; results come out as files.
"""

from __future__ import annotations

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
from .operations import Operations, Result, file_bytes
from .service import Service
from .texts import text
from .words import in_words


class Endpoints:
    """Builds invisible components inside the current Blocks. `prefix` keeps the names apart from those of a host."""

    def __init__(self, service: Service, prefix: str = ""):
        self._service = service
        self._operations = Operations(service)
        with gr.Column(visible=False):
            endpoints = [
                (self.classes, [], [_json("classes")]),
                (self.generate, *self._generate_parts()),
                (self.swap, *self._swap_parts()),
                (self.segment, *self._segment_parts()),
            ]
            for handler, inputs, outputs in endpoints:
                compat.endpoint(prefix + handler.__name__, _in_words(handler), inputs, outputs)

    def _generate_parts(self) -> tuple[list, list]:
        inputs = [
            _text("generate_class", "avatar"),
            _text("generate_seeds", "-1"),
            _number("generate_psi"),
            _number("generate_count", 1),
        ]
        return inputs, [*(_files(f"generate_{kind}") for kind in ("pictures", "masks", "cutouts")), _json("generated")]

    def _swap_parts(self) -> tuple[list, list]:
        inputs = [
            _text("swap_class", "avatar"),
            _text("swap_seed", "0"),
            _text("swap_background", "transparent"),
            _text("swap_picture", ""),
            _number("swap_psi"),
            _number("swap_threshold"),
            _number("swap_grow", 0),
            _number("swap_feather", 0),
            unsaved(gr.Checkbox(False, **named("api.swap_largest"))),
        ]
        return inputs, [_file("swap_result"), _file("swap_mask"), _json("swapped")]

    def _segment_parts(self) -> tuple[list, list]:
        inputs = [
            _text("segment_class", "avatar"),
            _text("segment_seed", "0"),
            _number("segment_psi"),
            _text("segment_picture", ""),
            _text("segment_w_plus", ""),
        ]
        return inputs, [_file("segment_mask"), _file("segment_cutout"), _json("segmented")]

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
    ) -> tuple:
        """The subject before another background, and its mask. A picture takes the place of `background`."""
        edge = EdgeOptions(threshold, _whole(grow), feather, bool(keep_largest))
        behind = file_bytes(picture) if picture else background
        subject = seeds.wanted_seed(seed)
        result = self._operations.swap(class_name, subject, behind, edge, truncation_psi, CancelToken())
        return *self._write(result, "picture", "mask"), result.details

    def segment(self, class_name: str, seed: str, truncation_psi: float | None, picture: str, w_plus: str) -> tuple:
        """Mask and cut-out of a seed, or of one of our pictures or W+ codes where they are given."""
        files = {"picture": file_bytes(picture)} if picture else {"w_plus": file_bytes(w_plus)} if w_plus else {}
        subject = None if files else seeds.wanted_seed(seed)
        result = self._operations.segment(class_name, subject, truncation_psi, CancelToken(), **files)
        return *self._write(result, "mask", "cutout"), result.details

    def _write(self, result: Result, *kinds: str, before: str = "") -> list[str]:
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


def _text(name: str, value: str) -> Any:
    return unsaved(gr.Textbox(value, **named(f"api.{name}")))


def _number(name: str, value: float | None = None) -> Any:
    return unsaved(gr.Number(value, **named(f"api.{name}")))


def _file(name: str) -> Any:
    return unsaved(gr.File(interactive=False, label=text(f"api.{name}")))


def _files(name: str) -> Any:
    return unsaved(gr.File(interactive=False, file_count="multiple", label=text(f"api.{name}")))


def _json(name: str) -> Any:
    return unsaved(gr.JSON(label=text(f"api.{name}")))
