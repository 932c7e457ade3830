"""Pictures at twice their size: a bicubic enlargement, and what that lacks.

All is computed at the small size, and the last convolution gives the four pixels that each one becomes: the sub-pixel
convolution of Shi et al. 2016 (arXiv 1609.05158).
"""

import torch.nn.functional as functional
from torch import Tensor, nn

SLOPE = 0.1


class Upscaler(nn.Module):
    """Doubles the sides of pictures. Before any training it is nearly the bicubic enlargement."""

    def __init__(self, channels: int = 24, hidden: int = 3):
        super().__init__()
        layers = [nn.Conv2d(3, channels, 5, padding=2), nn.LeakyReLU(SLOPE)]
        for _ in range(hidden):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(SLOPE)]
        last = nn.Conv2d(channels, 12, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.reach = 2 + hidden + 1
        self.lack = nn.Sequential(*layers, last, nn.PixelShuffle(2))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures ``[N, 3, H, W]`` in [0, 1] as ``[N, 3, 2 H, 2 W]``; a few values are beyond these limits.

        The mean of the four pixels that one becomes is that one, so that no colour is shifted.
        """
        # The border goes on outside, as far as a pixel sees, or zeros there would draw a frame.
        wider = functional.pad(pictures, (self.reach,) * 4, mode="replicate")
        cut = slice(2 * self.reach, -2 * self.reach)
        large = functional.interpolate(pictures, scale_factor=2, mode="bicubic", align_corners=False)
        large = large + self.lack(wider - 0.5)[:, :, cut, cut]
        return large + functional.interpolate(pictures - functional.avg_pool2d(large, 2), scale_factor=2)
