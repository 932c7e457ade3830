"""Pictures in tests: as files, as arrays, and made of noise."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(picture: np.ndarray | Image.Image, form: str = "PNG", **options) -> bytes:
    """The picture as a file of that form."""
    content = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(content, form, **options)
    return content.getvalue()


def pixels(path: Path | str) -> np.ndarray:
    """What a file shows."""
    with Image.open(path) as image:
        return np.asarray(image)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Bytes at random, which no format makes much smaller."""
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
