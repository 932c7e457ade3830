"""Photographs of an object class: the subject is found, and its edge fitted at full size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import matting, recognition
from .bundles.config import ObjectClass
from .bundles.files import open_plain
from .errors import UserError
from .images import Source, load_layers
from .networks import Discriminator, Student
from .subject import PhotoOrigin, Subject

LONGEST_SIDES = 4  # of what the student sees, in sides of the pictures it learned from


def origin_of(source: Source, config: ObjectClass) -> PhotoOrigin:
    """Which file is segmented by what. Raises `UserError` for a file that cannot be read."""
    student = config.files.get("student.safetensors")
    return PhotoOrigin(digest_of(source), student.sha256[:8] if student else "none")


def find_subject(
    student: Student,
    source: Source,
    device: torch.device,
    config: ObjectClass,
    discriminator: Discriminator | None = None,
) -> Subject:
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
    origin = origin_of(source, config)
    return Subject(image, alpha, config.name, photo=origin, confidence=confidence)


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
