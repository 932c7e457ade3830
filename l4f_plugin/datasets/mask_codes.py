"""A hard mask as label formats write it: one polygon (YOLO), or the lengths of its runs (COCO)."""

import numpy as np

_MOST_NEAR = 50  # pieces and holes with a bridge of their own from the nearest place
_MOST_PAIRS = 1_000_000  # of points, between which a bridge is looked for; each pair takes 40 bytes
TOLERANCE = 0.3  # pixels; below .35 no pixel changes sides
_RIGHT, _DOWN, _LEFT, _UP = range(4)
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def polygon(mask: np.ndarray) -> np.ndarray:
    """The outline of a boolean `[H, W]` as one closed polygon: float64 `[N, 2]`, x and y in pixels; `[0, 2]` if empty.

    It runs half way between subject and background, so that exactly the pixels of the mask have their middle inside, by
    the even-odd and by the winding rule. Further pieces, and holes, hang on bridges of no width: there and back on one
    line.
    """
    rings = sorted((_simplified(ring) for ring in _rings(mask)), key=lambda ring: -len(ring))
    whole = rings[0] if rings else np.zeros((0, 2))
    for ring in rings[1:_MOST_NEAR]:
        whole = _bridged(whole, ring)
    # Noise has thousands of pieces: to look for the nearest place for each would take minutes.
    return np.concatenate([whole, *(part for ring in rings[_MOST_NEAR:] for part in (whole[:1], ring, ring[:1]))])


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """Closed lines through the middles of the edges between subject and background, with the subject on their right."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    edges: dict[tuple[int, int, int], None] = {}  # a corner and a direction; in an order that is always the same
    for direction, outside, (right, down) in (
        (_RIGHT, padded[:-2, 1:-1], (0, 0)), (_DOWN, padded[1:-1, 2:], (1, 0)),
        (_LEFT, padded[2:, 1:-1], (1, 1)), (_UP, padded[1:-1, :-2], (0, 1)),
    ):  # fmt: skip
        rows, columns = np.nonzero(inside & ~outside)
        corners = zip((columns + right).tolist(), (rows + down).tolist(), strict=True)
        edges.update(dict.fromkeys((x, y, direction) for x, y in corners))
    rings, left = [], dict(edges)
    while left:
        start = edge = next(iter(left))
        middles = []
        while True:
            del left[edge]
            x, y, direction = edge
            right, down = _STEPS[direction]
            middles.append((x + right / 2, y + down / 2))
            # Turning right where pixels touch at a corner keeps each ring with its own pixels.
            turns = ((direction + turn) % 4 for turn in (1, 0, 3))
            edge = next((x + right, y + down, turn) for turn in turns if (x + right, y + down, turn) in edges)
            if edge == start:
                break
        rings.append(np.array(middles))
    return rings


def _simplified(ring: np.ndarray) -> np.ndarray:
    """The ring without the points that lie within the tolerance of the line between their neighbours.

    Douglas and Peucker 1973, on the two halves between the first point and the one that is farthest from it.
    """
    farthest = int(np.argmax(((ring - ring[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, farthest, -1]] = True
    waiting = [(0, farthest), (farthest, len(ring))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        line, points = closed[last] - closed[first], closed[first + 1 : last] - closed[first]
        length = max(float(line @ line), 1e-12)
        place = np.clip(points @ line / length, 0, 1)[:, None]
        away = ((points - place * line) ** 2).sum(axis=1)
        worst = int(away.argmax())
        if away[worst] > TOLERANCE**2:
            kept[first + 1 + worst] = True
            waiting += [(first, first + 1 + worst), (first + 1 + worst, last)]
    return ring[kept[:-1]]


def _bridged(whole: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Both as one polygon: from the nearest point of the first to the other, around that, and back.

    Of long rings only every so many points are looked at.
    """
    step = 1 + len(whole) * len(ring) // _MOST_PAIRS
    distances = ((whole[:, None] - ring[None, ::step]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    around = np.roll(ring, -there * step, axis=0)
    return np.concatenate([whole[: here + 1], around, around[:1], whole[here:]])


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a boolean `[H, W]`, column by column; the first run, maybe of length 0, is background."""
    pixels = np.concatenate([[False], mask.ravel(order="F")])
    starts = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(np.concatenate([[0], starts, [mask.size]])).tolist()


def compressed_runs(mask: np.ndarray) -> dict:
    """A mask as COCO's `{"size": [height, width], "counts": text}`.

    From the fourth run on the difference to the run before the last is written. Each number is cut into groups of five
    bits, low ones first, bit six telling that more follow, and each group is written as the character 48 higher; the
    last group carries the sign.
    """
    lengths, text = run_lengths(mask), []
    for place, length in enumerate(lengths):
        number = length - lengths[place - 2] if place > 2 else length
        while True:
            group, number = number & 31, number >> 5
            # Done once what is left is nothing but the sign that the group already carries.
            last = number == (-1 if group & 16 else 0)
            text.append(chr(48 + (group if last else group | 32)))
            if last:
                break
    return {"size": list(mask.shape), "counts": "".join(text)}
