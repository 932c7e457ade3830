"""A look at a folder of pictures before a training: what can be used, of which shape, and what is there twice."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..bundles.fields import REPOSITORY_ID
from ..errors import UserError
from ..images import load_picture, sheet_of
from ..jobs import NEVER, CancelToken, Progress, unseen
from ..picture_files import PictureFile, find_pictures
from .pictures import Frame, decode, letterbox

LOOKED_AT = 5_000  # of more, as many are looked at, evenly chosen
FEW = 1_000  # pictures, below which a discriminator soon knows them by heart
TEACHING = 150  # pictures, from which a segmenter learns more than from drawn ones: measured on garments
THUMBNAIL = 16  # pixels a side, by which pictures are compared
ALIKE_BITS = 10  # of 256, that two thumbnails of one picture may differ in ...
ALIKE_COLOURS = 6.0  # ... and of 255, their colours in the mean
# Of 800 drawn portraits: .13 as they are, .01 as crops of other places and sizes; of 800 drawn robots: .07 and .01; of
# 42 photographs of clothes: .08 and .02.
ALIGNED, TELLING = 0.03, 20  # the least correlation of pictures alike in place, and of how many it tells anything
NEARLY_SQUARE = 1.15  # so little is cut off then that nobody minds
FITS = ("crop", "letterbox", "squash")
SHOWN, SHEET_COLUMNS, TILE = 24, 6, 96  # pictures on a contact sheet; pixels a side of each


@dataclass(frozen=True)
class Survey:
    """What a folder holds for a training."""

    usable: int  # pictures that were found
    looked_at: int  # of them
    unreadable: int  # of those
    twins: int  # of those: nearly the same as an earlier one
    sides: tuple[int, int, int]  # the smallest, median and largest short side in pixels
    aspects: tuple[float, float, float]  # width / height of the tenth, the middle and the ninetieth of a hundred
    passed_over: dict[str, int]  # other files, by their kind
    alignment: float | None = None  # how far outlines lie in the same places, see `alignment_of`

    @property
    def few(self) -> bool:
        """Whether only augmentation keeps the discriminator from learning them by heart."""
        return self.usable - self.twins < FEW

    @property
    def teaches(self) -> bool:
        """Whether a segmenter learns from them what drawn pictures do not show."""
        return self.usable - self.twins >= TEACHING

    @property
    def fit(self) -> str:
        """How they best become squares: letter-boxed where all have one shape that is not square, else cropped."""
        low, middle, high = self.aspects
        one_shape = high <= low * NEARLY_SQUARE
        square = 1 / NEARLY_SQUARE <= middle <= NEARLY_SQUARE
        return "letterbox" if one_shape and not square else "crop"

    @property
    def resolution(self) -> int:
        """The largest power of two from 32 to 256 that most pictures have the pixels for."""
        return max((size for size in (32, 64, 128, 256) if size <= self.sides[1]), default=32)

    def in_words(self) -> list[str]:
        """What a person wants to know before the plan, sentence by sentence."""
        words = [f"{self.usable:,} picture{'' if self.usable == 1 else 's'} can be used."]
        if self.looked_at < self.usable:
            words.append(f"{self.looked_at:,} of them, evenly chosen, were looked at.")
        out = dict(self.passed_over) | ({"unreadable": self.unreadable} if self.unreadable else {})
        if out:
            words.append(f"Left out: {', '.join(f'{kind} ({number:,})' for kind, number in sorted(out.items()))}.")
        low, middle, high = self.aspects
        least, median, most = self.sides
        span = f"{least:,} to {most:,} pixels, {median:,} in the middle" if least < most else f"{most:,} pixels"
        words.append(
            f"Their short side has {span}; "
            f"width to height is {middle:.2f}" + (f", mostly {low:.2f} to {high:.2f}." if high > low * 1.02 else ".")
        )
        if self.fit == "letterbox":
            words.append("They all have one shape: letter-box keeps the whole of them, between black bars.")
        elif high > low * NEARLY_SQUARE:
            words.append("Their shapes differ: crop takes the middle square of each.")
        if self.alignment is not None:
            how = "lie alike in the pictures" if self.alignment >= ALIGNED else "lie elsewhere in each picture"
            remedy = "" if self.alignment >= ALIGNED else "; cut them out alike first, or expect blurred shapes"
            words.append(f"Their outlines {how} (mean correlation {self.alignment:.2f}, from {ALIGNED:g} on){remedy}.")
        if self.twins:
            words.append(f"Nearly the same as another, so that they add nothing: {self.twins:,}.")
        if self.few:
            words.append(
                f"That is fewer than {FEW:,} different pictures: augmentation is turned on, training takes longer, and "
                "what is drawn varies less. A class of similar pictures to start from helps most."
            )
        return words


def place_of(named: str | Path, progress: Progress = unseen, cancel: CancelToken = NEVER) -> Path:
    """The folder or archive that is named; a data set of the Hub, OWNER/NAME, where nothing here is called so.

    Raises ``Cancelled``, and ``UserError`` where the Hub has none.
    """
    place = Path(named).expanduser()
    if place.exists() or not REPOSITORY_ID.fullmatch(str(named)):
        return place.absolute()
    from ..hub.data_sets import fetch_pictures

    return fetch_pictures(str(named), progress, cancel)


def survey(folder: Path, progress: Progress = unseen, cancel: CancelToken = NEVER) -> Survey:
    """Looks at the pictures of a folder or an archive. Raises ``Cancelled``, ``UserError`` where none can be used."""
    found = find_pictures(folder)
    chosen = evenly(found.pictures, LOOKED_AT)
    shapes, thumbnails = [], []
    with ThreadPoolExecutor(4) as workers:
        for number, looked in enumerate(workers.map(_look, chosen), 1):
            cancel.check()
            if looked is not None:
                shapes.append(looked[0])
                thumbnails.append(looked[1])
            progress(number, len(chosen), "looking at the pictures")
    unreadable = len(chosen) - len(shapes)
    if not shapes:
        told = found.in_words(unreadable).partition("; ")[2]
        raise UserError(f"No file in {folder} could be used as a picture ({told}); name another one.")
    sizes = np.array(shapes)
    short, aspects = sizes.min(axis=1), sizes[:, 0] / sizes[:, 1]
    looks = np.stack(thumbnails)
    return Survey(
        len(found) - unreadable,
        len(chosen),
        unreadable,
        count_twins(looks),
        (int(short.min()), int(np.median(short)), int(short.max())),
        tuple(float(np.quantile(aspects, share)) for share in (0.1, 0.5, 0.9)),
        dict(found.passed_over),
        alignment_of(looks) if len(looks) >= TELLING else None,
    )


def alignment_of(thumbnails: np.ndarray) -> float:
    """The mean correlation of two pictures' outlines: near 0 where objects lie elsewhere in each, at most 1.

    ``thumbnails`` are uint8 ``[N, 16, 16, 3]``; an outline is how much neighbouring pixels differ in brightness.
    """
    grey = thumbnails.astype(np.float32).mean(axis=3)
    edges = np.abs(np.diff(grey, axis=1))[:, :, :-1] + np.abs(np.diff(grey, axis=2))[:, :-1]
    edges = edges.reshape(len(edges), -1)
    edges -= edges.mean(axis=1, keepdims=True)
    edges /= np.maximum(np.linalg.norm(edges, axis=1, keepdims=True), 1e-6)
    count = len(edges)
    return float((np.square(edges.sum(axis=0)).sum() - count) / (count * (count - 1)))


def count_twins(thumbnails: np.ndarray) -> int:
    """How many pictures look nearly as an earlier one, by an average hash and their colours.

    ``thumbnails`` are uint8 ``[N, 16, 16, 3]``.
    """
    grey = thumbnails.astype(np.float32).mean(axis=3).reshape(len(thumbnails), -1)
    signs = np.where(grey > grey.mean(axis=1, keepdims=True), 1, -1).astype(np.float32)
    colours = thumbnails.reshape(len(thumbnails), -1).astype(np.int16)
    twins = 0
    for number in range(1, len(signs)):
        differing = (signs.shape[1] - signs[:number] @ signs[number]) / 2
        near = np.flatnonzero(differing <= ALIKE_BITS)
        if len(near):
            twins += bool((np.abs(colours[near] - colours[number]).mean(axis=1) <= ALIKE_COLOURS).any())
    return twins


def evenly(pictures: list[PictureFile], most: int) -> list[PictureFile]:
    """At most ``most`` of them, from the first to the last."""
    if len(pictures) <= most:
        return pictures
    return [pictures[index] for index in np.linspace(0, len(pictures) - 1, most).round().astype(int)]


def _look(file: PictureFile) -> tuple[tuple[int, int], np.ndarray] | None:
    """Width and height, and a thumbnail; None for what cannot be read."""
    try:
        picture = Image.fromarray(load_picture(file.source()))
    except UserError:
        return None
    return picture.size, np.asarray(picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def contact_sheet(folder: Path, fit: str, aspect: float) -> Image.Image:
    """Some pictures of a folder as a training at that ``fit`` sees them; white for what cannot be read."""
    whole = (0, TILE, 0, TILE)
    frame = Frame(TILE, (letterbox(TILE, aspect) or whole) if fit == "letterbox" else whole, fit == "squash")
    tiles = []
    for file in evenly(find_pictures(folder).pictures, SHOWN):
        picture = decode(file, frame)
        tiles.append(Image.new("RGB", (TILE, TILE), "white") if picture is None else Image.fromarray(picture))
    return sheet_of(tiles, SHEET_COLUMNS)
