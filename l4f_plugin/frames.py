"""Pictures that move or have several pages: how many frames there are, and each of them with its time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from .images import MAX_PIXELS, Source, open_picture

MOVING = ("GIF", "WEBP", "PNG", "AVIF")
MOST_FRAMES = 1000
SHORTEST, USUAL = 20, 100  # milliseconds: browsers show what claims less than the one for as long as the other


@dataclass(frozen=True)
class Timing:
    """How long each frame is shown, in milliseconds, and how often all of them are; 0 is without end."""

    durations: tuple[int, ...]
    loop: int = 0


def count_frames(source: Source) -> int:
    """How many frames or pages the file has; 1 for all but GIF, WebP, APNG, AVIF and TIFF.

    What a camera puts beside its picture (MPO) and the sizes of an icon are no frames. Raises `UserError` as
    `images.load_picture` does.
    """
    if isinstance(source, Image.Image):
        return _frames_of(source)
    with open_picture(source) as picture:
        return _frames_of(picture)


def first_frame_only(source: Source, name: str) -> str | None:
    """The sentence that only the first of several frames is used, None for a file with one. Errors as above."""
    count = count_frames(source)
    return f"{name} has {count} frames or pages, of which only the first is used." if count > 1 else None


def timing_of(source: Source) -> Timing | None:
    """The timing of an animation, None for any other picture and where its frames are too many to be held in memory:
    more than 1000, or more than 64 megapixels in all. Errors as above."""
    if isinstance(source, Image.Image):
        return None
    with open_picture(source) as picture:
        count = _frames_of(picture)
        if picture.format not in MOVING or not 1 < count <= MOST_FRAMES:
            return None
        if count * picture.width * picture.height > MAX_PIXELS:
            return None
        durations = []
        try:
            for number in range(count):
                picture.seek(number)
                picture.load()  # WebP tells the time of a frame once it is decoded
                shown = round(float(picture.info.get("duration") or 0))
                durations.append(shown if shown >= SHORTEST else USUAL)
        except Exception:  # cut short: the first frame is sound, or its reader will say what is wrong
            return None
        return Timing(tuple(durations), int(picture.info.get("loop", 1)))


def frames(source: Source) -> Iterator[Image.Image]:
    """Each frame as it is shown, as a picture of its own. Errors as above."""
    with open_picture(source) as picture:
        for number in range(_frames_of(picture)):
            picture.seek(number)
            yield picture.copy()


def _frames_of(picture: Image.Image) -> int:
    if picture.format not in (*MOVING, "TIFF"):
        return 1
    try:
        return int(getattr(picture, "n_frames", 1))
    except Exception:  # damaged behind the first frame
        return 1
