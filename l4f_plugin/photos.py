"""Photographs of an object class: the subject is found, its edge fitted at full size, and a stranger told.

A segmenter that has seen nothing but its class finds "it" in anything. Two figures tell a strange picture: the class's
discriminator, which has learned what real pictures of the class look like, and the segmenter's own doubt. Both are
compared with their values over pictures that the class draws, so no photograph and no label is needed. Any class can
tell what shows no subject at all: there the mask covers everything, nothing, or what looks as the rest does.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import matting
from .bundles.bundle import Bundle, load_network
from .bundles.config import ObjectClass, crop_of
from .bundles.files import DISCRIMINATOR_FILE, sha256_of
from .bundles.likeness import LIMIT, Likeness
from .compositing import largest_piece
from .errors import UserError
from .images import Source, bytes_of, load_layers
from .networks import Discriminator, Student
from .subject import PhotoOrigin, Subject

LEAST_AREA, LARGEST_AREA = 0.002, 0.95  # of a mask that holds a subject, as shares of the picture
LEAST_DIFFERENCE = 0.1  # of its colours from the others; of 600 photographs of clothes 5 have less
LEAST_PIXELS = 10  # added to a mask's area, so that an empty one is all doubt


def origin_of(source: Source, config: ObjectClass) -> PhotoOrigin:
    """Which file is segmented by what. Raises `UserError` for a file that cannot be read."""
    student = config.files.get("student.safetensors")
    return PhotoOrigin(digest_of(source), student.sha256[:8] if student else "none")


def find_subject(bundle: Bundle, source: Source, device: torch.device, keep_largest: bool = True) -> Subject:
    """Reads a photograph and finds its subject with the student of the class.

    The class's discriminator says, where there is one and its config holds a likeness, how much this looks like the
    class; 0 stands for a picture in which no subject can be told. Of the mask only the largest piece is kept, unless
    told otherwise. Where the file is transparent already, it stays so. Raises `UserError` as `images.load_layers` does.
    """
    config, (image, transparency) = bundle.config, load_layers(source)
    coarse = coarse_alpha(bundle.student, config, image, device)
    confidence = None
    if bundle.discriminator is not None and config.likeness is not None:
        confidence = _confidence(bundle.discriminator, config, image, coarse)
    alpha = matting.corrected(image, coarse)
    if transparency is not None:
        np.minimum(alpha, transparency, out=alpha)
    alpha, dropped = largest_piece(alpha) if keep_largest else (alpha, 0)
    if not LEAST_AREA <= alpha.mean() <= LARGEST_AREA or matting.colour_difference(image, alpha) < LEAST_DIFFERENCE:
        confidence = 0.0
    told = {"confidence": confidence, "dropped": dropped, "along_edge": runs_along_edge(alpha)}
    return Subject(image, alpha, config.name, photo=origin_of(source, config), **told)


def runs_along_edge(alpha: np.ndarray) -> bool:
    """Whether a mask float32 `[H, W]` takes half of the upper, left or right edge, as one with background in it may.

    At the lower edge people and vehicles are cut off more often than not.
    """
    return any((side > 0.5).mean() >= 0.5 for side in (alpha[0], alpha[:, 0], alpha[:, -1]))


class Rivals:
    """Other classes on this computer that may fit a photograph better; their networks are read when first needed."""

    def __init__(self, classes: Iterable[ObjectClass], device: torch.device):
        self._device, self._networks = device, {}
        self._classes = [
            entry
            for entry in classes
            if entry.installed and entry.photos and entry.likeness and (entry.folder / DISCRIMINATOR_FILE).is_file()
        ]

    def best(self, source: Source) -> tuple[ObjectClass, float] | None:
        """The class that fits best, and its confidence, None below `LIMIT`. Raises `UserError` for damaged files."""
        if not self._classes:
            return None
        image, _ = load_layers(source)
        found = max(((entry, self._judged(entry, image)) for entry in self._classes), key=lambda pair: pair[1])
        return found if found[1] >= LIMIT else None

    def _judged(self, entry: ObjectClass, image: np.ndarray) -> float:
        if entry.name not in self._networks:
            discriminator = load_network(entry.folder, "discriminator", self._device)
            self._networks[entry.name] = discriminator, load_network(entry.folder, "student", self._device)
        discriminator, student = self._networks[entry.name]
        return _confidence(discriminator, entry, image, coarse_alpha(student, entry, image, self._device))


def _confidence(discriminator: Discriminator, config: ObjectClass, image: np.ndarray, coarse: np.ndarray) -> float:
    """See `Subject.confidence`; `config` has a likeness, `coarse` is the student's mask."""
    return config.likeness.confidence(verdict_of(discriminator, config, image, coarse), doubt_of(coarse))


@torch.inference_mode()
def coarse_alpha(student: Student, config: ObjectClass, image: np.ndarray, device: torch.device) -> np.ndarray:
    """The student's mask float32 `[h, w]` of a picture uint8 `[H, W, 3]`, at the size at which it sees best.

    It then fits into the size of the class's own pictures that it learned from, lying or standing. The mean of what it
    sees in the picture and in its mirror image. One picture at a time, so that company cannot change it.
    """
    height, width = image.shape[:2]
    top, bottom, left, right = crop_of(config)
    shorter, longer = sorted((bottom - top, right - left))
    side = student.config.resolution
    scale = side / longer * min(shorter / min(height, width), longer / max(height, width))
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
            return sha256_of(source)[:16]
        except OSError as error:
            raise UserError(f"{source} could not be read ({error.strerror}); check the file.") from error
    content = source.tobytes() if isinstance(source, Image.Image) else bytes_of(source)
    return hashlib.sha256(content).hexdigest()[:16]


def doubt_of(coarse: np.ndarray) -> float:
    """log(sum min(alpha, 1 - alpha) / sum alpha), about -7 to 0, of a segmenter's mask float32 `[h, w]` in [0, 1]."""
    undecided = float(np.minimum(coarse, 1 - coarse).sum(dtype=np.float64))
    return math.log(undecided / (float(coarse.sum(dtype=np.float64)) + LEAST_PIXELS) + 1e-3)


@torch.inference_mode()
def verdict_of(discriminator: Discriminator, config: ObjectClass, image: np.ndarray, alpha: np.ndarray) -> float:
    """The discriminator's logit of the part of a picture uint8 `[H, W, 3]` that has the class's shape.

    The part is as large as fits, with the middle of the subject, by its mask float32 `[h, w]`, as near to its own
    middle as can be; a class that draws bars gets them. The mean of the part and its mirror image.
    """
    top, bottom, left, right = crop_of(config)
    width, height, resolution = right - left, bottom - top, config.generator.resolution
    scale = min(image.shape[1] / width, image.shape[0] / height)
    sizes, box = (width * scale, height * scale), []
    for share, full, side in zip(_middle(alpha), image.shape[1::-1], sizes, strict=True):
        box.append(min(max(share * full - side / 2, 0.0), full - side))
    box += [start + side for start, side in zip(box, sizes, strict=True)]
    part = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, box=tuple(box), reducing_gap=3.0)
    square = np.full((2, resolution, resolution, 3), -1, np.float32)
    square[0, top:bottom, left:right] = np.asarray(part, np.float32) / 127.5 - 1
    square[1, top:bottom, left:right] = square[0, top:bottom, left:right][:, ::-1]
    device = next(discriminator.parameters()).device
    pictures = torch.from_numpy(square).permute(0, 3, 1, 2).to(device)
    # One by one: a batch of look-alikes is what a discriminator is wary of.
    return sum(discriminator(picture[None]).item() for picture in pictures) / len(pictures)


def likeness_of(verdicts: Iterable[float], doubts: Iterable[float]) -> Likeness:
    """What a bundle keeps of the figures over pictures of its own, at least two of each."""
    figures = [np.fromiter(values, np.float64) for values in (verdicts, doubts)]
    return Likeness(*(round(float(part), 4) for values in figures for part in (values.mean(), values.std() + 1e-3)))


def _middle(alpha: np.ndarray) -> tuple[float, float]:
    """Of a mask, as shares of its width and height; that of the picture where it is empty."""
    mass = float(alpha.sum(dtype=np.float64))
    if mass < 1:
        return 0.5, 0.5
    lines = alpha.sum(axis=0, dtype=np.float64), alpha.sum(axis=1, dtype=np.float64)
    return tuple(float(line @ (np.arange(len(line)) + 0.5)) / mass / len(line) for line in lines)
