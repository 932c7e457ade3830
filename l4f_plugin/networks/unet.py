"""A small U-Net from pictures to masks: the student that segments photographs, and the judge that measures masks.

Both are the same few layers; what they are trained on tells them apart, and neither takes part in training the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from ..architecture import StudentConfig


class UNet(nn.Module):
    """Pictures ``[N, 3, H, W]`` in [0, 1] of any size to mask logits.

    Args:
        channels: of the stages at full, 1/2, 1/4, ... resolution.
        normalised: with batch normalisation, for training; without it the convolutions have biases (``folded``).
    """

    def __init__(self, channels: Sequence[int], normalised: bool = True):
        super().__init__()
        pairs = list(zip(channels, channels[1:]))  # noqa: B905 (one shorter by design)
        self.stride = 2 ** len(pairs)  # between pixels of the bottleneck

        def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=not normalised)
            normalisation = [nn.BatchNorm2d(outputs)] if normalised else []
            return nn.Sequential(convolution, *normalisation, nn.ReLU(inplace=True))

        self.stem = block(3, channels[0])
        self.downs = nn.ModuleList(
            nn.Sequential(block(fine, coarse, stride=2), block(coarse, coarse)) for fine, coarse in pairs
        )
        self.bottleneck = block(channels[-1], channels[-1])
        self.ups = nn.ModuleList(block(coarse + fine, fine) for fine, coarse in reversed(pairs))
        self.output = nn.Conv2d(channels[0], 1, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures ``[N, 3, H, W]`` in [0, 1] -> mask logits ``[N, 1, H, W]``."""
        height, width = pictures.shape[2:]
        hidden, skips = self._encode(self._padded(pictures))
        for up in self.ups:
            hidden = functional.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = up(torch.cat([hidden, skips.pop()], dim=1))
        return self.output(hidden)[:, :, :height, :width]

    def features(self, pictures: Tensor) -> Tensor:
        """Pictures ``[N, 3, H, W]`` in [0, 1] -> ``[N, C]``, the mean of each channel of the bottleneck."""
        return self._encode(self._padded(pictures))[0].mean(dim=(2, 3))

    def _padded(self, pictures: Tensor) -> Tensor:
        """To multiples of the stride, by repeating the right and the lower border."""
        down, right = (-size % self.stride for size in pictures.shape[2:])
        return functional.pad(pictures, (0, right, 0, down), mode="replicate") if down or right else pictures

    def _encode(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The bottleneck ``[N, C, H / stride, W / stride]`` and what each finer stage saw, finest first."""
        hidden = self.stem(pictures * 2 - 1)  # [N, C0, H, W]
        skips = []
        for down in self.downs:
            skips.append(hidden)
            hidden = down(hidden)  # [N, Ci, H / 2^i, W / 2^i]
        return self.bottleneck(hidden), skips


class Student(UNet):
    """The segmenter of an object class as it is kept and used: batch normalisation folded into the convolutions."""

    def __init__(self, config: StudentConfig):
        super().__init__(config.channels, normalised=False)
        self.config = config

    @classmethod
    @torch.no_grad()
    def folded(cls, trained: UNet, resolution: int) -> Student:
        """The same function as ``trained`` in evaluation mode, without its normalisations, on the CPU.

        Weights are rounded to what float16 holds, as bundles store them.
        """
        blocks = [module for module in trained.modules() if _is_block(module)]
        channels = (trained.stem[0].out_channels, *(down[0][0].out_channels for down in trained.downs))
        student = cls(StudentConfig(channels, resolution))
        plain = [module for module in student.modules() if _is_block(module)]
        for target, (convolution, normalisation, _) in zip(plain, blocks, strict=True):
            scale = normalisation.weight / torch.sqrt(normalisation.running_var + normalisation.eps)  # [O]
            target[0].weight.copy_(convolution.weight * scale.view(-1, 1, 1, 1))
            target[0].bias.copy_(normalisation.bias - normalisation.running_mean * scale)
        student.output.load_state_dict(trained.output.state_dict())
        return student.half().float().eval()


def _is_block(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv2d)
