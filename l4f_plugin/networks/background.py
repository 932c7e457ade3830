"""A learned background for a frozen generator.

The paper's backgrounds come from the generator with part of its input set to zero. A generator that was trained
briefly has never seen such an input and draws grey texture from it, which no discriminator takes for a background;
the mask then grows to the most it may. Here the input that stands for "no object" is learned with the alpha network.
"""

import torch
from torch import Tensor, nn


class LearnedBackground(nn.Module):
    """``tensor [1, C, 4, 4]`` takes the place of what the object switch turns off; ``style_offset`` is added to W+."""

    def __init__(self, channels: int, num_styles: int, style_dim: int):
        super().__init__()
        self.tensor = nn.Parameter(torch.zeros(1, channels, 4, 4))
        self.style_offset = nn.Parameter(torch.zeros(1, num_styles, style_dim))

    def forward(self, w_plus: Tensor) -> Tensor:
        """W+ ``[N, num_styles, style_dim]`` of a background."""
        return w_plus + self.style_offset
