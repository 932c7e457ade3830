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


def has_more_frames(source: Source) -> bool:
    """Whether the file has more than one frame or page: GIF, WebP, APNG, AVIF or TIFF.

    What a camera puts beside its picture (MPO) and the sizes of an icon are no frames. Raises `UserError` as
    `images.load_picture` does.
    """
    if isinstance(source, Image.Image):
        return False
    with open_picture(source) as picture:
        return _seek(picture, 1)


def first_frame_only(source: Source, name: str) -> str | None:
    """The sentence that only the first of several frames is used, None for a file with one. Errors as above."""
    return f"{name} has several frames or pages, of which only the first is used." if has_more_frames(source) else None


def timing_of(source: Source) -> Timing | None:
    """The timing of an animation, None for any other picture and where its frames are too many to be held in memory:
    more than 1000, or more than 64 megapixels in all. Errors as above."""
    if isinstance(source, Image.Image):
        return None
    with open_picture(source) as picture:
        if picture.format not in MOVING or not _seek(picture, 1):
            return None
        # Looked at one by one, as some formats tell their number only after all of them.
        most = min(MOST_FRAMES, MAX_PIXELS // (picture.width * picture.height))
        durations: list[int] = []
        try:
            while _seek(picture, len(durations)):
                if len(durations) == most:
                    return None
                picture.load()  # WebP tells the time of a frame once it is decoded
                shown = round(float(picture.info.get("duration") or 0))
                durations.append(shown if shown >= SHORTEST else USUAL)
        except Exception:  # damaged: the first frame is sound, or its reader will say what is wrong
            return None
        return Timing(tuple(durations), int(picture.info.get("loop", 1)))


def frames(source: Source, count: int) -> Iterator[Image.Image]:
    """The first `count` frames as they are shown, each as a picture of its own. Errors as above."""
    with open_picture(source) as picture:
        for number in range(count):
            picture.seek(number)
            yield picture.copy()


def _seek(picture: Image.Image, number: int) -> bool:
    """Goes to that frame; False where there is none, or it cannot be found."""
    if picture.format not in (*MOVING, "TIFF"):
        return number == 0
    try:
        picture.seek(number)
        return True
    except Exception:  # EOFError at the end, others for damage
        return False
