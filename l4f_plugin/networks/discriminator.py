"""StyleGAN2 discriminator: residual blocks, minibatch deviation, one logit a picture."""

import math

import torch
from torch import Tensor, nn

from ..architecture import DiscriminatorConfig
from .convolution import convolution
from .ops import ACTIVATION_GAIN, Linear, fir_downsample, fir_filter, leaky_relu_

DEVIATION_GROUP = 4


class Convolution(nn.Module):
    """Convolution with equalised learning rate, bias and leaky ReLU; optionally halves the resolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        downsample: bool = False,
        bias: bool = True,
        activate: bool = True,
        clamp: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain = (ACTIVATION_GAIN if activate else 1.0) / math.sqrt(in_channels * kernel_size**2)
        self.downsample, self.activate, self.clamp = downsample, activate, clamp
        self.kernel_size = kernel_size

    def forward(self, x: Tensor, output_gain: float = 1.0) -> Tensor:
        """``x [N, I, H, W]`` -> ``[N, O, H, W]`` (or half the size), scaled by ``output_gain``."""
        padding, stride = self.kernel_size // 2, 1
        if self.downsample and self.kernel_size == 1:
            x = fir_downsample(x)  # only the samples that a 1x1 convolution of stride 2 would read
        elif self.downsample:
            x, padding, stride = fir_filter(x, padding=2), 0, 2
        weight = self.weight * (self.gain * output_gain)
        bias = None if self.bias is None else self.bias * (ACTIVATION_GAIN * output_gain)
        x = convolution(x, weight, bias, stride=stride, padding=padding)
        if self.activate:
            x = leaky_relu_(x)
        return x if self.clamp is None else x.clamp(-self.clamp * output_gain, self.clamp * output_gain)


class ResidualBlock(nn.Module):
    """Two convolutions beside a filtered 1x1 shortcut; halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None):
        super().__init__()
        self.first = Convolution(in_channels, in_channels, 3, clamp=clamp)
        self.second = Convolution(in_channels, out_channels, 3, downsample=True, clamp=clamp)
        self.shortcut = Convolution(in_channels, out_channels, 1, downsample=True, bias=False, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        half = math.sqrt(0.5)  # keeps the variance of the sum
        return self.second(self.first(x), half) + self.shortcut(x, half)


class Discriminator(nn.Module):
    """Pictures ``[N, 3, R, R]`` in [-1, 1] to logits ``[N, 1]`` float32; higher means more real."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        channels, clamp = config.channels, config.conv_clamp
        sizes = config.resolutions[::-1]
        self.from_rgb = Convolution(3, channels[sizes[0]], 1, clamp=clamp)
        self.blocks = nn.ModuleList(ResidualBlock(channels[r], channels[r // 2], clamp) for r in sizes[:-1])
        self.last_convolution = Convolution(channels[4] + 1, channels[4], 3, clamp=clamp)
        self.hidden = Linear(channels[4] * 16, channels[4], activate=True)
        self.output = Linear(channels[4], 1)
        # Set from outside to run the maps in half precision; the minibatch deviation and the logits stay float32.
        self.feature_dtype = torch.float32

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(image)[-1].float()
        x = torch.cat([x, minibatch_deviation(x)], dim=1)
        x = self.last_convolution(x)
        return self.output(self.hidden(x.flatten(1)))

    def features(self, image: Tensor) -> list[Tensor]:
        """The maps after every residual block, fine to coarse: ``[N, C, R/2, R/2]`` ... ``[N, C, 4, 4]``."""
        x = image.to(self.feature_dtype).contiguous(memory_format=torch.channels_last)
        x = self.from_rgb(x)
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


def minibatch_deviation(x: Tensor) -> Tensor:
    """Mean standard deviation over groups of samples, as one map: ``[N, C, H, W] -> [N, 1, H, W]``.

    Groups hold min(N, 4) samples; where N is no multiple of that, the largest divisor of N up to 4.
    """
    samples = x.shape[0]
    group = max(size for size in range(1, DEVIATION_GROUP + 1) if samples % size == 0)
    deviation = x.view(group, samples // group, *x.shape[1:])  # members of a group lie samples // group apart
    deviation = (deviation.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [samples // group]
    return deviation.repeat(group).view(samples, 1, 1, 1).expand(-1, 1, *x.shape[2:])
