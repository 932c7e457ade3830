"""A subject that turns into others: a way through the style codes of several seeds, drawn frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .arguments import check_integer, check_seeds
from .errors import UserError
from .jobs import CancelToken, Progress
from .provenance import WPlus, own_infotext

if TYPE_CHECKING:
    from .pipeline import Labels4FreePipeline

INTERPOLATIONS = ("linear", "spherical")
MOST_SEEDS = 64


def check_motion(seeds: Sequence[int], frames: int, interpolation: str) -> None:
    """Raises `UserError` for fewer than two seeds, fewer frames than seeds, and an unknown interpolation."""
    check_integer("The number of seeds", len(check_seeds(seeds)), 2, MOST_SEEDS)
    if frames < len(seeds):
        raise UserError(f"{frames} frames are too few for {len(seeds)} seeds; ask for more frames.")
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"The interpolation must be linear or spherical, not {interpolation!s:.40}.")


def draw_motion(
    pipeline: Labels4FreePipeline,
    seeds: Sequence[int],
    frames: int,
    *,
    interpolation: str = "linear",
    loop: bool = False,
    truncation_psi: float | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Image.Image]:
    """The cut-outs on the way from seed to seed, RGBA with straight alpha; with `loop` back to the first one.

    Only the style changes: the fine noise is that of the first seed throughout. The way slows down at each seed, so
    that neither seeds nor the end of a loop jerk. Raises `UserError` for arguments out of bounds and a class without
    masks; `Cancelled`.
    """
    check_motion(seeds, frames, interpolation)
    cancel = cancel or CancelToken()
    keys = [
        pipeline.generate([seed], truncation_psi, with_background=False, cancel=cancel)[0].w_plus.codes
        for seed in seeds
    ]
    centre = pipeline.bundle.generator.latent_avg.float().cpu().numpy()
    for number, codes in enumerate(interpolate(np.stack(keys), frames, interpolation, loop, centre)):
        frame = pipeline.segment(WPlus(codes, seeds[0]), cancel=cancel).cutout()
        if progress:
            progress(number + 1, frames, f"{number + 1} of {frames} frames")
        yield frame


def motion_infotext(class_name: str, seeds: Sequence[int]) -> str:
    """What belongs into the file of a motion."""
    return own_infotext(class_name, {"Class": class_name, "Seeds": " ".join(map(str, seeds))})


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
