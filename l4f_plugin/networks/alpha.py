"""The alpha network of Labels4Free: soft foreground masks from a generator's feature maps.

It has only 1x1 convolutions (section 3.1 of Abdal et al. 2021), about 10,000 parameters: a generator's features
already separate object and background, the network has but to read them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from .convolution import convolution
from .ops import leaky_relu


class AlphaNetwork(nn.Module):
    """Feature maps of the top resolutions to one mask.

    Args:
        feature_channels: channels of each input, two a resolution, coarse to fine
            (``GeneratorConfig.feature_channels``).
        hidden_channels: channels each input is projected to; 3 in the paper.
    """

    def __init__(self, feature_channels: Sequence[int], hidden_channels: int = 3):
        super().__init__()
        if len(feature_channels) < 4 or len(feature_channels) % 2:
            raise ValueError(
                f"the alpha network needs two tensors for each of at least two resolutions, "
                f"not {len(feature_channels)} tensors"
            )
        pair = 2 * hidden_channels
        self.projections = nn.ModuleList(nn.Conv2d(channels, hidden_channels, 1) for channels in feature_channels)
        self.merges = nn.ModuleList(nn.Conv2d(2 * pair, pair, 1) for _ in range(len(feature_channels) // 2 - 2))
        self.output = nn.Conv2d(pair, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """``features[i] [N, C_i, h_i, h_i]``, coarse to fine, any float dtype -> mask ``[N, 1, R, R]`` in [0, 1]."""
        return torch.sigmoid(self.logits(features))

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """As ``forward``, before the sigmoid."""
        # Each projection reads its map in the map's own precision; the few channels that leave it are float32.
        thin = [_project(projection, x) for projection, x in zip(self.projections, features, strict=True)]
        pairs = [torch.cat(thin[i : i + 2], dim=1) for i in range(0, len(thin), 2)]  # [N, 6, h, h] each
        running = _upsample(pairs[0])
        for merge, pair in zip(self.merges, pairs[1:-1], strict=True):
            running = _upsample(leaky_relu(merge(torch.cat([pair, running], dim=1))))
        return self.output(running + pairs[-1])


def _project(projection: nn.Conv2d, x: Tensor) -> Tensor:
    return convolution(x, projection.weight, projection.bias).float()


def _upsample(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True)
