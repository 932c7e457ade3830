"""Drawn classes with exact masks, to train on and to measure masks against.

    python3 -m tools.drawn_sets avatar --train 40000 --validation 2000 --test 2000
    python3 -m tools.drawn_sets robots --train 5000 --validation 500 --test 500

``avatar`` has one portrait a picture, in the middle. ``robots`` has one to three objects of several sizes, off-centre,
with thin parts and holes. tools/avatar (Node) draws the objects; placement, backgrounds and compositing happen here.
A picture depends on the seed, its split and its number only, so an interrupted run goes on where it stopped. The
splits share neither objects nor background photographs.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from l4f_plugin.arguments import check_integer, check_number
from l4f_plugin.bundles.files import writing
from l4f_plugin.bundles.folders import cache_folder
from l4f_plugin.compositing import to_bytes
from l4f_plugin.datasets.set_card import SHEET_TILES, sheet_file, sheet_tiles
from l4f_plugin.errors import UserError
from tools.backgrounds import draw_background, load_photographs, read_list

OVERSAMPLING = 2  # objects are drawn at twice the resolution and averaged down
CHUNK = 50  # pictures per task of a worker
SPLITS = {"train": 0, "validation": 10_000_000, "test": 20_000_000}  # first seed of each split
RENDERER = Path(__file__).with_name("avatar")

Box = tuple[float, float, float]  # left, top and side of the square of a drawing plane that fills the picture
Object = tuple[str, Box, bool]  # style, box, whether it is mirrored


@dataclass(frozen=True)
class FaceFrame:
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
    "personas": FaceFrame(plane=64, centre=32, eyes=28.5, scale=1.14, eye_height=0.47, weight=0.35),
    "micah": FaceFrame(plane=360, centre=180, eyes=148, scale=1.05, eye_height=0.48, weight=0.25),
    "toon-head": FaceFrame(plane=768, centre=384, eyes=401, scale=1.05, eye_height=0.51, weight=0.40),
}


def place(random: np.random.Generator, frame: FaceFrame, scale: float = 1.0) -> Box:
    """The part of the drawing plane to show: a shift of up to 5 %, `scale` times .9 to 1.1.

    The bottom edge never lies below the plane's, where the drawn body ends.
    """
    side = frame.plane / (frame.scale * scale * random.uniform(0.9, 1.1))
    left = frame.centre - side * (0.5 + random.uniform(-0.05, 0.05))
    top = frame.eyes - side * (frame.eye_height + random.uniform(-0.05, 0.05))
    return left, min(top, frame.plane - side), side


def compose_avatar(random: np.random.Generator, scale: float) -> list[Object]:
    weights = np.array([frame.weight for frame in FRAMES.values()])
    style = list(FRAMES)[random.choice(len(FRAMES), p=weights / weights.sum())]
    box = place(random, FRAMES[style], scale)
    return [(style, box, bool(random.random() < 0.5))]


ROBOT_PLANE = 180
ROBOT_COUNTS = {1: 0.5, 2: 0.3, 3: 0.2}  # how often a picture has so many
ROBOT_SIZES = {1: (0.6, 0.95), 2: (0.4, 0.62), 3: (0.3, 0.45)}  # side of the drawing plane in the picture


def compose_robots(random: np.random.Generator, scale: float) -> list[Object]:
    """One to three robots in a row or a column, later ones before earlier ones where they meet."""
    count = int(random.choice(list(ROBOT_COUNTS), p=list(ROBOT_COUNTS.values())))
    in_column = random.random() < 0.4
    objects = []
    for number in range(count):
        size = random.uniform(*ROBOT_SIZES[count]) * scale
        centre = ((number + 0.5 + random.uniform(-0.2, 0.2)) / count, random.uniform(0.3, 0.7))
        column, row = centre[::-1] if in_column else centre
        side = ROBOT_PLANE / size
        box = (ROBOT_PLANE / 2 - column * side, ROBOT_PLANE / 2 - row * side, side)
        objects.append(("bottts", box, bool(random.random() < 0.5)))
    return objects


@dataclass(frozen=True)
class Kind:
    """A drawn class. `compose(random, scale)` gives the objects of a picture, the one farthest back first."""

    title: str
    styles: tuple[str, ...]
    frames: dict
    compose: Callable[[np.random.Generator, float], list[Object]]


_PORTRAITS = {name: asdict(frame) for name, frame in FRAMES.items()}
_ROBOTS = {str(count): {"weight": ROBOT_COUNTS[count], "sizes": list(ROBOT_SIZES[count])} for count in ROBOT_COUNTS}
KINDS = {
    "avatar": Kind("Labels4Free avatars", tuple(FRAMES), _PORTRAITS, compose_avatar),
    "robots": Kind("Labels4Free robots", ("bottts",), _ROBOTS, compose_robots),
}


@dataclass(frozen=True)
class SetSettings:
    """What a data set is made from. Two runs into one folder must agree on all of it."""

    kind: str
    seed: int
    renderer: str
    background_folders: tuple[str, ...]
    scale: float = 1.0  # of the objects: larger than 1 is nearer
    resolution: int = 128


def close_seams(drawing: np.ndarray) -> np.ndarray:
    """Makes the hairlines opaque along which drawn shapes abut: uint8 [P, P, 4], straight RGBA.

    Two shapes that share an edge each cover half of its pixels, which leaves a quarter of the alpha out. A
    closing (dilation, then erosion, 3x3) fills such lines and leaves straight outlines as they are.
    """
    alpha, result = Image.fromarray(np.ascontiguousarray(drawing[..., 3])), drawing.copy()
    closed = alpha.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))
    result[..., 3] = np.where(drawing[..., 3] >= 0.7 * 255, closed, alpha)
    return result


def composite(drawings: Iterable[np.ndarray], background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts drawn objects before one another, averages them down and puts them before a background.

    drawings: uint8 [k*S, k*S, 4] straight RGBA, the one farthest back first; background: float32 [S, S, 3] in [0, 1].
    Returns the picture uint8 [S, S, 3] and the mask uint8 [S, S]. Colours are weighted by alpha when averaged; all is
    float until the last rounding.
    """
    size = background.shape[0]
    planes = np.zeros((4, 1, 1), np.float32)  # red, green, blue times alpha, and alpha
    for drawing in drawings:
        factor = drawing.shape[0] // size
        if drawing.shape != (size * factor, size * factor, 4) or factor < 1:
            raise ValueError(f"a drawing of {drawing.shape} does not fit a background of {background.shape}")
        front = np.ascontiguousarray(drawing.transpose(2, 0, 1)).astype(np.float32) / 255  # [4, k*S, k*S]
        front[:3] *= front[3]
        planes = front + (1 - front[3]) * planes
    rows = sum(planes[:, start::factor] for start in range(factor))
    mean = sum(rows[:, :, start::factor] for start in range(factor)) / factor**2
    picture = mean[:3].transpose(1, 2, 0) + (1 - mean[3])[..., None] * background
    return to_bytes(picture), to_bytes(mean[3])


class Renderer:
    """A Node process that draws objects on request."""

    def __init__(self, folder: Path, pixels: int):
        self.pixels = pixels
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # A session of its own: Ctrl-C is for the parent.
        self.process = subprocess.Popen(
            ["node", str(folder / "render.mjs"), str(pixels)], start_new_session=True, **pipes
        )

    def draw(self, style: str, seed: str, box: Box) -> np.ndarray:
        """An object as uint8 [P, P, 4], straight RGBA."""
        request = json.dumps({"style": style, "seed": seed, "box": box}) + "\n"
        self.process.stdin.write(request.encode())
        self.process.stdin.flush()
        answer = self.process.stdout.read(self.pixels * self.pixels * 4)
        if len(answer) != self.pixels * self.pixels * 4:
            raise UserError("The renderer stopped; look at what it printed above and start again.")
        return np.frombuffer(answer, dtype=np.uint8).reshape(self.pixels, self.pixels, 4)


def save_png(array: np.ndarray, path: Path) -> None:
    """Writes a PNG under a temporary name first, so that a file under its own name is always whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        Image.fromarray(array).save(temporary, format="PNG", compress_level=2)
        temporary.replace(path)


# One set of these per worker process; a Node process cannot travel between processes.
_worker: dict = {}


def _start_worker(settings: SetSettings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent lets workers finish their chunk
    _worker["settings"] = settings
    _worker["renderer"] = Renderer(Path(settings.renderer), settings.resolution * OVERSAMPLING)
    _worker["photographs"] = {}


def _photographs(split: str) -> list[np.ndarray]:
    loaded, settings = _worker["photographs"], _worker["settings"]
    if split not in loaded:
        entries = [e for e in read_list(Path(settings.renderer) / "backgrounds.json") if e["split"] == split]
        loaded[split] = load_photographs(entries, [Path(folder) for folder in settings.background_folders])
    return loaded[split]


def make_picture(split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask `number` of a split, the same on every run."""
    settings = _worker["settings"]
    random = np.random.default_rng([settings.seed, SPLITS[split], number])
    seed = settings.seed * 100_000_000 + SPLITS[split] + number
    drawings = []
    for place_number, (style, box, mirrored) in enumerate(KINDS[settings.kind].compose(random, settings.scale)):
        own_seed = f"{seed}-{place_number}" if place_number else str(seed)
        drawing = close_seams(_worker["renderer"].draw(style, own_seed, box))
        drawings.append(drawing[:, ::-1] if mirrored else drawing)
    return composite(drawings, draw_background(random, _photographs(split), settings.resolution))


def _make_chunk(folder: Path, split: str, numbers: list[int]) -> int:
    for number in numbers:
        image, mask = make_picture(split, number)
        # The mask goes first: where there is a picture, there is its mask.
        save_png(mask, folder / split / "masks" / f"{number:06d}.png")
        save_png(image, folder / split / "images" / f"{number:06d}.png")
    return len(numbers)


def _missing(folder: Path, split: str, count: int) -> list[int]:
    for part in ("images", "masks"):
        (folder / split / part).mkdir(parents=True, exist_ok=True)
    present = {entry.name for entry in os.scandir(folder / split / "images")}
    return [number for number in range(count) if f"{number:06d}.png" not in present]


def describe(settings: SetSettings, counts: dict[str, int]) -> dict:
    """What dataset.json says: counts, seeds, styles with licence, backgrounds, versions, the command."""
    renderer, kind = Path(settings.renderer), KINDS[settings.kind]
    answer = subprocess.run(
        ["node", str(renderer / "render.mjs"), "licences", *kind.styles], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise UserError(f"The renderer does not start: run `npm install` in {renderer} first.")
    first = {split: settings.seed * 100_000_000 + start for split, start in SPLITS.items()}
    return {
        "schema_version": 1,
        "title": kind.title,
        "resolution": settings.resolution,
        "seed": settings.seed,
        "scale": settings.scale,
        "splits": {
            split: {"pictures": count, "portrait_seeds": [first[split], first[split] + count]}
            for split, count in counts.items()
        },
        "frames": kind.frames,
        **json.loads(answer.stdout),
        "backgrounds": read_list(renderer / "backgrounds.json"),
        "command": f"python3 -m tools.drawn_sets {settings.kind} "
        + " ".join(f"--{split} {count}" for split, count in counts.items())
        + f" --seed {settings.seed} --scale {settings.scale:g} --resolution {settings.resolution}",
    }


def _check_same_recipe(path: Path, description: dict) -> None:
    if not path.exists():
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    earlier.setdefault("scale", 1.0)  # sets of before the option
    for key in ("schema_version", "resolution", "seed", "scale", "frames", "versions", "styles", "backgrounds"):
        if earlier.get(key) != description[key]:
            raise UserError(f"{path.parent} holds a set with another {key}: choose another --out folder.")


def build(folder: Path, counts: dict[str, int], settings: SetSettings, processes: int = 2) -> None:
    """Makes what is missing of a data set in `folder`. Raises UserError."""
    if shutil.which("node") is None:
        raise UserError("Node was not found: install Node 18 or newer to draw the pictures.")
    description = describe(settings, counts)
    _check_same_recipe(folder / "dataset.json", description)
    missing = {split: _missing(folder, split, count) for split, count in counts.items()}
    text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_text(text, encoding="utf-8")
    workers = ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(settings,))
    with workers as pool, tqdm(total=sum(map(len, missing.values())), unit=" pictures") as bar:
        chunks = [
            pool.submit(_make_chunk, folder, split, numbers[start : start + CHUNK])
            for split, numbers in missing.items()
            for start in range(0, len(numbers), CHUNK)
        ]
        try:
            for chunk in as_completed(chunks):
                bar.update(chunk.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def contact_sheet(folder: Path) -> bytes:
    """A PNG file of the first training pictures, each beside its mask."""
    tiles = []
    for path in sorted((folder / "train" / "images").glob("*.png"))[: SHEET_TILES // 2]:
        tiles += sheet_tiles(
            *(np.asarray(Image.open(folder / "train" / part / path.name)) for part in ("images", "masks"))
        )
    return sheet_file(tiles)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tools.drawn_sets", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("kind", choices=KINDS)
    add("--out", type=Path, help="folder to fill (default: datasets/KIND of the cache folder)")
    for split, count in {"train": 40_000, "validation": 2_000, "test": 2_000}.items():
        add(f"--{split}", type=int, default=count, metavar="N", help="pictures of this split (default: %(default)s)")
    add("--seed", type=int, default=0, help="another seed, other pictures (default: 0)")
    add("--scale", type=float, default=1.0, metavar="X", help="size of the objects, 0.3 to 3: above 1 is nearer")
    add("--resolution", type=int, default=128, metavar="N", help="side of the pictures, 32 to 1024 (default: 128)")
    add("--processes", type=int, default=2, metavar="N", help="worker processes (default: 2)")
    add("--renderer", type=Path, default=RENDERER, help="folder of render.mjs")
    text = "folder that holds backgrounds/ and wallpapers/ of the Debian packages (default: as installed)"
    add("--backgrounds", type=Path, action="append", default=[], help=text)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    counts = {split: getattr(options, split) for split in SPLITS}
    out = options.out or cache_folder() / "datasets" / options.kind
    try:
        check_integer("The seed", options.seed, 0, 1 << 62)
        for split, count in counts.items():
            check_integer(f"The number of pictures of the split {split}", count, 0, 1_000_000)
        check_number("The scale", options.scale, 0.3, 3)
        check_integer("The resolution", options.resolution, 32, 1024)
        check_integer("The number of processes", options.processes, 1, 1024)
        folders = tuple(map(str, [*options.backgrounds, cache_folder() / "backgrounds", "/usr/share"]))
        settings = SetSettings(
            options.kind, options.seed, str(options.renderer), folders, options.scale, options.resolution
        )
        build(out, counts, settings, options.processes)
        if counts["train"]:
            (out / "sheet.png").write_bytes(contact_sheet(out))
    except UserError as error:
        print(f"l4f: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nl4f: Stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
