"""What the pipeline draws: samples, and subjects in front of other backgrounds. Arrays and PIL, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from . import __version__, compositing
from .arguments import Background, EdgeOptions
from .errors import UserError
from .images import cover_fit, infotext
from .provenance import WPlus


@dataclass(eq=False)
class Sample:
    """A generated picture with its soft mask.

    `image` uint8 RGB `[H, W, 3]`; `alpha` float32 `[H, W]` in [0, 1], None where the class has no masks yet;
    `background` uint8 `[H, W, 3]`, what the generator draws with the object switched off, None where it was
    not asked for. `w_plus` are the style codes it was drawn from. `seed` is None where those were given, not drawn.
    """

    seed: int | None
    truncation_psi: float
    image: np.ndarray
    alpha: np.ndarray | None
    background: np.ndarray | None = None
    class_name: str = ""
    truncation_cutoff: int | None = None
    noise_mode: str = "random"
    w_plus: WPlus | None = None

    def picture(self) -> Image.Image:
        """The picture as RGB."""
        return Image.fromarray(self.image)

    def mask(self, threshold: float | None = None) -> Image.Image:
        """The mask as 8-bit grey; hard with a `threshold` in [0, 1]. Raises `UserError` where there is none."""
        return Image.fromarray(compositing.to_bytes(compositing.threshold(self.required_alpha(), threshold)))

    def cutout(self) -> Image.Image:
        """The subject alone as RGBA with straight alpha, its edge freed from the background's colour.

        Raises `UserError` where there is no mask.
        """
        alpha = self.required_alpha()
        colours = compositing.estimate_foreground(compositing.to_float(self.image), alpha)
        return Image.fromarray(compositing.cutout(colours, alpha))

    def required_alpha(self) -> np.ndarray:
        """The mask. Raises `UserError` that says how to get one where the class has none yet."""
        if self.alpha is None:
            name = self.class_name
            raise UserError(f"The class {name} has no masks yet; learn them with: l4f learn-masks {name}.")
        return self.alpha

    def infotext(self, **more: object) -> str:
        """What it takes to make the picture again, in the web UIs' format; `more` are further fields."""
        fields: dict[str, object] = {"Class": self.class_name}
        if self.seed is not None:
            fields |= {"Seed": self.seed, "Truncation psi": f"{self.truncation_psi:g}"}
        elif self.w_plus is not None:
            fields["W plus"] = self.w_plus.digest
        if self.truncation_cutoff is not None:
            fields["Truncation cutoff"] = self.truncation_cutoff
        fields |= {"Noise": self.noise_mode, **more, "Version": f"Labels4Free {__version__}"}
        return infotext(f"Labels4Free {self.class_name}", fields)


@dataclass(eq=False)
class SwapResult:
    """A subject in front of another background, as PIL images.

    `composite` RGB, or RGBA where the background is transparent; `alpha` the edited mask as 8-bit grey;
    `cutout` RGBA with straight alpha; `background` RGB, None where it is transparent. `sample` is the
    subject as it was drawn (or the `photos.Photo` that was segmented), `infotext` belongs into the composite's file.
    """

    composite: Image.Image
    alpha: Image.Image
    cutout: Image.Image
    background: Image.Image | None
    sample: Sample
    infotext: str


def put_before(sample: Sample, wanted: Background, drawn: np.ndarray | None, edge: EdgeOptions) -> SwapResult:
    """Edits the mask and composites; `drawn` is the background where `wanted` names a seed."""
    picture, soft = compositing.to_float(sample.image), sample.required_alpha()
    height, width = soft.shape
    # Colours are freed from the old background along the soft edge that the user moved outwards, not along
    # one that was thresholded or feathered: that says nothing about what is in a pixel.
    matte = compositing.edit_alpha(soft, pixels=max(edge.grow, 0), keep_largest=edge.keep_largest)
    foreground = compositing.estimate_foreground(picture, matte)
    alpha = compositing.edit_alpha(
        soft, level=edge.threshold, pixels=edge.grow, radius=edge.feather, keep_largest=edge.keep_largest
    )
    cutout = Image.fromarray(compositing.cutout(foreground, alpha))
    if wanted.kind == "blur":
        drawn = compositing.to_bytes(compositing.blurred_background(picture, matte, wanted.radius))
    elif wanted.kind == "colour":
        drawn = np.full((height, width, 3), wanted.colour, np.uint8)
    elif wanted.kind == "picture":
        drawn = cover_fit(wanted.picture, width, height)
    composite, background = cutout, None
    if drawn is not None:
        background = Image.fromarray(drawn)
        blend = compositing.composite(foreground, compositing.to_float(drawn), alpha)
        composite = Image.fromarray(compositing.to_bytes(blend))
    text = sample.infotext(Background=wanted.label, **edit_fields(edge))
    mask = Image.fromarray(compositing.to_bytes(alpha))
    return SwapResult(composite, mask, cutout, background, sample, text)


def edit_fields(edge: EdgeOptions) -> dict[str, object]:
    """The edits of a mask as fields of an infotext; what was left as it was is left out."""
    fields = {
        "Threshold": edge.threshold,
        "Grow": edge.grow or None,
        "Feather": edge.feather or None,
        "Largest piece only": edge.keep_largest or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
