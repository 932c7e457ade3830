"""3x3 convolutions with fewer multiplications: Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308).

Four neighbouring outputs of a filter with three taps g depend on six inputs d and take 12 products, y_i = sum_k g_k
d_(i+k). Read backwards, the sum multiplies two polynomials with 4 and 3 coefficients; their product has 6, so its
values at six points fix it, and values multiply point by point: 6 products. With the points 0, 1, -1, 2, -2 and
infinity this gives matrices of small numbers such that

    y = A ((G g) * (B d)).

In two dimensions each matrix is applied along one axis and then along the other: 36 products for the 4x4 outputs of a
6x6 tile instead of 144. The sum over channels comes between G, B and A, so that all the work is in matrix products:
B over the tiles, one over the channels for each of the 36 points, A over what comes out. Rounding errors are about
1e-5 of the largest output in float32. In bfloat16 they would drown the picture; there, tiles of 2x2 outputs take 16
products instead of 36 with the points 0, 1, -1 and infinity, and err by twice as much as a plain convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

# So many tiles of one sample go through all three products at once: enough rows for a fast matrix product, few enough
# to stay in the cache.
TILES_AT_ONCE = 256
# On smaller maps a plain convolution is as fast: transforming the weights costs more than is saved.
LEAST_SIDE = 64


@dataclass(frozen=True)
class Tiling:
    """Matrices of F(step x step, 3x3); ``points`` is the number of products a tile takes.

    They are for one axis and applied twice, or for both axes at once (their Kronecker product with themselves), which
    takes more arithmetic but only one pass: matrix products of bfloat16 cost most when they are this small.

    ``least_channels``: with fewer, on either side, transforming the tiles costs more than is saved.
    """

    step: int
    least_channels: int
    B: Tensor  # [side, side] or [points, points]
    G: Tensor  # [side, 3] or [points, 9]
    A: Tensor  # [step, side] or [step * step, points]

    @property
    def side(self) -> int:
        """Inputs of a tile, along one axis."""
        return self.step + 2

    @property
    def points(self) -> int:
        return self.side**2


def _matrix(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32, device="cpu")


def _for_both_axes(rows: list[list[float]]) -> Tensor:
    matrix = _matrix(rows)
    return torch.kron(matrix, matrix)


TILINGS = {
    torch.float32: Tiling(
        step=4,
        least_channels=128,
        B=_matrix(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
        G=_matrix(
            [
                [1 / 4, 0, 0],
                [-1 / 6, -1 / 6, -1 / 6],
                [-1 / 6, 1 / 6, -1 / 6],
                [1 / 24, 1 / 12, 1 / 6],
                [1 / 24, -1 / 12, 1 / 6],
                [0, 0, 1],
            ]
        ),
        A=_matrix([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
    ),
    torch.bfloat16: Tiling(
        step=2,
        least_channels=128,
        B=_for_both_axes([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
        G=_for_both_axes([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
        A=_for_both_axes([[1, 1, 1, 0], [0, 1, -1, 1]]),
    ),
}


def modulated_convolution(
    x: Tensor, style: Tensor, weight: Tensor, on_step: Callable[[], None] = lambda: None
) -> Tensor:
    """``conv2d(x * style, weight, padding=1)``, by the faster of two ways.

    ``x [N, I, H, W]`` in channels_last memory, ``style [N, I]`` float32, ``weight [O, I, 3, 3]`` -> ``[N, O, H, W]`` in
    the dtype of ``x``. Winograd's way calls ``on_step`` before each sample.
    """
    if winograd_pays(x, style, weight):
        return winograd_convolution(x, style, weight, on_step)
    return functional.conv2d(x * style.to(x.dtype)[:, :, None, None], weight.to(x.dtype), padding=1)


def winograd_pays(x: Tensor, style: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's way is the faster one: large maps on a CPU, of which no gradient is wanted.

    GPUs' libraries choose among such algorithms by themselves, and gradients would have to keep every transformed tile.
    The size of the batch does not count, so that results do not depend on it.
    """
    if x.device.type != "cpu" or x.dtype not in TILINGS:
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, style, weight)):
        return False
    tiling, sides = TILINGS[x.dtype], x.shape[2:]
    return (
        min(sides) >= LEAST_SIDE
        and all(side % tiling.step == 0 for side in sides)
        and min(weight.shape[:2]) >= tiling.least_channels
    )


def winograd_convolution(
    x: Tensor, style: Tensor, weight: Tensor, on_step: Callable[[], None] = lambda: None
) -> Tensor:
    """As ``modulated_convolution``, for a dtype in ``TILINGS`` and sides that are multiples of its ``step``."""
    tiling, dtype = TILINGS[x.dtype], x.dtype
    step, side, points = tiling.step, tiling.side, tiling.points
    B, A, style = tiling.B.to(dtype), tiling.A.to(dtype), style.to(dtype)
    samples, channels, height, width = x.shape
    outputs, columns = weight.shape[0], width // step
    taps = weight.float().permute(2, 3, 0, 1).contiguous().view(9, -1)
    filters = _on_both_axes(tiling.G, taps, *(taps.new_empty(points * taps.shape[1]) for _ in range(2)))
    filters = filters.to(dtype).view(points, outputs, channels).transpose(1, 2)
    pixels = x.permute(0, 2, 3, 1)  # [N, H, W, I], a view of channels_last memory
    y = x.new_empty(samples, height, width, outputs)
    rows = min(max(1, TILES_AT_ONCE // columns), height // step)
    # Reused by all steps: fresh memory costs as much as the sums.
    first, second, third = (x.new_empty(points * rows * columns * max(channels, outputs)) for _ in range(3))
    for sample in range(samples):
        on_step()
        for top in range(0, height, rows * step):
            bottom = min(top + rows * step, height)
            above, below = max(top - 1, 0), min(bottom + 1, height)  # as far as the filters reach
            strip = pixels[sample, above:below] * style[sample]
            strip = functional.pad(strip, (0, 0, 1, 1, above - top + 1, bottom + 1 - below))  # [lines + 2, W + 2, I]
            tiles = strip.unfold(0, side, step).unfold(1, side, step)  # [rows, columns, I, side, side]
            tiles = tiles.permute(3, 4, 0, 1, 2)
            tiles = _start(first, tiles.shape).copy_(tiles).view(points, -1)
            values = _on_both_axes(B, tiles, second, first).view(points, -1, channels)  # [points, rows * columns, I]
            values = torch.bmm(values, filters, out=_start(third, (points, values.shape[1], outputs)))
            patches = _on_both_axes(A, values.view(points, -1), first, second).view(step, step, -1, columns, outputs)
            y[sample, top:bottom].view(-1, step, columns, step, outputs).copy_(patches.permute(2, 0, 3, 1, 4))
    return y.permute(0, 3, 1, 2)


def _on_both_axes(matrix: Tensor, values: Tensor, half_way: Tensor, result: Tensor) -> Tensor:
    """``values [n * n, K]``, ``matrix`` for one axis ``[m, n]`` or for both ``[m * m, n * n]`` -> ``[m * m, K]``.

    It lies in one of the two buffers, whose contents are lost; ``values`` may lie in ``result``.
    """
    count, (m, n) = values.shape[1], matrix.shape
    if n == values.shape[0]:
        return torch.mm(matrix, values, out=_start(half_way, (m, count)))
    rows = torch.mm(matrix, values.view(n, n * count), out=_start(half_way, (m, n * count)))
    both = torch.bmm(matrix.expand(m, m, n), rows.view(m, n, count), out=_start(result, (m, m, count)))
    return both.view(m * m, count)


def _start(buffer: Tensor, shape: Sequence[int]) -> Tensor:
    """The first elements of ``buffer`` in this shape."""
    return buffer[: math.prod(shape)].view(shape)
