"""A subject that turns into others: a way through the style codes of several subjects, drawn frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .arguments import check_integer
from .errors import UserError
from .jobs import NEVER, CancelToken, Progress, unseen
from .provenance import WPlus, own_infotext

if TYPE_CHECKING:
    from .pipeline import Labels4FreePipeline

INTERPOLATIONS = ("linear", "spherical")
MOST_SUBJECTS = 64
SMALLEST_SIDE, LARGEST_SIDE = 16, 2048
BATCH = 4  # frames drawn at once


def check_motion(
    subjects: int, frames: int, interpolation: str, own: tuple[int, int] = (1, 1), side: int | None = None
) -> tuple[int, int]:
    """The size of the frames whose longer side is `side`, by default their `own` (width, height).

    Raises `UserError` for fewer than two subjects, fewer frames than subjects, a side out of bounds and an unknown
    interpolation.
    """
    check_integer("The number of subjects", subjects, 2, MOST_SUBJECTS)
    if frames < subjects:
        raise UserError(f"{frames} frames are too few for {subjects} subjects; ask for more frames.")
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"The interpolation must be linear or spherical, not {interpolation!s:.40}.")
    if side is None:
        return own
    check_integer("The size of the frames", side, SMALLEST_SIDE, LARGEST_SIDE)
    return max(1, round(own[0] * side / max(own))), max(1, round(own[1] * side / max(own)))


def draw_motion(
    pipeline: Labels4FreePipeline,
    subjects: Sequence[WPlus],
    frames: int,
    *,
    interpolation: str = "linear",
    loop: bool = False,
    side: int | None = None,
    progress: Progress = unseen,
    cancel: CancelToken = NEVER,
) -> Iterator[Image.Image]:
    """The cut-outs on the way from subject to subject, RGBA with straight alpha; with `loop` back to the first one.

    Only the style changes: the fine noise is that of the first subject throughout. The way slows down at each subject,
    so that neither they nor the end of a loop jerk. `side` is the longer side of the frames in pixels, by default that
    of the class. Raises `UserError` for arguments out of bounds and a class without masks; `Cancelled`.
    """
    own, keys = pipeline.picture_size, np.stack([subject.codes for subject in subjects])
    size = check_motion(len(subjects), frames, interpolation, own, side)
    centre = pipeline.bundle.generator.latent_avg.float().cpu().numpy()
    way = interpolate(keys, frames, interpolation, loop, centre)
    done = 0
    while batch := [WPlus(codes, subjects[0].noise_seed) for codes in islice(way, BATCH)]:
        for subject in pipeline.draw(batch, steady=True, cancel=cancel):
            frame, done = subject.cutout(), done + 1
            if size != own:  # premultiplied, so that no colour of what is hidden shines through
                frame = frame.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
            progress(done, frames, f"{done} of {frames} frames")
            yield frame


def motion_infotext(class_name: str, subjects: Sequence[WPlus | int]) -> str:
    """What belongs into the file of a motion between seeds, or subjects, which it names by their digests."""
    seeds = all(isinstance(subject, int) for subject in subjects)
    names = [str(subject) if isinstance(subject, int) else subject.digest for subject in subjects]
    return own_infotext(class_name, {"Class": class_name, "Seeds" if seeds else "Subjects": " ".join(names)})


def interpolate(
    keys: np.ndarray, frames: int, interpolation: str, loop: bool, centre: np.ndarray
) -> Iterator[np.ndarray]:
    """Style codes `[num_styles, style_dim]` for each frame through the `keys` `[K, num_styles, style_dim]`.

    Without `loop` the first frame is the first key and the last frame the last one; with it the frame after the last
    would be the first. "spherical" turns around `centre` `[style_dim]`, the mean style, at a steady pace, and so keeps
    between the lengths of its keys, where "linear" passes nearer to the mean.
    """
    count = len(keys)
    stretches = count if loop else count - 1
    for number in range(frames):
        place = number * stretches / (frames if loop else frames - 1)
        start = min(int(place), stretches - 1)
        share = np.float32((place - start) ** 2 * (3 - 2 * (place - start)))  # slow at both ends
        first, second = keys[start], keys[(start + 1) % count]
        if interpolation == "spherical":
            yield centre + _turned(first - centre, second - centre, share)
        else:
            yield first + share * (second - first)


def _turned(first: np.ndarray, second: np.ndarray, share: np.float32) -> np.ndarray:
    """From one vector to another for each row: directions turn, lengths change evenly."""
    lengths = [np.linalg.norm(each, axis=-1, keepdims=True) for each in (first, second)]
    units = [each / np.maximum(length, 1e-12) for each, length in zip((first, second), lengths, strict=True)]
    angle = np.arccos(np.clip((units[0] * units[1]).sum(axis=-1, keepdims=True), -1, 1))
    sine = np.sin(angle)
    turning = sine > 1e-4  # the same or opposite directions have no arc of their own
    safe = np.where(turning, sine, 1)
    arc = (np.sin((1 - share) * angle) * units[0] + np.sin(share * angle) * units[1]) / safe
    length = lengths[0] + share * (lengths[1] - lengths[0])
    return np.where(turning, arc * length, first + share * (second - first)).astype(np.float32)
