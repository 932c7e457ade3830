"""From a coarse mask to one that follows the edges of a large photograph, and colours freed from its background.

Arrays and PIL, no torch. Pictures are uint8 `[H, W, 3]` or float32 in [0, 1], masks float32 `[H, W]` in [0, 1]. What
has the size of the photograph is computed in strips, so that memory stays near that of the picture itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from .compositing import blur, composite, grow, spread, to_bytes, to_float

GUIDE_SIDE = 768  # pixels: the longer side at which the edges are fitted
EXACT_SIDE = 1024  # pixels: the longer side up to which colours and blurs are computed at full size
COLOUR_SIDE = 512  # pixels: the longer side at which the colours of larger pictures are spread
CONFIDENT = 0.98  # alpha from which a pixel's colour is taken to be the subject's alone
COLOUR_MODEL_SIDE = 192  # pixels: the longer side at which colours are learned
COLOUR_LEVELS = 16  # a channel
COLOUR_ROUNDS = 5
NEAR_LEVELS = np.linalg.matrix_power(  # [1, 2, 1] / 4, twice: near colours are taken for the same by degrees
    sum(np.eye(COLOUR_LEVELS)[np.clip(np.arange(COLOUR_LEVELS) + step, 0, COLOUR_LEVELS - 1)] for step in (-1, 0, 0, 1))
    / 4,
    2,
)
SURELY_SUBJECT = 0.9  # less is a hole in a mask, where it is enclosed and the coarse mask says nothing of it
EVIDENCE, LARGEST_EVIDENCE = 2.0, 6.0  # weight of a colour's log odds, and their limit
SUREST, SUREST_AROUND = 0.05, 0.1  # a coarse mask counts as at most so sure at a pixel, and around it
AROUND = 0.1  # of the longer side
EDGE_REACH = 4.0  # pixels of the coarse mask within which its edge may move
SMOOTHNESS = 3e-4  # of the fit, in squared colour units: larger keeps closer to the coarse mask
HAZE = 0.1  # what the fit leaves of the background in the subject and the other way round
SURE, CONTRAST = 0.02, 0.1  # of an edge that is fitted to colours: in alpha, and in squared colour units
STEEPEST = 4.0  # times as steep as before an edge is where it is enlarged
SHADOW_SIDE = 320  # pixels: the longer side at which shadows are looked for
PLAIN = 0.06  # of a surface: how far, in logarithms, its light usually is from a smooth one
STRIP_PIXELS = 1 << 20


def refine(picture: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The coarse mask float32 `[h, w]` at the size of the picture uint8 `[H, W, 3]`, its edge moved to the picture's.

    A guided filter (He, Sun and Tang 2013), its coefficients fitted to at most `GUIDE_SIDE` pixels (He and Sun 2015):
    within each window the mask is taken to be an affine function of the colour, which it then follows pixel by pixel.
    Where the coarse mask is sure all around, it is kept.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, GUIDE_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    guide = to_float(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2.0)))
    mask = _resized(coarse, size)
    pixel = max(size[0] / coarse.shape[1], size[1] / coarse.shape[0])  # of the coarse mask, in the guide's
    radius = max(1, round(EDGE_REACH * pixel))
    coefficients = GuidedFilter(guide, radius, SMOOTHNESS).coefficients(mask)
    # Sure within reach of the windows: there the affine function would only bring noise into the mask.
    inside, outside = _surely(mask, radius), _surely(1 - mask, radius)
    layers = [*coefficients, inside, outside]
    refined = np.empty((height, width), np.float32)
    for rows, box in _strips(height, width, size):
        red, green, blue, offset, sure, none = (
            _resized(layer, (width, rows.stop - rows.start), box) for layer in layers
        )
        colours = to_float(picture[rows])
        strip = red * colours[..., 0] + green * colours[..., 1] + blue * colours[..., 2] + offset
        strip = np.clip((strip - HAZE) / (1 - 2 * HAZE), 0, 1)
        refined[rows] = (strip * (1 - sure) + sure) * (1 - none)
    return np.clip(refined, 0, 1, out=refined)


def corrected(picture: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The coarse mask float32 `[h, w]` at the size of its picture uint8 `[H, W, 3]`, its edge where colours change."""
    return refine(picture, follow_colours(picture, coarse))


def follow_colours(picture: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The coarse mask float32 `[h, w]` corrected by the colours of the picture uint8 `[H, W, 3]`: float32, at most
    `COLOUR_MODEL_SIDE` pixels on the longer side.

    As in GrabCut (Rother et al. 2004), colours of subject and background are learned from this picture alone, in turns
    with the mask. Here they are histograms, the coarse mask stays a witness instead of a rectangle, and a guided filter
    takes the place of the graph cut, so that masks stay soft. A print of the background's colour stays in its subject.
    """
    small, colours, said = _for_colours(picture, coarse)
    guide, mask = to_float(small), said
    witness = _log_odds(said, SUREST) + _log_odds(box_mean(said, round(AROUND * max(said.shape))), SUREST_AROUND)
    edges = GuidedFilter(guide, radius=4, smoothness=3e-3)
    for _ in range(COLOUR_ROUNDS):
        evidence = EVIDENCE * np.log(_frequencies(colours, mask) / _frequencies(colours, 1 - mask))
        odds = witness + np.clip(evidence, -LARGEST_EVIDENCE, LARGEST_EVIDENCE)
        fitted = edges.coefficients(odds.astype(np.float32))
        odds = sum(guide[..., channel] * fitted[channel] for channel in range(3)) + fitted[3]
        mask = 1 / (1 + np.exp(-odds))
        background = mask < SURELY_SUBJECT
        holes = background & (said >= 0.5) & ~_reached(background & (said < 0.5), background)
        mask = np.where(holes, said, mask)
    return mask.astype(np.float32)


def colour_difference(picture: np.ndarray, alpha: np.ndarray) -> float:
    """How far the colours of a subject differ from those of the rest: the squared Hellinger distance, in [0, 1].

    0 where all is of one colour, or one texture. ``picture`` is uint8 `[H, W, 3]`, ``alpha`` float32 `[h, w]`.
    """
    _, colours, mask = _for_colours(picture, alpha)
    inside, outside, area = _frequencies(colours, mask), _frequencies(colours, 1 - mask), mask.mean()
    return float(1 - np.mean(np.sqrt(inside * outside) / (area * inside + (1 - area) * outside)))


def _for_colours(picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The picture and its mask at the size at which colours are learned; between them the number of each colour."""
    scale = min(1.0, COLOUR_MODEL_SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2.0))
    colours = np.ravel_multi_index(np.moveaxis(small // (256 // COLOUR_LEVELS), 2, 0), (COLOUR_LEVELS,) * 3)
    return small, colours, np.clip(_resized(mask, size), 0, 1)


def _log_odds(mask: np.ndarray, least: float) -> np.ndarray:
    """log(p / (1 - p)) of a mask, kept that far from 0 and 1: a segmenter is surer of photographs than it should be."""
    sure = np.clip(mask, least, 1 - least)
    return np.log(sure / (1 - sure))


def _reached(start: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """All pixels of ``allowed``, bool `[h, w]`, to which steps to the sides lead from those of ``start``, within it."""
    while True:
        grown = start.copy()
        grown[1:] |= start[:-1]
        grown[:-1] |= start[1:]
        grown[:, 1:] |= start[:, :-1]
        grown[:, :-1] |= start[:, 1:]
        grown &= allowed
        if np.array_equal(grown, start):
            return grown
        start = grown


def _frequencies(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How frequent each pixel's colour is among all pixels, which count by their weight; never 0."""
    table = np.bincount(colours.ravel(), weights.ravel(), COLOUR_LEVELS**3).reshape((COLOUR_LEVELS,) * 3)
    for _ in range(3):  # one axis after the other comes first
        table = np.tensordot(table, NEAR_LEVELS, axes=(0, 0))
    return (table / max(weights.sum(), 1)).ravel()[colours] + 1e-6


class GuidedFilter:
    """Fits masks to a guide float32 `[h, w, 3]`, in windows that are squares of side 2 * radius + 1."""

    def __init__(self, guide: np.ndarray, radius: int, smoothness: float):
        self._radius = radius
        self._guide = np.moveaxis(guide, 2, 0)
        self._mean = box_mean(self._guide, radius)
        pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
        products = box_mean(np.stack([self._guide[i] * self._guide[j] for i, j in pairs]), radius)
        spreads = (product - self._mean[i] * self._mean[j] for product, (i, j) in zip(products, pairs, strict=True))
        self._inverse = _inverted(*spreads, smoothness)

    def coefficients(self, mask: np.ndarray) -> np.ndarray:
        """float32 `[4, h, w]`: mask `[h, w]` = a . colour + b, averaged over the windows around each pixel."""
        *products, mask_mean = box_mean(np.stack([*self._guide * mask, mask]), self._radius)
        red, green, blue = (product - mean * mask_mean for product, mean in zip(products, self._mean, strict=True))
        slope = [row[0] * red + row[1] * green + row[2] * blue for row in self._inverse]
        offset = mask_mean - sum(each * mean for each, mean in zip(slope, self._mean, strict=True))
        return box_mean(np.stack([*slope, offset]), self._radius)


def _inverted(
    rr: np.ndarray, rg: np.ndarray, rb: np.ndarray, gg: np.ndarray, gb: np.ndarray, bb: np.ndarray, more: float
) -> tuple[tuple[np.ndarray, ...], ...]:
    """The rows of symmetric matrices with `more` on their diagonal, inverted by their adjugates, which is many times
    as fast as LAPACK's loop."""
    rr, rg, rb, gg, gb, bb = (values.astype(np.float64) for values in (rr + more, rg, rb, gg + more, gb, bb + more))
    first = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    second = rr * bb - rb * rb, rb * rg - rr * gb
    determinant = rr * first[0] + rg * first[1] + rb * first[2]
    rows = first, (first[1], *second), (first[2], second[1], rr * gg - rg * rg)
    return tuple(tuple((value / determinant).astype(np.float32) for value in row) for row in rows)


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """float32 means of squares of side 2 * radius + 1 around each pixel of `[..., h, w]`, as far as inside."""
    result = values.astype(np.float32, copy=False)
    for axis in (-1, -2):
        length = values.shape[axis]
        index = np.arange(length, dtype=np.float32)
        inside = np.minimum(index + radius + 1, length) - np.maximum(index - radius, 0)
        result = _window_sums(result, radius, axis) / (inside if axis == -1 else inside[:, None])
    return result


def _window_sums(values: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Sums of 2 * radius + 1 neighbours along an axis, -1 or -2, beyond whose ends lie zeros: of runs of 1, 2, 4 ..."""
    count, shape = values.shape[axis], list(values.shape)
    shape[axis] += 2 * radius
    run = np.moveaxis(np.zeros(shape, values.dtype), axis, 0)
    run[radius : radius + count] = np.moveaxis(values, axis, 0)
    width, start, left, total = 1, 0, 2 * radius + 1, None
    while True:
        if left & 1:
            found = run[start : start + count]
            total, start = found if total is None else total + found, start + width
        left >>= 1
        if not left:
            return np.moveaxis(total, 0, axis)
        run, width = run[:-width] + run[width:], 2 * width


def clean_colours(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The subject's own colours, uint8 `[H, W, 3]`: what of the old background shines through its edge is taken out.

    Each pixel is picture = alpha * F + (1 - alpha) * B with F and B unknown. Both are guessed from the nearest pixels
    that are surely one or the other (`spread`), then F takes its share, alpha, of what the guess leaves unexplained.
    Pixels of alpha >= 0.98 keep their colour exactly; where alpha is 0 the result continues the subject's colours, so
    that scaling a cut-out draws no seam. Where a picture is larger than `EXACT_SIDE`, colours are spread at
    `COLOUR_SIDE`.
    """
    height, width = alpha.shape
    step = 1 if max(height, width) <= EXACT_SIDE else -(-max(height, width) // COLOUR_SIDE)
    small, small_alpha = _reduced(picture, alpha, step)
    subject, background = to_bytes(spread(small, small_alpha)), to_bytes(spread(small, 1 - small_alpha))
    result = np.empty_like(picture)
    for rows, box in _strips(height, width, (width / step, height / step)):
        strip, weight = picture[rows], alpha[rows]
        shape = (width, rows.stop - rows.start)
        own, behind = _resized(subject, shape, box), _resized(background, shape, box)
        cleaned = np.where((weight >= CONFIDENT)[..., None], strip, own)
        soft = (weight > 0) & (weight < CONFIDENT)  # all others need no sums
        share = weight[soft][:, None]
        subject_there, behind_there = to_float(own[soft]), to_float(behind[soft])
        unexplained = to_float(strip[soft]) - share * subject_there - (1 - share) * behind_there
        cleaned[soft] = to_bytes(subject_there + share * unexplained)
        result[rows] = cleaned
    return result


def blend(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`compositing.composite` of uint8 pictures as uint8, in strips."""
    result = np.empty_like(foreground)
    for rows, _ in _strips(*alpha.shape, (1, 1)):
        weight = alpha[rows][..., None]
        result[rows] = to_bytes((weight * foreground[rows] + (1 - weight) * background[rows]) / np.float32(255))
    return result


def fitted_alpha(picture: np.ndarray, alpha: np.ndarray, times: int) -> np.ndarray:
    """The soft edge of a mask that was made `times` as wide, read off the colours of the picture uint8 `[H, W, 3]`.

    It is the share of the subject's colours, float32 `[H, W]`. The less these differ from the background's, the more
    counts the mask, as steep as it was before. Pixels that are sure stay as they are.
    """
    step = -(-max(alpha.shape) // COLOUR_SIDE)
    small, small_alpha = _reduced(picture, alpha, step)
    size = (alpha.shape[1] / step, alpha.shape[0] / step)
    subject, behind = (
        to_float(_resized(to_bytes(spread(small, share)), alpha.shape[::-1], (0, 0, *size)))
        for share in (small_alpha, 1 - small_alpha)
    )
    colours, difference = to_float(picture), subject - behind
    strength = (difference * difference).sum(axis=2)
    told = ((colours - behind) * difference).sum(axis=2)  # the share times strength
    soft = np.minimum(alpha, 1 - alpha) > SURE
    steep = _steep(alpha, times)
    return np.where(soft, np.clip((told + CONTRAST * steep) / (strength + CONTRAST), 0, 1), steep)


def moved_alpha(alpha: np.ndarray, size: tuple[int, int], left: float, top: float, scale: float) -> np.ndarray:
    """A mask moved as `moved` does, its edge made as many times as steep as it was made wide."""
    return _steep(moved(alpha, size, left, top, scale), scale)


def _steep(alpha: np.ndarray, times: float) -> np.ndarray:
    return np.clip((alpha - 0.5) * min(max(times, 1), STEEPEST) + 0.5, 0, 1)


def shadow(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
    """How much darker than the plain surface around it a subject makes that surface, float32 `[H, W]` in [0, 1).

    0 is no shadow. The surface's light is a quadratic surface through the logarithms of what is not subject, fitted so
    that dark parts count little; only near the subject is what lies below it a shadow. None where the surface is not
    plain: on a carpet, its pattern would be taken for shadows.
    """
    step = -(-max(alpha.shape) // SHADOW_SIDE)
    colours, small = _reduced(picture, alpha, step)
    side, light = max(small.shape), np.log(colours.mean(axis=2) + 0.02)
    rows, columns = np.indices(small.shape, np.float32) / side - 0.5
    terms = np.stack([np.ones_like(rows), rows, columns, rows * rows, rows * columns, columns * columns], axis=2)
    surface = grow(small, 3) < SURE
    if surface.sum() < 100:
        return None
    weight = np.ones(int(surface.sum()), np.float32)
    for _ in range(12):
        fit = np.linalg.lstsq(terms[surface] * weight[:, None], light[surface] * weight, rcond=None)[0]
        rest = light[surface] - terms[surface] @ fit
        usual = np.median(np.abs(rest)) + 0.01
        weight = np.where(rest < -usual, 0.15, 1 / (1 + (rest / (3 * usual)) ** 2)).astype(np.float32)
    if usual > PLAIN:
        return None
    darker = np.minimum(light - terms @ fit + usual, 0)
    known = (small < 0.05).astype(np.float32)  # under the subject it goes on from outside
    darker = blur(darker * known, side / 100) / np.maximum(blur(known, side / 100), 1e-3)
    near = np.clip(2.2 * blur((small > 0.5).astype(np.float32), side * 0.09) - 0.15, 0, 1)
    return _resized(np.clip(1 - np.exp(darker * near), 0, 0.7).astype(np.float32), alpha.shape[::-1])


def match_light(foreground: np.ndarray, alpha: np.ndarray, background: np.ndarray, share: float) -> np.ndarray:
    """The subject's colours uint8 `[H, W, 3]`, with mean and spread of the background's in Lab (Reinhard et al. 2001).

    `share` in [0, 1] is how far. A spread changes by a third at most, so that neither flat nor loud backgrounds spoil
    the subject.
    """
    step = -(-max(alpha.shape) // COLOUR_SIDE)
    subject, weight = _reduced(foreground, alpha, step)
    figures = []
    for colours, weights in ((subject, weight), (_reduced(background, alpha, step)[0], np.ones_like(weight))):
        values, weights = _lab(colours).reshape(-1, 3), weights.reshape(-1, 1) + 1e-6
        mean = (values * weights).sum(axis=0) / weights.sum()
        figures.append((mean, np.sqrt(((values - mean) ** 2 * weights).sum(axis=0) / weights.sum())))
    (mean, spread_), (wanted, wanted_spread) = figures
    gain = 1 + share * (np.clip(wanted_spread / (spread_ + 1e-3), 0.75, 4 / 3) - 1)
    result = np.empty_like(foreground)
    for rows, _ in _strips(*alpha.shape, (1, 1)):
        values = _lab(to_float(foreground[rows]))
        result[rows] = to_bytes(_rgb((values - mean) * gain + mean + share * (wanted - mean)))
    return result


_SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_XYZ = (_SRGB / _SRGB.sum(axis=1, keepdims=True)).astype(np.float32)  # so that white is (1, 1, 1): D65
_OPPONENT = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]], np.float32)  # of the roots, without the -16


def _lab(colours: np.ndarray) -> np.ndarray:
    """CIE Lab but for the constant of L, with cube roots all the way down, of sRGB in [0, 1]: `[..., 3]`."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _XYZ.T) @ _OPPONENT.T


def _rgb(lab: np.ndarray) -> np.ndarray:
    """sRGB of what `_lab` gives; what no screen can show is clipped."""
    linear = np.clip((lab @ np.linalg.inv(_OPPONENT).T) ** 3 @ np.linalg.inv(_XYZ).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def moved(values: np.ndarray, size: tuple[int, int], left: float, top: float, scale: float) -> np.ndarray:
    """A picture uint8 `[h, w, 3]` or float32 `[h, w]`, scaled, its corner at (left, top) of zeros of that `size`.

    Floats are scaled bicubically, pictures by Lanczos' filter. Only what is seen is computed, however large the rest.
    """
    result = np.zeros((size[1], size[0], *values.shape[2:]), values.dtype)
    ranges, box = [], []  # in the result; in the picture
    for start, side, whole in zip((left, top), values.shape[1::-1], size, strict=True):
        first, last = max(0, round(start)), min(whole, round(start + side * scale))
        if first >= last:
            return result
        ranges.append(slice(first, last))
        box.append((max(0.0, (first - start) / scale), min(float(side), (last - start) / scale)))
    (x, y), (columns, rows) = ranges, box
    method = Image.Resampling.LANCZOS if values.ndim == 3 else Image.Resampling.BICUBIC
    part = Image.fromarray(np.ascontiguousarray(values)).resize(
        (x.stop - x.start, y.stop - y.start), method, box=(columns[0], rows[0], columns[1], rows[1])
    )
    result[y, x] = part
    return result


def blurred_behind(picture: np.ndarray, alpha: np.ndarray, radius: float) -> np.ndarray:
    """The picture's own background uint8, blurred after the subject was painted over, which would else be a halo in it.

    Pictures larger than `EXACT_SIDE` are reduced as far as the blur hides it.
    """
    height, width = alpha.shape
    step = max(1, min(-(-max(height, width) // EXACT_SIDE), int(radius)))
    small, small_alpha = _reduced(picture, alpha, step)
    without_subject = composite(spread(small, 1 - small_alpha), small, np.clip(small_alpha * 8, 0, 1))
    behind = blur(without_subject, radius / step)
    return _resized(to_bytes(behind), (width, height), (0, 0, width / step, height / step))


def _reduced(picture: np.ndarray, alpha: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture uint8 and mask as float32, their sides divided by `step`."""
    if step == 1:
        return to_float(picture), alpha
    return tuple(to_float(np.asarray(Image.fromarray(to_bytes(each)).reduce(step))) for each in (picture, alpha))


def _surely(mask: np.ndarray, radius: int) -> np.ndarray:
    """1 where the mask is nearly 1 within the radius, 0 where it is not, and soft in between."""
    reduced = -(-radius // 3)  # a disc of a few pixels, on a picture reduced accordingly
    size = (max(1, mask.shape[1] // reduced), max(1, mask.shape[0] // reduced))
    small = grow((_resized(mask, size) > 0.97).astype(np.float32), -max(1, round(radius / reduced)))
    return np.clip(_resized(small, mask.shape[::-1]), 0, 1)


def _resized(values: np.ndarray, size: tuple[int, int], box: tuple[float, ...] | None = None) -> np.ndarray:
    """float32 `[h, w]` or uint8 `[h, w, 3]` at `size` (width, height), smoothly; only the part in `box` if given."""
    image = Image.fromarray(np.ascontiguousarray(values))
    if box is not None:  # cut off where rounding lets it stand out
        box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


def _strips(height: int, width: int, size: tuple[float, float]) -> Iterator[tuple[slice, tuple[float, ...]]]:
    """Rows of a large picture, and the box in a small one of `size` (width, height) that they lie in."""
    rows = max(1, STRIP_PIXELS // width)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        yield slice(start, stop), (0.0, start * size[1] / height, float(size[0]), stop * size[1] / height)
