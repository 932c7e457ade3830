"""What a discriminator's features tell about masks: a linear probe that was taught by generated pictures.

A class without a student still knows where its subjects are: its discriminator has seen photographs, and its generator
draws pictures with masks. A least-squares fit of the second from the first (in the manner of DatasetGAN, Zhang et al.
2021, but with features that any picture has) takes seconds and no training.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

SIDE = 16  # pixels of the coarse mask: `matting.refine` moves its edges by a few of them, to those of the picture
RIDGE = 1e-3  # of the mean diagonal of the normal equations


class MaskProbe:
    """Fitted with `add` and `solve`, then asked with `mask`.

    Features are lists of maps ``[N, C, h, w]`` as of ``Discriminator.features``, masks ``[N, 1, R, R]`` in [0, 1].
    """

    def __init__(self) -> None:
        self._gram: Tensor | float = 0.0
        self._moment: Tensor | float = 0.0
        self._weights: Tensor | None = None

    def add(self, features: Sequence[Tensor], masks: Tensor) -> None:
        """Takes pictures with their masks into account."""
        columns = _descriptors(features).transpose(0, 1).flatten(1)  # [D, N * SIDE * SIDE]
        values = functional.adaptive_avg_pool2d(masks, SIDE).flatten()
        self._gram = self._gram + columns @ columns.t()
        self._moment = self._moment + columns @ values

    def solve(self) -> None:
        # On the CPU in float64, which not every device has.
        gram, moment = self._gram.double().cpu(), self._moment.double().cpu()
        gram.diagonal().add_(RIDGE * gram.diagonal().mean())
        self._weights = torch.linalg.solve(gram, moment).to(self._moment)

    def mask(self, features: Sequence[Tensor]) -> Tensor:
        """The coarse masks ``[N, 1, SIDE, SIDE]`` in [0, 1] of pictures with these features."""
        return torch.einsum("ndhw,d->nhw", _descriptors(features), self._weights).clamp(0, 1).unsqueeze(1)


def _descriptors(features: Sequence[Tensor]) -> Tensor:
    """Maps of unit length at each pixel, at one size, with polynomials of its place: ``[N, D, SIDE, SIDE]``."""
    maps = [functional.normalize(features.float(), dim=1) for features in features]
    sized = [
        functional.adaptive_avg_pool2d(x, SIDE)
        if x.shape[2] > SIDE
        else functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        for x in maps
    ]
    line = torch.linspace(-1, 1, SIDE, device=maps[0].device)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    place = torch.stack([torch.ones_like(rows), rows, columns, rows**2, columns**2, rows * columns])
    return torch.cat([*sized, place.expand(len(maps[0]), -1, -1, -1)], dim=1)
