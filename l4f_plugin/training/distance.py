"""How far a generator's pictures are from the real ones, told during training without weights of others.

The features are random: a small convolutional network that was never trained, always the same. Their Frechet distance
orders the states of one run. It is no FID, whose features come from a network trained on ImageNet, and says nothing
beside other data sets or resolutions.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..evaluation.frechet import feature_statistics, gaussian_distance

PICTURES = 2_000
CHANNELS = (3, 32, 64, 128)
SEED = 20_201


class RandomFeatureDistance:
    """Squared Frechet distance of random features between real pictures and those of a generator.

    Three random 3x3 convolutions are each followed by leaky ReLU and halving. A picture's features are the spread of
    each channel over the picture, after each convolution, and the means of the last one's channels over the four
    quarters.

    Args:
        real: batches of real pictures ``[N, 3, R, R]`` in [-1, 1], at least two pictures in all; R at least 16.
    """

    def __init__(self, real: Iterable[Tensor], device: torch.device | str = "cpu"):
        random = torch.Generator().manual_seed(SEED)
        self.weights = [
            (torch.randn(out, into, 3, 3, generator=random) * (2 / (9 * into)) ** 0.5).to(device)
            for into, out in zip(CHANNELS, CHANNELS[1:], strict=False)
        ]
        features = np.concatenate([self._features(batch.to(device)) for batch in real])
        self.count = len(features)
        self.real = feature_statistics(features)

    def __call__(self, draw: Callable[[int], Tensor], batch_size: int) -> float:
        """``draw(n)`` gives ``n`` pictures of the generator; about as many as the real ones are compared."""
        made = [self._features(draw(batch_size)) for _ in range(-(-self.count // batch_size))]
        return gaussian_distance(*self.real, *feature_statistics(np.concatenate(made)))

    @torch.no_grad()
    def _features(self, images: Tensor) -> np.ndarray:
        """``[N, 736]``"""
        features = []
        for weight in self.weights:
            images = functional.leaky_relu(functional.conv2d(images, weight, padding=1), 0.2)
            features.append(images.flatten(2).std(dim=2))
            images = functional.avg_pool2d(images, 2)
        features.append(functional.adaptive_avg_pool2d(images, 2).flatten(1))
        return torch.cat(features, dim=1).cpu().numpy()
