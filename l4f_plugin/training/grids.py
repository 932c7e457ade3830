"""Sheets of pictures that a training writes, so that a person can look at it."""

import torch
from PIL import Image
from torch import Tensor

from ..drawing import as_pixels
from ..images import sheet_of


def picture_grid(images: Tensor, columns: int) -> Image.Image:
    """``images [N, 3, R, R]`` in [-1, 1], laid out in rows."""
    return sheet_of([Image.fromarray(picture) for picture in as_pixels(images)], columns)


def mask_grid(images: Tensor, alpha: Tensor, columns: int) -> Image.Image:
    """Picture, mask and cut-out on grey for each sample, side by side."""
    masks = (alpha * 2 - 1).expand(-1, 3, -1, -1)
    cutouts = images * alpha - 0.1 * (1 - alpha)
    return picture_grid(torch.stack([images, masks, cutouts], dim=1).flatten(0, 1), 3 * columns)
