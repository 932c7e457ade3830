"""The one place that chooses how a convolution is computed.

There are several ways to one sum. Which is the fastest depends on the processor's instructions, on the precision, on
the shape and on whether a gradient is wanted. The choice is a table and not a trial at first use: a trial can come out
differently on a busy machine, and a training that goes on must compute as it did before. So on one machine the same
call always goes the same way. ``python3 -m benchmarks.convolutions`` times every way beside the one chosen here.

* GPUs, and precisions that are not in the table: PyTorch's own operator, always.
* Large 3x3 convolutions in float32 without a gradient: Winograd's way (``winograd.py``).
* bfloat16 on a processor without instructions for it: the sum is taken in float32 and then rounded. PyTorch
  would emulate bfloat16, at a quarter of the speed with AVX-512 and at a hundredth with AVX2.
* bfloat16 on Intel's matrix units (AMX): a transposed convolution of stride 2, and the gradient of one of stride 2,
  as four small convolutions, one for each parity of the output's row and column. oneDNN has no fast way for them there.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..processor import Bfloat16, bfloat16_support
from .prepared import is_frozen, prepared
from .winograd import LEAST_CHANNELS, LEAST_SIDE, LEAST_SIDE_FROZEN, STEP, winograd_convolution


def in_float32(x: Tensor) -> bool:
    """Whether convolutions of ``x`` are computed in float32 and rounded."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and bfloat16_support() is Bfloat16.EMULATED


def by_parities(x: Tensor) -> bool:
    """Whether steps of two in a transposed convolution or a gradient are taken one parity at a time."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and bfloat16_support() is Bfloat16.MATRICES


def by_winograd(x: Tensor, style: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's way is the fastest for a 3x3 convolution: large maps, of which no gradient is wanted.

    Gradients would have to keep every transformed tile. The size of the batch does not count, so that results do not
    depend on it.
    """
    if x.device.type != "cpu" or not (x.dtype == torch.float32 or in_float32(x)):
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, style, weight)):
        return False
    sides = x.shape[2:]
    return (
        min(sides) >= (LEAST_SIDE_FROZEN if is_frozen(weight) else LEAST_SIDE)
        and all(side % STEP == 0 for side in sides)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
    )


def modulated_convolution(
    x: Tensor, style: Tensor, weight: Tensor, on_step: Callable[[], None] = lambda: None
) -> Tensor:
    """``conv2d(x * style, weight, padding=1)``.

    ``x [N, I, H, W]`` in channels_last memory, ``style [N, I]`` float32, ``weight [O, I, 3, 3]`` -> ``[N, O, H, W]`` in
    the dtype of ``x``. Winograd's way calls ``on_step`` before each sample.
    """
    if by_winograd(x, style, weight):
        return winograd_convolution(x, style, weight, on_step)
    x = x * style.to(x.dtype)[:, :, None, None]
    if weight.dtype != x.dtype and not in_float32(x):
        weight = prepared(weight, f"plain {x.dtype}", lambda weight: weight.to(x.dtype))
    return convolution(x, weight, padding=1)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """``conv2d`` of ``x [N, I, H, W]`` by ``weight [O, I / groups, h, w]`` of any precision, in the dtype of ``x``."""
    if in_float32(x):
        bias = bias if bias is None else bias.float()
        return functional.conv2d(x.float(), weight.float(), bias, stride, padding, groups=groups).to(x.dtype)
    weight, bias = weight.to(x.dtype), bias if bias is None else bias.to(x.dtype)
    if stride == 2 and padding == 0 and weight.shape[2:] == (3, 3) and by_parities(x) and _sides_are_odd(x):
        y = HalvingByParities.apply(x, weight)
        return y if bias is None else y + bias.view(1, -1, 1, 1)
    return functional.conv2d(x, weight, bias, stride, padding, groups=groups)


def doubling_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """``conv_transpose2d`` of stride 2: ``x [N, I, h, w]`` by ``weight [O, I, 3, 3]`` of any precision ->
    ``[N, O, 2h + 1, 2w + 1]`` in the dtype of ``x``."""
    dtype = torch.float32 if in_float32(x) else x.dtype
    weight = prepared(weight, f"doubling {dtype}", lambda weight: _with_inputs_first(weight, dtype))
    if dtype != x.dtype:
        return functional.conv_transpose2d(x.float(), weight, stride=2).to(x.dtype)
    if by_parities(x):
        return DoublingByParities.apply(x, weight)
    return functional.conv_transpose2d(x, weight, stride=2)


def _with_inputs_first(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """``[O, I, 3, 3]`` to ``[I, O, 3, 3]`` in channels_last memory, which a transposed convolution reads fastest."""
    return weight.to(dtype).transpose(0, 1).contiguous(memory_format=torch.channels_last)


class DoublingByParities(torch.autograd.Function):
    """As ``doubling_convolution``, but of ``weight [I, O, 3, 3]`` and for one dtype.

    An even row 2i of the output is made from the filter's first row and row i of the input and from its last row and
    row i - 1; an odd one from its middle row and row i. So are columns.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        samples, _, height, width = x.shape
        y = x.new_empty(samples, 2 * height + 1, 2 * width + 1, weight.shape[1]).permute(0, 3, 1, 2)
        filters = weight.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)
        taps = (slice(0, 3, 2), slice(1, 2))  # of even and of odd rows, in filters read backwards
        for row in (0, 1):
            for column in (0, 1):
                part = filters[:, :, taps[row], taps[column]]
                y[:, :, row::2, column::2] = functional.conv2d(x, part, padding=(1 - row, 1 - column))
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = HalvingByParities.apply(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_x, _weight_gradient(gradient, weight, x) if ctx.needs_input_grad[1] else None


class HalvingByParities(torch.autograd.Function):
    """``conv2d(x, weight, stride=2)`` for odd sides and 3x3 filters; only its gradient goes by parities."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, stride=2)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = DoublingByParities.apply(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_x, _weight_gradient(x, weight, gradient) if ctx.needs_input_grad[1] else None


def _weight_gradient(wide: Tensor, weight: Tensor, narrow: Tensor) -> Tensor:
    """Of ``conv2d(wide, weight, stride=2)`` where the gradient of its output is ``narrow``; has gradients itself."""
    return torch.nn.grad.conv2d_weight(wide, weight.shape, narrow, stride=2)


def _sides_are_odd(x: Tensor) -> bool:
    return all(side % 2 for side in x.shape[2:])
