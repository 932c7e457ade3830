"""Pictures taken apart for the student: subject, mask and background, so that they can be put together anew.

They are drawn once by the class itself and kept as files of a few hundred in the run folder, so that a killed run
draws no picture twice.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..bundles.bundle import Bundle
from ..bundles.config import crop_of
from ..bundles.files import make_folder, write_atomically
from ..compositing import to_bytes, to_float
from ..datasets.curation import Curation, measure
from ..errors import UserError
from ..images import cover_fit, load_picture
from ..jobs import Report, unseen
from ..matting import blurred_behind, clean_colours, corrected
from ..networks import Student
from ..photos import coarse_alpha
from ..picture_files import PictureFile
from ..pipeline import Labels4FreePipeline
from .loop import UNWATCHED, Watch

SHARD = 250
BATCH = 10
DRAWING, CUTTING = "Drawing pictures to learn from", "Finding subjects in photographs"  # what progress calls it
# By turns. Beyond 1 pictures grow odd, but show more often what is rare among them, such as long hair: photographs
# are found better than by a student that saw psi 0.7, which is a judgement of looks.
TRUNCATION_PSIS = (1.0, 1.3)

LARGEST_PHOTOGRAPH = 512  # pixels: the longer side at which subjects are found in photographs to learn from
SHARPNESS = 3.0  # what a segmenter's logits are multiplied by where it teaches


def take_apart(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 ``[H, W, 7]``: the subject's own colours, its mask, and the background with the subject painted over.

    ``picture`` uint8 ``[H, W, 3]``, ``alpha`` float32 ``[H, W]`` in [0, 1].
    """
    subject, background = clean_colours(picture, alpha), blurred_behind(picture, alpha, radius=0)
    return np.concatenate([subject, to_bytes(alpha)[..., None], background], axis=2)


def flaws_of(alphas: Iterable[np.ndarray]) -> list[str | None]:
    """Why each mask of a class, float32 ``[H, W]``, is not worth learning from, see ``datasets.curation``; or None."""
    found = [measure(alpha, alpha > 0.5) for alpha in alphas]
    limits = Curation().completed(found)
    return [limits.reason_to_drop(mask) for mask in found]


def sharpened(alpha: np.ndarray) -> np.ndarray:
    """A mask in [0, 1] whose doubts are pushed to either side: its logits times `SHARPNESS`."""
    inside, outside = alpha**SHARPNESS, (1 - alpha) ** SHARPNESS
    return inside / (inside + outside)


class FewMasks(UserError):
    """Too few masks of a class are worth learning from."""


class CutPictures:
    """Pictures in parts as one array, uint8 ``[N, H, W, 7]`` (``take_apart``)."""

    def __init__(self, parts: np.ndarray):
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def batch(self, size: int, random: torch.Generator) -> Tensor:
        """``[size, 7, H, W]`` float32 in [0, 1], drawn with replacement."""
        rows = torch.randint(len(self.parts), (size,), generator=random).numpy()
        return torch.from_numpy(self.parts[rows]).permute(0, 3, 1, 2).float() / 255


def drawn_pictures(
    pipeline: Labels4FreePipeline,
    folder: Path,
    count: int,
    side: int,
    watch: Watch = UNWATCHED,
    teacher: Student | None = None,
) -> CutPictures:
    """Pictures of the seeds 0 to ``count`` - 1, in parts, without those whose masks are flawed.

    Masks are those of a ``teacher`` where one is given, else the class's own. Larger pictures are averaged down to at
    most ``side``. What ``folder`` holds of an earlier call is not drawn again. Each picture is a turn.
    Raises ``Cancelled`` between pictures, and ``FewMasks``.
    """

    def draw(seeds: range) -> Iterator[np.ndarray]:
        psi = TRUNCATION_PSIS[seeds.start // SHARD % len(TRUNCATION_PSIS)]
        return draw_parts(pipeline, seeds, psi, side, teacher)

    shards = _in_shards(folder, "seeds", count, draw, DRAWING, watch)
    return _without_flaws(shards, watch.report, "learn better masks first, for example with: l4f learn-masks --again.")


def photographed_pictures(
    bundle: Bundle,
    files: Sequence[PictureFile],
    folder: Path,
    side: int,
    device: torch.device,
    watch: Watch = UNWATCHED,
) -> CutPictures:
    """Photographs without labels, in parts, by the masks that the bundle's student finds in them.

    The colours of each photograph correct its mask (``matting.follow_colours``), so the next student learns what this
    one could not know. They are cut to the shape of the class's pictures, at most ``side`` high or wide. Everything
    else is as for ``drawn_pictures``.
    """

    def cut(numbers: range) -> Iterator[np.ndarray]:
        return photograph_parts(bundle, files[numbers.start : numbers.stop], side, device)

    shards = _in_shards(folder, "photographs", len(files), cut, CUTTING, watch)
    return _without_flaws(shards, watch.report, "name photographs in which the class finds its object.")


def _in_shards(
    folder: Path, name: str, count: int, make: Callable[[range], Iterator[np.ndarray]], doing: str, watch: Watch
) -> list[np.ndarray]:
    """What ``make`` gives for the numbers 0 to ``count`` - 1, in files of ``folder`` that are not made again."""
    make_folder(folder)
    progress, shards = watch.progress or unseen, []
    for start in range(0, count, SHARD):
        watch.cancel.check()
        numbers = range(start, min(start + SHARD, count))
        path = folder / f"{name}_{start:06d}_{numbers.stop:06d}.npy"
        if not path.exists():
            made, parts = make(numbers), []
            for number in numbers:
                watch.cancel.check()
                with watch.turn():
                    parts.append(next(made))
                progress(number + 1, count, doing)
            write_atomically(path, functools.partial(np.save, arr=np.stack(parts)))
        shards.append(np.load(path, mmap_mode="r"))
        progress(numbers.stop, count, doing)
    return shards


def _without_flaws(shards: list[np.ndarray], report: Report, remedy: str) -> CutPictures:
    count = sum(map(len, shards))
    flaws = flaws_of(to_float(part[..., 3]) for parts in shards for part in parts)
    each = iter(flaws)
    kept = CutPictures(np.concatenate([parts[[next(each) is None for _ in parts]] for parts in shards]))
    left_out = ", ".join(f"{number} {flaw}" for flaw, number in sorted(Counter(filter(None, flaws)).items())) or "none"
    report(f"{len(kept):,} of {count:,} pictures have masks to learn from (left out: {left_out}).")
    if len(kept) < count // 10 or not len(kept):
        raise FewMasks(
            f"Only {len(kept)} of {count} masks of this class are worth learning from (left out: {left_out}); {remedy}"
        )
    return kept


def labelled_pictures(pictures: np.ndarray, masks: np.ndarray) -> CutPictures:
    """Pictures uint8 ``[N, H, W, 3]`` with true masks uint8 ``[N, H, W]``, in parts: for the student's ceiling."""
    pairs = zip(pictures, masks, strict=True)
    return CutPictures(np.stack([take_apart(picture, to_float(mask)) for picture, mask in pairs]))


def draw_parts(
    pipeline: Labels4FreePipeline, seeds: Sequence[int], psi: float, side: int, teacher: Student | None
) -> Iterator[np.ndarray]:
    for sample in pipeline.stream(seeds, truncation_psi=psi, batch_size=BATCH, with_background=False):
        if teacher is None:
            yield _reduced(take_apart(sample.image, sample.required_alpha()), side)
        else:
            picture = _reduced(sample.image, side)
            found = corrected(picture, coarse_alpha(teacher, pipeline.config, picture, pipeline.device))
            yield take_apart(picture, sharpened(found))


def photograph_parts(
    bundle: Bundle, files: Sequence[PictureFile], side: int, device: torch.device
) -> Iterator[np.ndarray]:
    top, bottom, left, right = crop_of(bundle.config)
    step = -(-max(bottom - top, right - left) // side)
    width, height = (right - left) // step, (bottom - top) // step
    for file in files:
        try:
            photograph = Image.fromarray(load_picture(file.source()))
        except UserError:
            yield np.zeros((height, width, 7), np.uint8)  # an empty mask is left out
            continue
        photograph.thumbnail((LARGEST_PHOTOGRAPH, LARGEST_PHOTOGRAPH), Image.Resampling.LANCZOS, reducing_gap=3.0)
        picture = np.asarray(photograph)
        found = sharpened(corrected(picture, coarse_alpha(bundle.student, bundle.config, picture, device)))
        yield take_apart(cover_fit(picture, width, height), to_float(cover_fit(to_bytes(found), width, height)))


def _reduced(parts: np.ndarray, side: int) -> np.ndarray:
    """Means of squares of an array ``[H, W, C]``, until no side is longer than ``side``."""
    step = -(-max(parts.shape[:2]) // side)
    if step == 1:
        return parts
    height, width = (size // step * step for size in parts.shape[:2])
    squares = parts[:height, :width].reshape(height // step, step, width // step, step, -1)
    return squares.mean(axis=(1, 3)).round().astype(np.uint8)
