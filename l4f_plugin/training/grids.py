"""Sheets of pictures that a training writes, so that a person can look at it."""

import torch
from torch import Tensor


def picture_grid(images: Tensor, columns: int) -> Tensor:
    """Lay ``images [N, 3, R, R]`` in [-1, 1] out in rows: uint8 ``[rows * R, columns * R, 3]`` on the CPU."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.ones(rows * columns, 3, height, width)
    sheet[:count] = images.detach().float().cpu().clamp(-1, 1)
    sheet = sheet.view(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    return ((sheet.reshape(rows * height, columns * width, 3) + 1) * 127.5).round().to(torch.uint8)


def mask_grid(images: Tensor, alpha: Tensor, columns: int) -> Tensor:
    """Picture, mask and cut-out on grey for each sample, side by side."""
    masks = (alpha * 2 - 1).expand(-1, 3, -1, -1)
    cutouts = images * alpha - 0.1 * (1 - alpha)
    return picture_grid(torch.stack([images, masks, cutouts], dim=1).flatten(0, 1), 3 * columns)
