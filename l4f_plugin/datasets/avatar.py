"""The avatar set: drawn portraits before photographs, with masks that are exact because they are drawn too.

    python3 -m l4f_plugin.datasets.avatar --out DIR --train 40000 --validation 2000 --test 2000

Portraits are drawn by tools/avatar (Node); placement, backgrounds and compositing happen here. Every picture
depends on the seed, its split and its number only, so that an interrupted run goes on where it stopped. The
splits share neither portrait seeds nor background photographs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from l4f_plugin.datasets.avatar_backgrounds import draw_background, load_photographs, read_list
from l4f_plugin.errors import UserError
from l4f_plugin.images import write_png
from l4f_plugin.own_files import sheet_text

RESOLUTION = 128
OVERSAMPLING = 2  # portraits are drawn at twice the resolution and averaged down
CHUNK = 50  # pictures per task of a worker
SPLITS = {"train": 0, "validation": 10_000_000, "test": 20_000_000}  # first portrait seed of each split
RENDERER = Path(__file__).resolve().parents[2] / "tools" / "avatar"


@dataclass(frozen=True)
class Frame:
    """Where a style has its face, in units of its square drawing plane, and how often the style is drawn.

    The scales and eye heights align the styles with one another: faces of like width, eyes on one line.
    """

    plane: float  # side of the drawing plane; bodies end at its bottom edge
    centre: float  # column of the middle of head and shoulders
    eyes: float  # row of the eyes
    scale: float  # side of the plane relative to the side of the picture
    eye_height: float  # row of the eyes in the picture, 0 top, 1 bottom
    weight: float


FRAMES = {
    "personas": Frame(plane=64, centre=32, eyes=28.5, scale=1.14, eye_height=0.47, weight=0.35),
    "micah": Frame(plane=360, centre=180, eyes=148, scale=1.05, eye_height=0.48, weight=0.25),
    "toon-head": Frame(plane=768, centre=384, eyes=401, scale=1.05, eye_height=0.51, weight=0.40),
}


@dataclass(frozen=True)
class Settings:
    """What a data set is made from. Two runs into one folder must agree on all of it."""

    seed: int
    renderer: str
    background_folders: tuple[str, ...]
    scale: float = 1.0  # of the portraits: larger than 1 is nearer


def default_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "labels4free"


def place(random: np.random.Generator, frame: Frame, scale: float = 1.0) -> tuple[float, float, float]:
    """The square (left, top, side) of the drawing plane to show: a shift of up to 5 %, `scale` times .9 to 1.1.

    The bottom edge never lies below the plane's, where the drawn body ends.
    """
    side = frame.plane / (frame.scale * scale * random.uniform(0.9, 1.1))
    left = frame.centre - side * (0.5 + random.uniform(-0.05, 0.05))
    top = frame.eyes - side * (frame.eye_height + random.uniform(-0.05, 0.05))
    return left, min(top, frame.plane - side), side


def close_seams(portrait: np.ndarray) -> np.ndarray:
    """Makes the hairlines opaque along which drawn shapes abut: uint8 [P, P, 4], straight RGBA.

    Two shapes that share an edge each cover half of its pixels, which leaves a quarter of the alpha out. A
    closing (dilation, then erosion, 3x3) fills such lines and leaves straight outlines as they are.
    """
    alpha = np.ascontiguousarray(portrait[..., 3])
    closed = alpha
    for extreme in (np.maximum, np.minimum):
        padded = np.pad(closed, 1, mode="edge")
        rows = extreme(extreme(padded[:-2], padded[1:-1]), padded[2:])
        closed = extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    result = portrait.copy()
    result[..., 3] = np.where(alpha >= 0.7 * 255, closed, alpha)
    return result


def composite_portrait(
    portrait: np.ndarray, background: np.ndarray, flip: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Averages a drawn portrait down and puts it before a background.

    portrait: uint8 [k*S, k*S, 4] straight RGBA; background: float32 [S, S, 3] in [0, 1].
    Returns the picture uint8 [S, S, 3] and the mask uint8 [S, S]: alpha * foreground + (1 - alpha) *
    background.
    Colours are weighted by alpha when averaged; all is float until the last rounding.
    """
    size = background.shape[0]
    factor = portrait.shape[0] // size
    if portrait.shape != (size * factor, size * factor, 4) or factor < 1:
        raise ValueError(f"a portrait of {portrait.shape} does not fit a background of {background.shape}")
    portrait = portrait[:, ::-1] if flip else portrait
    planes = np.ascontiguousarray(portrait.transpose(2, 0, 1)).astype(np.float32) / 255  # [4, k*S, k*S]
    planes[:3] *= planes[3]
    rows = sum(planes[:, start::factor] for start in range(factor))
    mean = sum(rows[:, :, start::factor] for start in range(factor)) / factor**2
    picture = mean[:3].transpose(1, 2, 0) + (1 - mean[3])[..., None] * background
    return to_bytes(picture), to_bytes(mean[3])


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


class Renderer:
    """A Node process that draws portraits on request."""

    def __init__(self, folder: Path, pixels: int):
        self.pixels = pixels
        self.process = subprocess.Popen(
            ["node", str(folder / "render.mjs"), str(pixels)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent
        )

    def draw(self, style: str, seed: int, box: tuple[float, float, float]) -> np.ndarray:
        """A portrait as uint8 [P, P, 4], straight RGBA."""
        request = json.dumps({"style": style, "seed": str(seed), "box": box}) + "\n"
        self.process.stdin.write(request.encode())
        self.process.stdin.flush()
        answer = self.process.stdout.read(self.pixels * self.pixels * 4)
        if len(answer) != self.pixels * self.pixels * 4:
            raise UserError("The portrait renderer stopped; look at what it printed above and start again.")
        return np.frombuffer(answer, dtype=np.uint8).reshape(self.pixels, self.pixels, 4)


def save_png(array: np.ndarray, path: Path) -> None:
    """Writes a PNG under a temporary name first, so that a file under its own name is always whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        Image.fromarray(array).save(temporary, format="PNG", compress_level=2)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        reason = f"{path} could not be written ({error.strerror}); free some space and start again."
        raise UserError(reason) from error


# One set of these per worker process; a Node process cannot travel between processes.
_worker: dict = {}


def _start_worker(settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent lets workers finish their chunk
    _worker["settings"] = settings
    _worker["renderer"] = Renderer(Path(settings.renderer), RESOLUTION * OVERSAMPLING)
    _worker["photographs"] = {}


def _photographs(split: str) -> list[np.ndarray]:
    loaded = _worker["photographs"]
    if split not in loaded:
        settings = _worker["settings"]
        entries = [e for e in read_list(Path(settings.renderer) / "backgrounds.json") if e["split"] == split]
        loaded[split] = load_photographs(entries, [Path(folder) for folder in settings.background_folders])
    return loaded[split]


def make_picture(split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask `number` of a split, the same on every run."""
    random = np.random.default_rng([_worker["settings"].seed, SPLITS[split], number])
    names = list(FRAMES)
    weights = np.array([FRAMES[name].weight for name in names])
    style = names[random.choice(len(names), p=weights / weights.sum())]
    box = place(random, FRAMES[style], _worker["settings"].scale)
    flip = bool(random.random() < 0.5)
    seed = _worker["settings"].seed * 100_000_000 + SPLITS[split] + number
    portrait = close_seams(_worker["renderer"].draw(style, seed, box))
    return composite_portrait(portrait, draw_background(random, _photographs(split), RESOLUTION), flip)


def _make_chunk(folder: Path, split: str, numbers: list[int]) -> int:
    for number in numbers:
        image, mask = make_picture(split, number)
        # The mask goes first: where there is a picture, there is its mask.
        save_png(mask, folder / split / "masks" / f"{number:06d}.png")
        save_png(image, folder / split / "images" / f"{number:06d}.png")
    return len(numbers)


def _missing(folder: Path, split: str, count: int) -> list[int]:
    for kind in ("images", "masks"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    present = {entry.name for entry in os.scandir(folder / split / "images")}
    return [number for number in range(count) if f"{number:06d}.png" not in present]


def describe(settings: Settings, counts: dict[str, int]) -> dict:
    """What dataset.json says: counts, seeds, styles with licence, backgrounds, versions, the command."""
    renderer = Path(settings.renderer)
    answer = subprocess.run(
        ["node", str(renderer / "render.mjs"), "licences"], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise UserError(f"The portrait renderer does not start: run `npm install` in {renderer} first.")
    first = {split: settings.seed * 100_000_000 + start for split, start in SPLITS.items()}
    return {
        "schema_version": 1,
        "title": "Labels4Free avatars",
        "resolution": RESOLUTION,
        "seed": settings.seed,
        "scale": settings.scale,
        "splits": {
            split: {"pictures": count, "portrait_seeds": [first[split], first[split] + count]}
            for split, count in counts.items()
        },
        "frames": {name: asdict(frame) for name, frame in FRAMES.items()},
        **json.loads(answer.stdout),
        "backgrounds": read_list(renderer / "backgrounds.json"),
        "command": "python3 -m l4f_plugin.datasets.avatar --out DIR "
        + " ".join(f"--{split} {count}" for split, count in counts.items())
        + f" --seed {settings.seed} --scale {settings.scale:g}",
    }


def _check_same_recipe(path: Path, description: dict) -> None:
    if not path.exists():
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    earlier.setdefault("scale", 1.0)  # sets of before the option
    for key in ("schema_version", "resolution", "seed", "scale", "frames", "versions", "styles", "backgrounds"):
        if earlier.get(key) != description[key]:
            raise UserError(f"{path.parent} holds a set with another {key}: choose another --out folder.")


def build(folder: Path, counts: dict[str, int], settings: Settings, processes: int = 2) -> None:
    """Makes what is missing of a data set in `folder`. Raises UserError."""
    if shutil.which("node") is None:
        raise UserError("Node was not found: install Node 18 or newer to draw the avatar portraits.")
    description = describe(settings, counts)
    _check_same_recipe(folder / "dataset.json", description)
    missing = {split: _missing(folder, split, count) for split, count in counts.items()}
    text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_text(text, encoding="utf-8")
    total, done, started = sum(map(len, missing.values())), 0, time.monotonic()
    with ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(settings,)) as pool:
        chunks = [
            pool.submit(_make_chunk, folder, split, numbers[start : start + CHUNK])
            for split, numbers in missing.items()
            for start in range(0, len(numbers), CHUNK)
        ]
        try:
            for chunk in as_completed(chunks):
                done += chunk.result()
                rate = done / (time.monotonic() - started)
                line = f"\r{done}/{total} pictures, {rate:.0f} a second, {(total - done) / rate:.0f} s left "
                print(line, end="", file=sys.stderr)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(file=sys.stderr)


def contact_sheet(folder: Path, split: str = "train", rows: int = 8, columns: int = 8) -> Image.Image:
    """The first pictures of a split, each beside its mask."""
    size = RESOLUTION
    sheet = Image.new("RGB", (columns * 2 * size, rows * size))
    for place_number, path in enumerate(sorted((folder / split / "images").glob("*.png"))[: rows * columns]):
        row, column = divmod(place_number, columns)
        sheet.paste(Image.open(path), (column * 2 * size, row * size))
        sheet.paste(Image.open(folder / split / "masks" / path.name), (column * 2 * size + size, row * size))
    return sheet


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m l4f_plugin.datasets.avatar", description=__doc__.split("\n")[0])
    out = default_folder() / "datasets" / "avatar"
    parser.add_argument("--out", type=Path, default=out, help="folder to fill (default: %(default)s)")
    parser.add_argument("--train", type=int, default=40_000, metavar="N", help="training pictures")
    parser.add_argument("--validation", type=int, default=2_000, metavar="N", help="validation pictures")
    parser.add_argument("--test", type=int, default=2_000, metavar="N", help="test pictures")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pictures (default: 0)")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="X",
        help="size of the portraits: 1.3 is nearer, 0.55 farther (default: 1)",
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="worker processes (default: 2)")
    parser.add_argument("--renderer", type=Path, default=RENDERER, help="folder of render.mjs")
    parser.add_argument(
        "--backgrounds",
        type=Path,
        action="append",
        default=[],
        help="folder that holds backgrounds/ and wallpapers/ of the Debian packages (default: as installed)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    counts = {split: getattr(options, split) for split in SPLITS}
    try:
        if options.seed < 0 or min(counts.values()) < 0 or max(counts.values()) > 1_000_000:
            raise UserError("Give a seed of 0 or more and at most 1,000,000 pictures a split.")
        if not 0.3 <= options.scale <= 2:
            raise UserError("Give a scale from 0.3 to 2.")
        if options.processes < 1:
            raise UserError("Give at least one process.")
        folders = [*options.backgrounds, default_folder() / "backgrounds", Path("/usr/share")]
        settings = Settings(options.seed, str(options.renderer), tuple(map(str, folders)), options.scale)
        build(options.out, counts, settings, options.processes)
        write_png(options.out / "sheet.png", contact_sheet(options.out), sheet_text("pictures of a set"))
    except UserError as error:
        print(f"l4f: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nl4f: Stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
