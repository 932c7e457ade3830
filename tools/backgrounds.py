"""Backgrounds for the drawn sets: blurred crops of photographs, and computed ones.

Every function returns float32 [S, S, 3] in [0, 1] and draws all its chances from the generator it is given.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from l4f_plugin.errors import UserError

PHOTOGRAPH_SHARE = 0.55  # of all backgrounds; the rest is computed
SHORT_SIDE = 480  # photographs are kept in memory at this size


def read_list(path: Path) -> list[dict]:
    """The list of background files: package, file (below /usr/share), author, licence, split."""
    return json.loads(path.read_text(encoding="utf-8"))


def load_photographs(entries: Sequence[dict], folders: Sequence[Path]) -> list[np.ndarray]:
    """Reads the listed files from the first folder that has them: uint8 [H, W, 3], short side 480."""
    pictures = []
    for entry in entries:
        candidates = [folder / entry["file"] for folder in folders]
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            raise UserError(
                f"The background {entry['file']} was not found: install the Debian package "
                f"{entry['package']}, or name the folder of backgrounds/ and wallpapers/ with --backgrounds."
            )
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * SHORT_SIDE, 2 * SHORT_SIDE))
            picture = picture.convert("RGB")
            scale = SHORT_SIDE / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            pictures.append(np.asarray(picture.resize(size, Image.Resampling.LANCZOS)))
    return pictures


def blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of float32 [H, W, 3] in [0, 1], `radius` in pixels; borders are replicated first."""
    margin = int(np.ceil(2 * radius))
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    picture = Image.fromarray(np.round(padded * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(radius))
    height, width = image.shape[:2]
    blurred = np.asarray(picture, dtype=np.float32)[margin : margin + height, margin : margin + width]
    return blurred / 255


def photograph(random: np.random.Generator, photographs: Sequence[np.ndarray], size: int) -> np.ndarray:
    """A random square of a photograph, mostly out of focus as behind a portrait, its colours varied."""
    source = photographs[random.integers(len(photographs))]
    height, width = source.shape[:2]
    side = int(min(height, width) * random.uniform(0.4, 1.0))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    crop = Image.fromarray(source[top : top + side, left : left + side])
    image = np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS), dtype=np.float32) / 255
    if random.random() < 0.5:
        image = image[:, ::-1]
    in_focus = random.random() < 0.15
    radius = random.uniform(0.3, 1.2) if in_focus else random.uniform(1.8, 6.5)
    image = blur(image, radius * size / 128)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * random.uniform(0.5, 1.05)
    image = image * random.uniform(0.8, 1.15) + random.uniform(-0.03, 0.08)
    return np.clip(image, 0, 1).astype(np.float32)


def colour(random: np.random.Generator) -> np.ndarray:
    """A colour as rooms and landscapes have it: any hue, moderate saturation. float32 [3]."""
    hue, saturation, value = random.random() * 6, random.beta(2, 3) * 0.65, random.uniform(0.2, 0.95)
    distance = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return (value * (1 - saturation + saturation * np.clip(distance, 0, 1))).astype(np.float32)


def neighbour(random: np.random.Generator, base: np.ndarray, spread: float) -> np.ndarray:
    """A colour near `base`."""
    varied = base * random.uniform(1 - spread, 1 + 0.6 * spread) + random.normal(0, 0.15 * spread, 3)
    return np.clip(varied, 0.02, 0.98).astype(np.float32)


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column coordinates [S, S] in [0, 1]."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    return line[:, None] + 0 * line, line + 0 * line[:, None]


def gradient(random: np.random.Generator, size: int) -> np.ndarray:
    """Two or three colours along a random direction."""
    rows, columns = grid(size)
    angle = random.uniform(0, 2 * np.pi)
    place = np.cos(angle) * (rows - 0.5) + np.sin(angle) * (columns - 0.5)
    place = (place - place.min()) / (place.max() - place.min())
    colours = [colour(random)]
    for _ in range(random.integers(1, 3)):
        colours.append(neighbour(random, colours[-1], 0.6) if random.random() < 0.6 else colour(random))
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(place, stops, [each[channel] for each in colours]) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)


def lights(random: np.random.Generator, size: int) -> np.ndarray:
    """Soft discs of light over a gradient, as unfocused lamps are seen."""
    image = gradient(random, size)
    rows, columns = grid(size)
    tint = colour(random)
    for _ in range(random.integers(4, 14)):
        top, left, radius = random.uniform(-0.1, 1.1), random.uniform(-0.1, 1.1), random.uniform(0.04, 0.22)
        distance = np.hypot(rows - top, columns - left)
        disc = np.clip((radius - distance) / (0.5 * radius) + 0.5, 0, 1) * random.uniform(0.15, 0.55)
        image = image + disc[..., None] * (neighbour(random, tint, 0.6) - image)
    return blur(np.clip(image, 0, 1), random.uniform(1, 3) * size / 128)


def wall(random: np.random.Generator, size: int) -> np.ndarray:
    """A plain wall with light falling off from one side, sometimes with a soft vertical edge."""
    rows, columns = grid(size)
    base = colour(random)
    image = np.broadcast_to(base, (size, size, 3))
    if random.random() < 0.5:
        edge = np.clip((columns - random.uniform(0.1, 0.9)) / random.uniform(0.01, 0.08) + 0.5, 0, 1)
        image = image + edge[..., None] * (neighbour(random, base, 0.5) - image)
    distance = np.hypot(rows - random.uniform(-0.3, 1.0), columns - random.uniform(-0.3, 1.3))
    light = 1.1 - random.uniform(0.2, 0.6) * distance
    return np.clip(image * light[..., None], 0, 1).astype(np.float32)


def horizon(random: np.random.Generator, size: int) -> np.ndarray:
    """Two areas, lighter above, with a soft and slightly tilted border between them."""
    rows, columns = grid(size)
    border = random.uniform(0.3, 0.85) + random.normal(0, 0.06) * (columns - 0.5)
    border = border + random.uniform(0, 0.05) * np.sin(columns * random.uniform(3, 14) + random.uniform(0, 6))
    below = np.clip((rows - border) / random.uniform(0.015, 0.15) + 0.5, 0, 1)[..., None]
    sky, ground = colour(random) * 0.5 + 0.45, colour(random) * 0.8
    sky, ground = sky * (0.75 + 0.25 * rows[..., None]), ground * (1.1 - 0.3 * rows[..., None])
    image = sky * (1 - below) + ground * below
    return np.clip(image, 0, 1).astype(np.float32)


COMPUTED = (gradient, lights, wall, horizon)


def draw_background(random: np.random.Generator, photographs: Sequence[np.ndarray], size: int) -> np.ndarray:
    """A background [S, S, 3]; without photographs all are computed."""
    if photographs and random.random() < PHOTOGRAPH_SHARE:
        return photograph(random, photographs, size)
    return COMPUTED[random.integers(len(COMPUTED))](random, size)
