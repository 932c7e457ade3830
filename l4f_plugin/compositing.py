"""Pure array functions on masks and colours: blends, edges, pieces, foreground colour.

Pictures are float32 `[H, W, 3]`, masks (alpha) float32 `[H, W]`, both in [0, 1]; lengths are in pixels.
Nothing here knows PIL, torch or a file, and nothing changes its arguments.
"""

import math

import numpy as np

FRINGE = 3  # pixels: how far the soft rim of a piece of mask reaches beyond its body
SPECK = 1000  # times as large as a speck is the piece that is kept
WIDE = 8.0  # pixels: blurs wider than this are computed at half the size


def to_float(picture: np.ndarray) -> np.ndarray:
    """uint8 0..255 to float32 in [0, 1]; float input is only converted to float32."""
    if picture.dtype == np.uint8:
        return picture.astype(np.float32) / np.float32(255)
    return picture.astype(np.float32, copy=False)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Float in [0, 1] to uint8 0..255, to the nearest step; values outside are clipped, uint8 is kept."""
    if picture.dtype == np.uint8:
        return picture
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def composite(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """alpha * foreground + (1 - alpha) * background, float32 `[H, W, 3]`.

    Exactly the foreground where alpha is 1, exactly the background where it is 0, and never outside the two in between.
    """
    weight = alpha[..., None].astype(np.float32, copy=False)
    blend = weight * foreground + (1 - weight) * background
    return np.clip(blend, np.minimum(foreground, background), np.maximum(foreground, background))


def cutout(foreground: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """RGBA uint8 `[H, W, 4]` with straight (not premultiplied) alpha: colours stay whole where alpha is 0."""
    return np.concatenate([to_bytes(foreground), to_bytes(alpha)[..., None]], axis=2)


def threshold(alpha: np.ndarray, level: float | None) -> np.ndarray:
    """1 where alpha is above `level` (0..1), else 0; `None` leaves the soft mask as it is."""
    return alpha if level is None else (alpha > level).astype(np.float32)


def grow(alpha: np.ndarray, pixels: int) -> np.ndarray:
    """The mask enlarged by a disc of `pixels` radius; a negative number shrinks it.

    Growing takes the largest value within the disc, shrinking the smallest, so a soft edge moves
    without becoming harder. A subject that the frame cuts off stays at the frame when shrunk.
    """
    if pixels == 0:
        return alpha
    radius, extreme = abs(pixels), np.maximum if pixels > 0 else np.minimum
    height = alpha.shape[0]
    row, result = alpha.copy(), alpha.copy()
    reach = 0
    for offset in range(radius, -1, -1):
        # Rows of the disc from the narrowest to the widest; radius * (radius + 1) makes small discs rounder.
        for step in range(reach + 1, math.isqrt(radius * (radius + 1) - offset * offset) + 1):
            extreme(row[:, step:], alpha[:, :-step], out=row[:, step:])
            extreme(row[:, :-step], alpha[:, step:], out=row[:, :-step])
            reach = step
        extreme(result[offset:], row[: max(height - offset, 0)], out=result[offset:])
        extreme(result[: max(height - offset, 0)], row[offset:], out=result[: max(height - offset, 0)])
    return result


def blur(values: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of `[H, W]` or `[H, W, C]`; `radius` is the standard deviation, borders are replicated.

    The result stays within the smallest and largest input value. A radius under a tenth of a pixel
    reaches no neighbour and changes nothing.
    """
    if radius < 0.1:
        return values
    if radius > WIDE and min(values.shape[:2]) > 1:
        # Halving and doubling blur by themselves, with a variance of 1 in all.
        half = blur(_halved(values.astype(np.float32, copy=False)), math.sqrt((radius * radius - 1) / 4))
        return _doubled(half, values.shape)
    reach = math.ceil(3 * radius)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / radius) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    result = values.astype(np.float32, copy=False)
    for axis in (0, 1):
        lines = np.moveaxis(result, axis, 0)
        length = lines.shape[0]
        padded = np.pad(lines, [(reach, reach)] + [(0, 0)] * (lines.ndim - 1), mode="edge")
        total = padded[:length] * kernel[0]
        product = np.empty_like(total)
        for position in range(1, 2 * reach + 1):
            np.multiply(padded[position : position + length], kernel[position], out=product)
            total += product
        result = np.moveaxis(total, 0, axis)
    return np.clip(np.ascontiguousarray(result), values.min(), values.max())


def largest_piece(alpha: np.ndarray, level: float = 0.1) -> tuple[np.ndarray, int]:
    """Only the largest connected piece of the mask, everything else becomes 0; and how many pieces were dropped.

    Pieces are the 8-connected areas above `level`. What is fainter stays only within `FRINGE`
    pixels of the kept piece: that is its own soft rim. A mask with no piece comes back unchanged.
    Specks, of less than a thousandth of the kept piece's area, are dropped and not counted.
    """
    solid = alpha > level
    if not solid.any():
        return alpha, 0
    kept, areas = _largest_area(solid)
    rim = grow(kept.astype(np.float32), FRINGE) > 0
    counted = int(np.count_nonzero(areas * SPECK >= areas.max()))
    return np.where(kept | (rim & ~solid), alpha, np.float32(0)), counted - 1


def mask_box(alpha: np.ndarray, level: float = 0.1) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what is above `level` in a mask, the latter two exclusive; None for nothing."""
    solid = alpha > level
    columns, rows = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None


def _largest_area(solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest 8-connected area of a boolean `[H, W]` that has at least one True, and the areas of all in pixels.

    Works on horizontal runs instead of pixels: runs of adjoining rows that touch get one label.
    """
    height, width = solid.shape
    edges = np.diff(np.pad(solid, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]  # exclusive
    # The runs of the next row that touch a run stand side by side in reading order.
    stride = width + 2
    next_row = (rows + 1) * stride
    first = np.searchsorted(rows * stride + ends, next_row + starts, side="left")
    last = np.searchsorted(rows * stride + starts, next_row + ends, side="right")
    count = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(rows)), count)
    below = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    labels = _smallest_connected(len(rows), above, below)
    areas = np.bincount(labels, weights=ends - starts)
    chosen = labels == areas.argmax()
    steps = np.zeros((height, width + 1), np.int8)
    steps[rows[chosen], starts[chosen]] = 1
    steps[rows[chosen], ends[chosen]] = -1
    return np.cumsum(steps[:, :width], axis=1, dtype=np.int8).astype(bool), areas


def _smallest_connected(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each of `count` nodes the smallest node connected with it; `left`, `right` are the edges."""
    labels = np.arange(count)
    while True:
        smaller = np.minimum(labels[left], labels[right])
        merged = labels.copy()
        np.minimum.at(merged, labels[left], smaller)
        np.minimum.at(merged, labels[right], smaller)
        while not np.array_equal(shorter := merged[merged], merged):
            merged = shorter
        if np.array_equal(merged, labels):
            return labels
        labels = merged


def edit_alpha(
    alpha: np.ndarray, *, level: float | None = None, pixels: int = 0, radius: float = 0.0, keep_largest: bool = False
) -> np.ndarray:
    """The edits a user may ask for, in their fixed order: largest piece, threshold, grow, feather."""
    if keep_largest:
        alpha, _ = largest_piece(alpha)
    return blur(grow(threshold(alpha, level), pixels), radius)


def brushed(alpha: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """The mask with what was painted: float32 `[H, W]` in [-1, 1], above 0 what is added, below 0 what is taken."""
    return np.where(strokes > 0, alpha + strokes * (1 - alpha), alpha * (1 + strokes))


def spread(picture: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Colours `[H, W, 3]` taken from the nearest pixels of high confidence (`[H, W]` in [0, 1]).

    A pyramid of means: where a level holds too little confidence, the next coarser one speaks. Weights are confidence
    ** 12: half-sure pixels count next to nothing, yet a mask that is nowhere sure still has its best pixels.
    """
    weight = confidence.astype(np.float32, copy=False)[..., None] ** 12
    mass = np.concatenate([picture * weight, weight], axis=2)
    levels = [_smoothed(_smoothed(mass))]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halved(levels[-1]))
    result = picture.mean(axis=(0, 1), keepdims=True, dtype=np.float32)
    for level in reversed(levels):
        colour = level[..., :3] / np.maximum(level[..., 3:], 1e-12)
        known = np.clip(level[..., 3:] * 16, 0, 1)  # a sixteenth of a pixel suffices
        if level is levels[-1]:
            known = (level[..., 3:] > 1e-9).astype(np.float32)
        coarser = _doubled(result, level.shape)
        result = coarser + known * (colour - coarser)
    return np.clip(result, 0, 1)


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd last row or column counts twice."""
    height, width = values.shape[:2]
    if height % 2 or width % 2:
        rest = [(0, 0)] * (values.ndim - 2)
        values = np.pad(values, [(0, height % 2), (0, width % 2), *rest], mode="edge")
    return 0.25 * (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2])


def _doubled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Back to the `shape` that was halved, smoothly."""
    return _smoothed(values.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]])


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The filter [1, 2, 1] / 4 along both axes, borders replicated."""
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        padded = np.concatenate([lines[:1], lines, lines[-1:]])
        values = np.moveaxis(0.25 * (padded[:-2] + 2 * lines + padded[2:]), 0, axis)
    return values
