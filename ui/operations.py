"""What programs ask for: classes, generate, swap, segment, with plain values. Knows neither Gradio nor HTTP.

The named Gradio endpoints and the HTTP API are two faces of these. Files are given by their bytes, so that nothing on
the server is ever named.
"""

import base64
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from l4f_plugin.arguments import Background, Canvas, EdgeOptions, Spot
from l4f_plugin.bundles.likeness import is_strange
from l4f_plugin.errors import UserError
from l4f_plugin.images import first_frame_only, picture_size
from l4f_plugin.jobs import CancelToken
from l4f_plugin.provenance import WPlus, recipe_of
from l4f_plugin.subject import ENDINGS, remarks

from .outputs import slug
from .seeds import wanted_seed
from .service import Service
from .texts import text


@dataclass(frozen=True)
class OperationResult:
    """One answer: pictures by their kind (picture, mask, cutout, background), each made when it is asked for.

    `stem` begins their file names and `infotext` belongs into the files; `details` are plain values.
    """

    images: Mapping[str, Callable[[], Image.Image]]
    stem: str
    infotext: str
    details: dict[str, Any]

    def file_name(self, kind: str) -> str:
        return f"{self.stem}{ENDINGS[kind]}"


class Operations:
    """The four operations over a service, each one job of its queue; see `Service` for tokens and errors."""

    def __init__(self, service: Service):
        self._service = service

    def classes(self) -> list[dict[str, Any]]:
        """The object classes that can be named, each with its name, title, resolution and licence."""
        told = ("name", "title", "resolution", "licence")
        entries = [entry for entry in self._service.classes() if not entry.problem]
        return [{name: getattr(entry, name) for name in told} for entry in entries]

    def wanted_class(self, named: str | None, picture: bytes | None = None) -> str | None:
        """The class that is named, else the one that drew the picture, else the page's default for what is given."""
        if named is None and picture is not None and (recipe := recipe_of(picture)):
            return recipe.class_name
        return self._service.default_class(photographs=picture is not None) if named is None else named

    def pixels(self, class_name: str | None) -> int:
        """Of a picture that the class draws. Raises `UserError` for a class that is not known."""
        return self._service.entry(class_name).resolution ** 2

    def pixels_sent(self, picture: object) -> int:
        """Of a picture file by its bytes, read from its header; 0 for anything else.

        Raises `UserError` for what is no picture, or larger than programs may send.
        """
        if not isinstance(picture, bytes):
            return 0
        width, height = picture_size(picture)
        most = self._service.settings().api_megapixels
        if width * height > most * 1_000_000:
            raise UserError(text("api.too_large", width=width, height=height, most=f"{most:g}"))
        return width * height

    def canvas(self, size: str | None, margin: str | float) -> Canvas | None:
        """The canvas that a program asks for, None for none. Raises `UserError` for one larger than it may."""
        canvas = Canvas.parse(size, margin) if size else None
        most = self._service.settings().api_megapixels
        if canvas is not None and canvas.width * canvas.height > most * 1_000_000:
            raise UserError(text("api.large_canvas", width=canvas.width, height=canvas.height, most=f"{most:g}"))
        return canvas

    def generate(
        self, class_name: str, seeds: Sequence[int], truncation_psi: float | None, token: CancelToken
    ) -> list[OperationResult]:
        """Picture, mask, cut-out and background of each seed, in their order. None takes the class's own psi."""
        name = self._service.entry(class_name).name
        results = []
        for batch in self._service.generate(name, seeds, truncation_psi, token):
            for sample in batch:
                details = {"class": name, "seed": sample.seed, "truncation_psi": sample.style.truncation_psi}
                results.append(OperationResult(sample.parts(), _stem(name, sample.seed), sample.infotext(), details))
        return results

    def swap(
        self,
        class_name: str,
        subject: int | WPlus,
        background: str | bytes,
        edge: EdgeOptions,
        truncation_psi: float | None,
        token: CancelToken,
        where: Spot | None,
    ) -> OperationResult:
        """The subject of a seed or codes before `seed:7`, `#3366ff`, `blur:8`, `transparent` or a picture's bytes.

        `truncation_psi` counts for a seed. Where it goes on a picture is as `wanted_spot` says.
        """
        wanted: Background | bytes
        if isinstance(background, bytes):
            self.pixels_sent(background)  # what is no picture, or too large, is refused before any wait
            wanted, label = background, "picture"
            note = first_frame_only(background, text("api.the_picture"))
        else:
            wanted, note = Background.parse(background, files=False), None
            label = wanted.label
        name = self._service.entry(class_name).name
        if isinstance(subject, WPlus):
            sample = self._service.segment(name, subject, token)
        else:
            sample = self._service.sample(name, subject, truncation_psi, token)
        result = self._service.swap(name, sample, wanted, edge, token, where=where)
        parts = {"picture": result.composite, "mask": result.alpha, "cutout": result.cutout}
        parts["background"] = result.background
        images = {kind: lambda image=image: image for kind, image in parts.items() if image is not None}
        psi = sample.style.truncation_psi
        details = {"class": name, "seed": sample.seed, "truncation_psi": psi, "background": label, "note": note}
        return OperationResult(images, f"{_stem(name, sample.seed)}_swapped", result.infotext, details)

    def segment(
        self,
        class_name: str,
        source: int | bytes | WPlus,
        truncation_psi: float | None,
        token: CancelToken,
        keep_largest: bool = True,
        canvas: Canvas | None = None,
        background: str | None = None,
    ) -> OperationResult:
        """Mask and cut-out of a seed, of a picture's bytes (ours or a photograph), or of W+ codes.

        With a `canvas` both have its size. With a `background`, `seed:7`, `#ffffff`, `blur:8` or `transparent`, the
        picture shows the subject before it. `keep_largest` counts for a photograph.
        """
        entry, note = self._service.entry(class_name), None
        behind = Background.parse(background or "transparent", files=False)
        if isinstance(source, bytes):
            self.pixels_sent(source)  # what is no picture, or too large, is refused before any wait
            note = first_frame_only(source, text("api.the_picture"))
        options = {"truncation_psi": truncation_psi, "keep_largest": keep_largest}
        sample = self._service.segment(entry.name, source, token, **options)
        area, confidence, fits = float(sample.required_alpha().mean()), sample.confidence, None
        if is_strange(confidence):
            [fits] = self._service.best_fits(entry.name, [lambda: source], token)
        better = fits and text("photos.better", title=fits[0].title, confidence=fits[1])
        sentences = note, *remarks(entry.title, confidence, sample.dropped, sample.along_edge), better
        notes = [sentence for sentence in sentences if sentence]
        details = {"class": entry.name, "seed": sample.seed, "mask_area": area, "confidence": confidence}
        details |= {"better": fits and fits[0].name, "dropped": sample.dropped, "note": " ".join(notes) or None}
        parts, infotext = sample.parts(), sample.infotext()
        if canvas is not None or background is not None:
            result = self._service.swap(entry.name, sample, behind, EdgeOptions(), token, where=canvas)
            parts |= {"mask": lambda: result.alpha, "cutout": lambda: result.cutout}
            parts |= {"picture": lambda: result.composite} if background is not None else {}
            infotext = result.infotext
        return OperationResult(parts, _stem(entry.name, sample.seed), infotext, details)


def file_bytes(written: str) -> bytes | None:
    """The file in base64, with or without the head of a data URL; None for nothing. Raises `UserError` otherwise."""
    if not written:
        return None
    try:
        return base64.b64decode(re.sub(r"\Adata:[^,]{0,100},", "", written), validate=True)
    except ValueError:
        raise UserError(text("api.not_base64")) from None


def _stem(name: str, seed: int | None) -> str:
    return slug(name) if seed is None else f"{slug(name)}_seed{seed:04d}"


def wanted_subject(seed: str | int, w_plus: bytes | None) -> int | WPlus:
    """The codes in that file, else the seed. Raises `UserError` for what is neither."""
    if w_plus is None:
        return wanted_seed(str(seed))
    with tempfile.TemporaryDirectory(prefix="labels4free-") as folder:
        path = Path(folder) / "w_plus"
        path.write_bytes(w_plus)
        return WPlus.load(path)
