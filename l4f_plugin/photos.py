"""Photographs of an object class: the subject is found, its edge fitted at full size, its colours cleaned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import __version__, compositing, matting, recognition
from .arguments import Background, EdgeOptions
from .bundles.config import ObjectClass
from .bundles.files import open_plain
from .errors import UserError
from .images import Source, cover_fit, infotext, load_layers
from .networks import Discriminator, Student
from .samples import Sample, SwapResult, edit_fields, put_before

LONGEST_SIDES = 4  # of what the student sees, in sides of the pictures it learned from


@dataclass(frozen=True)
class PhotoOrigin:
    """Which file was segmented by what: a class, and digests of the file and of the class's student."""

    class_name: str
    digest: str
    student: str

    @classmethod
    def of(cls, source: Source, config: ObjectClass) -> PhotoOrigin:
        """Raises `UserError` for a file that cannot be read."""
        student = config.files.get("student.safetensors")
        return cls(config.name, digest_of(source), student.sha256[:8] if student else "none")

    def infotext(self, **more: object) -> str:
        """See `Photo.infotext`."""
        fields = {"Class": self.class_name, "Photo": self.digest, "Student": self.student, **more}
        fields["Version"] = f"Labels4Free {__version__}"
        return infotext(f"Labels4Free {self.class_name}", fields)


@dataclass(eq=False)
class Photo:
    """A photograph with the mask of its subject.

    `image` uint8 RGB `[H, W, 3]`, upright and in sRGB; `alpha` float32 `[H, W]` in [0, 1]. `origin` tells which file it
    is and what segmented it. `confidence` in [0, 1] is the share of the class's own pictures that look less like it;
    None where the class has nothing to compare with.
    """

    image: np.ndarray
    alpha: np.ndarray
    origin: PhotoOrigin
    confidence: float | None = None
    # What a `Sample` tells besides, and a photograph has not.
    seed: None = None
    w_plus: None = None
    background: None = None

    def picture(self) -> Image.Image:
        """The photograph as RGB."""
        return Image.fromarray(self.image)

    def mask(self, threshold: float | None = None) -> Image.Image:
        """The mask as 8-bit grey; hard with a `threshold` in [0, 1]."""
        return Image.fromarray(compositing.to_bytes(compositing.threshold(self.alpha, threshold)))

    def cutout(self) -> Image.Image:
        """The subject alone as RGBA with straight alpha, its edge freed from the background's colour."""
        colours = matting.clean_colours(self.image, self.alpha)
        return Image.fromarray(compositing.cutout(colours, self.alpha))

    def required_alpha(self) -> np.ndarray:
        """The mask, under the name that a `Sample` gives it too."""
        return self.alpha

    def infotext(self, **more: object) -> str:
        """What was done to which file, in the web UIs' format; `more` are further fields."""
        return self.origin.infotext(**more)


def find_subject(
    student: Student,
    source: Source,
    device: torch.device,
    config: ObjectClass,
    discriminator: Discriminator | None = None,
) -> Photo:
    """Reads a photograph and finds its subject; `config` is that of the student's class.

    The class's `discriminator` says, where the config holds a likeness, how much this looks like the class. Where the
    file is transparent already, it stays so. Raises `UserError` as `images.load_layers` does.
    """
    image, transparency = load_layers(source)
    coarse = coarse_alpha(student, image, device)
    confidence = None
    if discriminator is not None and config.likeness is not None:
        verdict = recognition.verdict_of(discriminator, config, image, coarse)
        confidence = config.likeness.confidence(verdict, recognition.doubt_of(coarse))
    alpha = matting.refine(image, coarse)
    if transparency is not None:
        np.minimum(alpha, transparency, out=alpha)
    return Photo(image, alpha, PhotoOrigin.of(source, config), confidence)


@torch.inference_mode()
def coarse_alpha(student: Student, image: np.ndarray, device: torch.device) -> np.ndarray:
    """The student's mask float32 `[h, w]` of a picture uint8 `[H, W, 3]`, at the size at which it sees best.

    The mean of what it sees in the picture and in its mirror image. One picture at a time, so that company cannot
    change it.
    """
    height, width = image.shape[:2]
    side = student.config.resolution
    scale = min(side / min(height, width), LONGEST_SIDES * side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(image)
    if size != small.size:
        small = small.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    batch = torch.from_numpy(np.array(small)).to(device).permute(2, 0, 1)[None].float() / 255
    batch = batch.contiguous(memory_format=torch.channels_last)
    seen, mirrored = torch.sigmoid(student(batch)), torch.sigmoid(student(batch.flip(3))).flip(3)
    return ((seen + mirrored) / 2)[0, 0].cpu().numpy()


def digest_of(source: Source) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file, or of the pixels of what is no file."""
    if isinstance(source, str | Path):
        try:
            with open_plain(source) as file:
                content = file.read()
        except OSError as error:
            raise UserError(f"{source} could not be read ({error.strerror}); check the file.") from error
    elif isinstance(source, Image.Image):
        content = source.tobytes()
    elif isinstance(source, bytes):
        content = source
    else:
        source.seek(0)
        content = source.read()
    return hashlib.sha256(content).hexdigest()[:16]


def place(subject: Sample | Photo, wanted: Background, drawn: np.ndarray | None, edge: EdgeOptions) -> SwapResult:
    """Edits the mask and composites; `drawn` is the background uint8 where `wanted` names a seed.

    A photograph is done in strips, as memory demands.
    """
    if isinstance(subject, Sample):
        return put_before(subject, wanted, drawn, edge)
    image, soft = subject.image, subject.alpha
    height, width = soft.shape
    # As for samples: colours are freed along the soft edge, however it is edited then.
    matte = compositing.edit_alpha(soft, pixels=max(edge.grow, 0), keep_largest=edge.keep_largest)
    foreground = matting.clean_colours(image, matte)
    alpha = compositing.edit_alpha(
        soft, level=edge.threshold, pixels=edge.grow, radius=edge.feather, keep_largest=edge.keep_largest
    )
    behind = None
    if wanted.kind == "blur":
        behind = matting.blurred_behind(image, matte, wanted.radius)
    elif wanted.kind == "colour":
        behind = np.full((height, width, 3), wanted.colour, np.uint8)
    elif wanted.kind in ("picture", "seed"):
        behind = cover_fit(wanted.picture if drawn is None else drawn, width, height)
    cutout = Image.fromarray(compositing.cutout(foreground, alpha))
    composite = cutout if behind is None else Image.fromarray(matting.blend(foreground, behind, alpha))
    background = None if behind is None else Image.fromarray(behind)
    text = subject.infotext(**placed_fields(wanted, edge))
    mask = Image.fromarray(compositing.to_bytes(alpha))
    return SwapResult(composite, mask, cutout, background, subject, text)


def placed_fields(wanted: Background, edge: EdgeOptions) -> dict[str, object]:
    """What `place` was asked for, as fields of an infotext."""
    return {"Background": wanted.label, **edit_fields(edge)}
