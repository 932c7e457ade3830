"""Building blocks that the generator and the discriminator share.

Two habits of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) run through all of them:

* *Equalised learning rate*: weights are kept at unit variance and multiplied by 1/sqrt(fan_in) when used.
* *Gain*: a leaky ReLU of slope 0.2 is followed by sqrt(2), so that variance is preserved.

Feature maps are kept in ``channels_last`` memory format, in which CPU and GPU convolutions are fastest.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from .convolution import convolution

ACTIVATION_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)
FIR_TAPS = 4


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, without the gain (callers fold sqrt(2) into a factor they apply anyway)."""
    return functional.leaky_relu(x, ACTIVATION_SLOPE)


def leaky_relu_(x: Tensor) -> Tensor:
    """As ``leaky_relu``, in the memory of ``x``."""
    return functional.leaky_relu(x, ACTIVATION_SLOPE, inplace=True)


def normalise_second_moment(x: Tensor) -> Tensor:
    """Scale each row of ``x [N, C]`` to a mean square of one."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class Linear(nn.Module):
    """Fully connected layer with equalised learning rate: ``[N, I] -> [N, O]``.

    ``learning_rate_multiplier`` scales weight and bias at run time (the mapping network uses 0.01), so that
    an optimiser step moves them that much less. With ``activate`` a leaky ReLU and its gain follow.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias_init: float = 0.0,
        learning_rate_multiplier: float = 1.0,
        activate: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / learning_rate_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.weight_scale = learning_rate_multiplier / math.sqrt(in_features)
        self.learning_rate_multiplier = learning_rate_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype) * self.weight_scale
        x = functional.linear(x, weight, self.bias.to(x.dtype) * self.learning_rate_multiplier)
        return leaky_relu(x) * ACTIVATION_GAIN if self.activate else x


def fir_kernel(x: Tensor, gain: float) -> Tensor:
    """The separable low-pass filter [1, 3, 3, 1] as a depthwise kernel ``[C, 1, 4, 4]`` for ``x [N, C, H, W]``."""
    return _fir_kernel(x.shape[1], gain, x.dtype).to(x.device)  # nothing is kept on a GPU


@lru_cache(maxsize=128)  # small networks would spend a twentieth of their time on making it anew
def _fir_kernel(channels: int, gain: float, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # what is made within it could not be used where gradients are wanted
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device="cpu") / 8.0
        kernel = (torch.outer(taps, taps) * gain).to(dtype)
        return kernel.expand(channels, 1, 4, 4).contiguous()


def fir_filter(x: Tensor, *, padding: int, gain: float = 1.0) -> Tensor:
    """Low-pass ``x [N, C, H, W]`` after zero padding on all sides: ``[N, C, H + 2 padding - 3, ...]``."""
    return _FirFilter.apply(x, padding, gain)


class _FirFilter(torch.autograd.Function):
    """The filter is symmetric, so its gradient is the filter again, with the padding that restores the size.

    Left to autograd, the gradient of a depthwise convolution takes about four times as long on a CPU.
    """

    @staticmethod
    def forward(ctx, x: Tensor, padding: int, gain: float) -> Tensor:
        ctx.padding, ctx.gain = padding, gain
        return convolution(x, fir_kernel(x, gain), padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        gradient = gradient.contiguous(memory_format=torch.channels_last)  # a slice's gradient is not
        return _FirFilter.apply(gradient, FIR_TAPS - 1 - ctx.padding, ctx.gain), None, None


def fir_downsample(x: Tensor) -> Tensor:
    """Halve height and width after the low-pass filter. ``[N, C, 2H, 2W] -> [N, C, H, W]``.

    Filtering everything and keeping a quarter costs less than a strided depthwise convolution, whose gradient is
    slower by an order of magnitude on a CPU.
    """
    return fir_filter(x, padding=1)[:, :, ::2, ::2]


def fir_upsample(x: Tensor) -> Tensor:
    """Double height and width: zeros between the samples, then the low-pass filter with gain 4.

    Written as one transposed depthwise convolution, which is the same sum without the zeros.
    ``[N, C, H, W] -> [N, C, 2H, 2W]``.
    """
    return functional.conv_transpose2d(x, fir_kernel(x, 4.0), stride=2, padding=1, groups=x.shape[1])
