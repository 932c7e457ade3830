"""3x3 convolutions with fewer multiplications: Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308).

Four neighbouring outputs of a filter with three taps g depend on six inputs d and take 12 products, y_i = sum_k g_k
d_(i+k). Read backwards, the sum multiplies two polynomials with 4 and 3 coefficients; their product has 6, so its
values at six points fix it, and values multiply point by point: 6 products. With the points 0, 1, -1, 2, -2 and
infinity this gives matrices of small numbers such that

    y = A ((G g) * (B d)).

In two dimensions each matrix is applied along one axis and then along the other: 36 products for the 4x4 outputs of a
6x6 tile instead of 144. The sum over channels comes between G, B and A, so that all the work is in matrix products:
B over the tiles, one over the channels for each of the 36 points, A over what comes out. Rounding errors are about
1e-5 of the largest output in float32; in bfloat16 they would drown the picture, so it is always computed in float32.
``convolution.py`` decides when.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .prepared import prepared

STEP = 4  # outputs of a tile, along one axis
SIDE = STEP + 2  # inputs of a tile, along one axis
POINTS = SIDE**2  # products that a tile takes
# As many tiles of one sample as half the channels go through all three products at once: enough rows for a fast matrix
# product, few enough to stay in the cache.
TILES_PER_CHANNEL = 0.5
# On smaller maps a plain convolution is as fast: transforming the weights costs more than is saved. Where they are
# transformed once and for all, smaller maps gain too; below that it is not worth the memory.
LEAST_SIDE = 64
LEAST_SIDE_FROZEN = 32
# With fewer channels, on either side, transforming the tiles costs more than is saved.
LEAST_CHANNELS = 128


def _matrix(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32, device="cpu")


B = _matrix(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
G = _matrix(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
A = _matrix([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def winograd_convolution(
    x: Tensor, style: Tensor, weight: Tensor, on_step: Callable[[], None] = lambda: None
) -> Tensor:
    """``conv2d(x * style, weight, padding=1)`` without gradients.

    ``x [N, I, H, W]`` in channels_last memory, sides multiples of 4; ``style [N, I]``, ``weight [O, I, 3, 3]`` ->
    ``[N, O, H, W]`` in the dtype of ``x``. ``on_step`` is called before each sample.
    """
    samples, channels, height, width = x.shape
    outputs, columns = weight.shape[0], width // STEP
    filters = prepared(weight, "winograd", _filters)
    pixels = x.permute(0, 2, 3, 1)  # [N, H, W, I], a view of channels_last memory
    y = x.new_empty(samples, height, width, outputs)
    style = style.float()
    most = max(channels, outputs)
    rows = min(max(1, int(most * TILES_PER_CHANNEL) // columns), height // STEP)
    # Reused by all steps: fresh memory costs as much as the sums.
    first, second, third = (style.new_empty(POINTS * rows * columns * most) for _ in range(3))
    strip = style.new_zeros(rows * STEP + 2, width + 2, channels)  # with a border of zeros
    for sample in range(samples):
        on_step()
        for top in range(0, height, rows * STEP):
            bottom = min(top + rows * STEP, height)
            above, below = max(top - 1, 0), min(bottom + 1, height)  # as far as the filters reach
            lines = strip[: bottom - top + 2]  # [lines + 2, W + 2, I]
            torch.mul(pixels[sample, above:below], style[sample], out=lines[above - top + 1 : below - top + 1, 1:-1])
            if above == top:
                lines[0] = 0
            if below == bottom:
                lines[-1] = 0
            tiles = lines.unfold(0, SIDE, STEP).unfold(1, SIDE, STEP)  # [rows, columns, I, 6, 6]
            tiles = tiles.permute(3, 4, 0, 1, 2)
            tiles = _start(first, tiles.shape).copy_(tiles).view(POINTS, -1)
            values = _on_both_axes(B, tiles, second, first).view(POINTS, -1, channels)  # [36, rows * columns, I]
            values = torch.bmm(values, filters, out=_start(third, (POINTS, values.shape[1], outputs)))
            patches = _on_both_axes(A, values.view(POINTS, -1), first, second).view(STEP, STEP, -1, columns, outputs)
            y[sample, top:bottom].view(-1, STEP, columns, STEP, outputs).copy_(patches.permute(2, 0, 3, 1, 4))
    return y.permute(0, 3, 1, 2)


def _filters(weight: Tensor) -> Tensor:
    """``weight [O, I, 3, 3]`` at the 36 points: ``[36, I, O]``."""
    taps = weight.float().permute(2, 3, 1, 0).contiguous().view(9, -1)
    filters = _on_both_axes(G, taps, *(taps.new_empty(POINTS * taps.shape[1]) for _ in range(2)))
    return filters.view(POINTS, weight.shape[1], weight.shape[0])


def _on_both_axes(matrix: Tensor, values: Tensor, half_way: Tensor, result: Tensor) -> Tensor:
    """``matrix [m, n]`` along both axes of ``values [n * n, K]`` -> ``[m * m, K]``, in ``result``.

    The contents of both buffers are lost; ``values`` may lie in ``result``.
    """
    count, (m, n) = values.shape[1], matrix.shape
    rows = torch.mm(matrix, values.view(n, n * count), out=_start(half_way, (m, n * count)))
    both = torch.bmm(matrix.expand(m, m, n), rows.view(m, n, count), out=_start(result, (m, m, count)))
    return both.view(m * m, count)


def _start(buffer: Tensor, shape: Sequence[int]) -> Tensor:
    """The first elements of ``buffer`` in this shape."""
    return buffer[: math.prod(shape)].view(shape)
