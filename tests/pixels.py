"""Pictures in tests: as files, as arrays, and made of noise."""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(picture: np.ndarray | Image.Image, form: str = "PNG", **options) -> bytes:
    """The picture as a file of that form."""
    content = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(content, form, **options)
    return content.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png_that_claims(width: int, height: int, content: bytes = b"") -> bytes:
    """A PNG of any size with almost no bytes behind it."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def pixels(path: Path | str) -> np.ndarray:
    """What a file shows."""
    with Image.open(path) as image:
        return np.asarray(image)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Bytes at random, which no format makes much smaller."""
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def noise_in(folder: Path, count: int, *shape: int) -> Path:
    """A new folder with that many pictures of noise, 0.png and on."""
    folder.mkdir()
    for number in range(count):
        Image.fromarray(noise(*shape, seed=number)).save(folder / f"{number}.png")
    return folder
