"""A subject: a picture with its soft mask, drawn by a class or found in a photograph. Arrays and PIL, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from . import compositing, matting
from .animations import write_animation
from .arguments import Background, Canvas, EdgeOptions, Spot, Style
from .bundles.likeness import stranger
from .errors import UserError
from .images import Timing, cover_fit, write_jpeg, write_png
from .provenance import WPlus, own_infotext

ENDINGS = {  # what follows the stem in the name of a file of that kind
    **{kind: f"_{kind}.png" for kind in ("cutout", "background", "composite", "projected", "redrawn")},
    **{"picture": ".png", "mask": "_alpha.png", "w_plus": "_w_plus.safetensors"},
}

Part = Image.Image | Sequence[Image.Image] | WPlus | Callable[[], Image.Image]


def no_masks(name: str) -> UserError:
    """For what needs the masks of the class `name`, which has none yet."""
    return UserError(f"The class {name} has no masks yet; learn them with: l4f learn-masks {name}.")


@dataclass(frozen=True)
class PhotoOrigin:
    """Which file was segmented by what: digests of the file and of the class's student."""

    digest: str
    student: str

    def infotext(self, class_name: str, **more: object) -> str:
        return own_infotext(class_name, {"Class": class_name, "Photo": self.digest, "Student": self.student, **more})


@dataclass(eq=False)
class Subject:
    """A picture with its soft mask. A drawn one has `style` and `w_plus`, a photographed one `photo`."""

    image: np.ndarray  # uint8 RGB [H, W, 3], upright and in sRGB
    alpha: np.ndarray | None  # float32 [H, W] in [0, 1]; None where the class has no masks yet
    class_name: str
    seed: int | None = None  # of a drawn one, unless its codes were given
    style: Style | None = None
    w_plus: WPlus | None = None
    background: np.ndarray | None = None  # uint8 [H, W, 3], drawn with the object switched off, if asked for
    photo: PhotoOrigin | None = None
    confidence: float | None = None  # share of the class's own pictures that look less like it, if known; 0: no subject
    dropped: int = 0  # pieces that its mask had besides the largest
    along_edge: bool = False  # whether the mask takes half of the picture's upper, left or right edge
    times: int = 1  # as large as its class draws
    brushed: bool = False  # its mask was mended by hand

    def enlarged(self, times: int) -> Subject:
        """The same `times` as large, see `upscaling.enlarged`."""
        if times == 1:
            return self
        from .upscaling import enlarged  # imports torch

        size, background = (times * self.image.shape[1], times * self.image.shape[0]), self.background
        image, alpha, done = enlarged(self.image, self.alpha, times)
        rest = size, 0, 0, times / done
        if background is not None:
            background = matting.moved(enlarged(background, None, times)[0], *rest)
        if alpha is not None:
            alpha = matting.moved_alpha(alpha, *rest)
        image = matting.moved(image, *rest)
        return replace(self, image=image, alpha=alpha, background=background, times=times * self.times)

    def mended(self, strokes: np.ndarray) -> Subject:
        """The same with what was painted on its mask, float32 `[h, w]` of any size, see `compositing.brushed`."""
        alpha = self.required_alpha()
        scaled = Image.fromarray(strokes).resize(alpha.shape[::-1], Image.Resampling.BILINEAR)
        return replace(self, alpha=compositing.brushed(alpha, np.asarray(scaled)), brushed=True)

    def picture(self) -> Image.Image:
        return Image.fromarray(self.image)

    def mask(self, threshold: float | None = None) -> Image.Image:
        """The mask as 8-bit grey; hard with a `threshold` in [0, 1]. Raises `UserError` where there is none."""
        return Image.fromarray(compositing.to_bytes(compositing.threshold(self.required_alpha(), threshold)))

    def cutout(self) -> Image.Image:
        """RGBA with straight alpha, its edge freed from the background's colour. Raises `UserError` without a mask."""
        alpha = self.required_alpha()
        return Image.fromarray(compositing.cutout(matting.clean_colours(self.image, alpha), alpha))

    def required_alpha(self) -> np.ndarray:
        """The mask. Raises `UserError` that says how to get one where the class has none yet."""
        if self.alpha is None:
            raise no_masks(self.class_name)
        return self.alpha

    def parts(self) -> dict[str, Callable[[], Image.Image]]:
        """Picture, mask, cut-out and background, as far as there are, each made when it is called."""
        parts: dict[str, Callable[[], Image.Image]] = {"picture": self.picture}
        if self.alpha is not None:
            parts |= {"mask": self.mask, "cutout": self.cutout}
        if self.background is not None:
            parts["background"] = partial(Image.fromarray, self.background)
        return parts

    @property
    def stem(self) -> str:
        """Begins the names of its files, as in `seed0003`; `w_plus` or `photo` for one without a seed."""
        return f"seed{self.seed:04d}" if self.seed is not None else "w_plus" if self.photo is None else "photo"

    def infotext(self, **more: object) -> str:
        """What it takes to make the picture again, in the web UIs' format; `more` are further fields."""
        more = {"Brushed": True, **more} if self.brushed else more
        if self.photo is not None:
            return self.photo.infotext(self.class_name, **more)
        fields: dict[str, object] = {"Class": self.class_name}
        if self.seed is not None:
            fields |= {"Seed": self.seed, "Truncation psi": f"{self.style.truncation_psi:g}"}
        elif self.w_plus is not None:
            fields |= self.w_plus.fields
        if self.style.truncation_cutoff is not None:
            fields["Truncation cutoff"] = self.style.truncation_cutoff
        fields |= {"Enlarged": self.times} if self.times != 1 else {}
        return own_infotext(self.class_name, fields | {"Noise": self.style.noise_mode, **more})


@dataclass(eq=False)
class SwapResult:
    """A subject in front of another background, as PIL images."""

    composite: Image.Image  # RGB, or RGBA where the background is transparent
    alpha: Image.Image  # the edited mask as 8-bit grey
    cutout: Image.Image  # RGBA with straight alpha
    background: Image.Image | None  # RGB; None where it is transparent
    subject: Subject
    infotext: str  # belongs into the files


def place(
    subject: Subject,
    wanted: Background,
    drawn: np.ndarray | None,
    edge: EdgeOptions,
    where: Canvas | Spot | None = None,
) -> SwapResult:
    """Edits the mask and composites; `drawn` is the background uint8 `[H, W, 3]` where `wanted` names a seed.

    The result has the size of the subject's picture unless `where` says otherwise. The mask is edited before it is
    scaled, so `edge` counts in pixels of the subject. Raises `UserError` for a subject without a mask, and for an empty
    mask that is to go somewhere.
    """
    image, soft = subject.image, subject.required_alpha()
    if where is not None and where.flipped:
        image, soft = image[:, ::-1], soft[:, ::-1]
    # Colours are freed from the old background along the soft edge that the user moved outwards, not along
    # one that was thresholded or feathered: that says nothing about what is in a pixel.
    matte = compositing.edit_alpha(soft, pixels=max(edge.grow, 0), keep_largest=edge.keep_largest)
    alpha = compositing.edit_alpha(
        soft, level=edge.threshold, pixels=edge.grow, radius=edge.feather, keep_largest=edge.keep_largest
    )
    own = width, height = alpha.shape[::-1]
    shadow = matting.shadow(image, matte) if edge.keep_shadow and wanted.kind != "transparent" else None
    if where is None:
        foreground = matting.clean_colours(image, matte)
    else:
        width, height = where.size(own if wanted.picture is None else wanted.picture.shape[1::-1])
        from .upscaling import enlarged  # imports torch

        box = compositing.mask_box(alpha)
        if box is None:
            raise UserError("The mask is empty, so there is no subject to place; choose another one, or another edge.")
        left, top, scale = where.fit(box, (width, height))
        placed = (width, height), left, top, scale
        large, clean, times = enlarged(image, matte, scale)
        rest = (width, height), left, top, scale / times
        if (edge.threshold, edge.grow, edge.feather) == (None, 0, 0):
            alpha = matting.moved_alpha(clean, *rest)
        else:
            alpha = np.clip(matting.moved(alpha, *placed), 0, 1)
        foreground = matting.moved(matting.clean_colours(large, clean), *rest)
        shadow = None if shadow is None else matting.moved(shadow, *placed)
        if edge.threshold is not None and not edge.feather:
            alpha = compositing.threshold(alpha, 0.5)  # hard again
    cutout = composite = Image.fromarray(compositing.cutout(foreground, alpha))
    behind = None
    if wanted.kind == "blur":
        behind = cover_fit(matting.blurred_behind(image, matte, wanted.radius), width, height)
    elif wanted.kind == "colour":
        behind = np.full((height, width, 3), wanted.colour, np.uint8)
    elif wanted.kind in ("picture", "seed"):
        behind = cover_fit(wanted.picture if drawn is None else drawn, width, height)
    if behind is not None:
        if edge.match_light:
            foreground = matting.match_light(foreground, alpha, behind, edge.match_light)
        shaded = behind if shadow is None else matting.blend(np.zeros_like(behind), behind, shadow)
        composite = Image.fromarray(matting.blend(foreground, shaded, alpha))
    mask, background = Image.fromarray(compositing.to_bytes(alpha)), None if behind is None else Image.fromarray(behind)
    infotext = subject.infotext(**placed_fields(wanted, edge, where))
    return SwapResult(composite, mask, cutout, background, subject, infotext)


def remarks(title: str, confidence: float | None, dropped: int, along_edge: bool) -> list[str]:
    """Sentences about the mask of a photograph that a person should look at; of a `Subject` of the class `title`."""
    pieces = "1 smaller piece" if dropped == 1 else f"{dropped} smaller pieces"
    sentences = (
        stranger(title, confidence),
        "The mask runs along an edge of the picture: see whether it holds background." if along_edge else None,
        f"{pieces} beside the subject left out." if dropped else None,
    )
    return [sentence for sentence in sentences if sentence]


def placed_fields(wanted: Background, edge: EdgeOptions, where: Canvas | Spot | None = None) -> dict[str, object]:
    """What `place` was asked for, as fields of an infotext; what was left as it was is left out."""
    fields: dict[str, object] = {"Background": wanted.label}
    fields |= {} if edge.threshold is None else {"Threshold": edge.threshold}
    told = {
        "Grow": edge.grow,
        "Feather": edge.feather,
        "Largest piece only": edge.keep_largest,
        "Light matched": edge.match_light,
        "Shadow kept": edge.keep_shadow,
    }
    return fields | {name: value for name, value in told.items() if value} | (where.fields if where else {})


def endings(kinds: Iterable[str], jpeg: bool = False) -> dict[str, str]:
    """What follows the stem in the names of files of these kinds; with `jpeg` a composite is a JPEG."""
    return {kind: "_composite.jpg" if jpeg and kind == "composite" else ENDINGS[kind] for kind in kinds}


def write_parts(
    folder: Path, stem: str, parts: Mapping[str, Part], infotext: str, timing: Timing | None = None, jpeg: bool = False
) -> dict[str, Path]:
    """Writes each part under the stem and the ending of its kind, see `endings`; their paths by kind.

    With a `timing` each part is the frames of an animation, which becomes an animated PNG. The first part is written
    last: where it is, the others are. Raises `UserError` where the system refuses.
    """
    files = {kind: folder / f"{stem}{ending}" for kind, ending in endings(parts, jpeg).items()}
    for kind in reversed(files):
        part = parts[kind]() if callable(parts[kind]) else parts[kind]
        if isinstance(part, WPlus):
            part.save(files[kind])
        elif timing is not None:
            write_animation(files[kind], part, "apng", timing, infotext)
        elif files[kind].suffix == ".jpg":
            write_jpeg(files[kind], part, infotext)
        else:
            write_png(files[kind], part, infotext)
    return files
