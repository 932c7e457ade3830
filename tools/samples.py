"""What a page shows before anything is drawn: ready pictures of a class, and backgrounds of our own (CC0).

python3 -m tools.samples weights/avatar 6,7,9,11,21,28,31,32
python3 -m tools.samples backgrounds
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from l4f_plugin.arguments import parse_seeds

BACKGROUNDS = Path(__file__).parent.parent / "ui" / "backgrounds"
WIDTH, HEIGHT = 1200, 800
PSI = 0.7


def ready(bundle: Path, seeds: list[int]) -> None:
    """Draws the seeds into the folder `ready` of the bundle, each with its mask as transparency."""
    from l4f_plugin.pipeline import Labels4FreePipeline

    (bundle / "ready").mkdir(exist_ok=True)
    for subject in Labels4FreePipeline.from_pretrained(str(bundle)).stream(seeds, PSI):
        picture = subject.picture().convert("RGBA")
        picture.putalpha(subject.mask())
        picture.save(bundle / "ready" / f"{subject.stem}_psi{PSI:.2f}.webp", quality=90, exact=True)


def backgrounds() -> None:
    """A studio, an evening and lights in a park."""
    BACKGROUNDS.mkdir(exist_ok=True)
    for name, draw in {"studio": _studio, "evening": _evening, "park": _park}.items():
        draw(np.random.default_rng(1)).save(BACKGROUNDS / f"{name}.webp", quality=85)


def _gradient(*colours: tuple[int, int, int]) -> Image.Image:
    stops = np.linspace(0, HEIGHT - 1, len(colours))
    column = np.stack([np.interp(np.arange(HEIGHT), stops, part) for part in zip(*colours, strict=True)], axis=1)
    return Image.fromarray(np.repeat(column[:, None].astype(np.uint8), WIDTH, axis=1))


def _studio(_: np.random.Generator) -> Image.Image:
    wall = _gradient((214, 208, 200), (226, 221, 214), (196, 188, 178))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = 1.06 - 0.28 * (((x - 500) / WIDTH) ** 2 + ((y - 320) / HEIGHT) ** 2)
    return Image.fromarray(np.clip(np.asarray(wall) * light[..., None], 0, 255).astype(np.uint8))


def _evening(random: np.random.Generator) -> Image.Image:
    sky = _gradient((58, 74, 128), (140, 118, 160), (238, 160, 122), (252, 206, 140))
    draw = ImageDraw.Draw(sky)
    draw.ellipse((760, 470, 900, 610), fill=(255, 236, 190))
    sky = sky.filter(ImageFilter.GaussianBlur(6))
    draw = ImageDraw.Draw(sky)
    for base, colour in ((560, (112, 88, 124)), (640, (78, 64, 98)), (720, (48, 44, 70))):
        waves = [random.uniform(0.002, 0.009, 3), random.uniform(0, 6, 3), random.uniform(14, 40, 3)]
        hills = [(x, base + sum(a * np.sin(f * x + p) for f, p, a in zip(*waves, strict=True))) for x in range(WIDTH)]
        draw.polygon([(0, HEIGHT), *hills, (WIDTH, HEIGHT)], fill=colour)
    return sky.filter(ImageFilter.GaussianBlur(3))


def _park(random: np.random.Generator) -> Image.Image:
    park = _gradient((62, 92, 70), (96, 132, 84), (128, 152, 88))
    for _ in range(90):
        x, y, radius = random.uniform(0, WIDTH), random.uniform(0, HEIGHT * 0.8), random.uniform(18, 62)
        light = Image.new("RGB", park.size, tuple(map(int, random.uniform((120, 150, 70), (245, 240, 170)))))
        disc = Image.new("L", park.size, 0)
        ImageDraw.Draw(disc).ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(random.uniform(25, 90)))
        park = Image.composite(light, park, disc)
    return park.filter(ImageFilter.GaussianBlur(5))


if __name__ == "__main__":
    if sys.argv[1] == "backgrounds":
        backgrounds()
    else:
        ready(Path(sys.argv[1]), parse_seeds(sys.argv[2]))
