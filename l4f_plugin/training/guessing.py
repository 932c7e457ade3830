"""What a picture's own corners tell of subject and background, without any label."""

import torch
import torch.nn.functional as functional
from torch import Tensor

GUESSED_FROM = 0.75  # of a picture's mean difference: overlaps most with masks that were learned


def guess_masks(images: Tensor, backgrounds: Tensor | None = None) -> Tensor:
    """Where pictures ``[N, 3, H, W]`` differ from their backgrounds: a first guess of masks ``[N, 1, H, W]``.

    Where ``backgrounds`` is None, one of the four corners, enlarged, stands for the background at each pixel: the one
    nearest to what is there (the paper's section 3.2 takes one corner).
    """
    difference = _difference(images, [backgrounds] if backgrounds is not None else enlarged_corners(images))
    difference = functional.avg_pool2d(difference, 5, stride=1, padding=2, count_include_pad=False)
    relative = difference / difference.mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    return torch.sigmoid((relative - GUESSED_FROM) * 8)


def enlarged_corners(images: Tensor) -> list[Tensor]:
    """The four corners of pictures ``[N, 3, H, W]``, an eighth of each side and enlarged to the whole."""
    whole = {"size": images.shape[2:], "mode": "bilinear", "align_corners": False}
    return [functional.interpolate(corner, **whole) for corner in _corners(images)]


def blended_corners(images: Tensor) -> Tensor:
    """The mean colours of the four corners of pictures ``[N, 3, H, W]``, blended from one to the other."""
    means = [corner.mean(dim=(2, 3)) for corner in _corners(images)]
    small = torch.stack(means, dim=2).unflatten(2, (2, 2))
    return functional.interpolate(small, size=images.shape[2:], mode="bilinear", align_corners=True)


def _corners(images: Tensor) -> list[Tensor]:
    """The four corners, an eighth of each side: upper left, upper right, lower left, lower right."""
    height, width = images.shape[2:]
    rows, columns = max(height // 8, 1), max(width // 8, 1)
    top, bottom = images[:, :, :rows], images[:, :, -rows:]
    return [side[..., part] for side in (top, bottom) for part in (slice(columns), slice(-columns, None))]


def inversion(alpha: Tensor, images: Tensor) -> float:
    """How far masks hold the background instead of the subject; 0 where nothing speaks for that.

    Two signs are wanted together: masks are denser along the border than in the middle, and where pictures differ from
    their corners there is less mask than elsewhere. A subject that fills the picture shows the first at most faintly.
    """
    height, width = alpha.shape[2:]
    inside = alpha[:, :, height // 4 : -(height // 4), width // 4 : -(width // 4)]
    edge = max(height // 8, 1)
    rim = torch.cat([strip.flatten() for strip in (alpha[:, :, :edge], alpha[..., :edge], alpha[..., -edge:])])
    denser_outside = (rim.mean() - inside.mean()).item()
    difference = _difference(images, enlarged_corners(images)).flatten(1)
    centred = difference - difference.mean(dim=1, keepdim=True)
    masks = alpha.flatten(1) - alpha.flatten(1).mean(dim=1, keepdim=True)
    correlation = (centred * masks).sum(1) / (centred.norm(dim=1) * masks.norm(dim=1)).clamp_min(1e-6)
    return max(0.0, min(denser_outside, -correlation.mean().item()))


def spill(alpha: Tensor, images: Tensor) -> float:
    """What share of the pixels that surely look like their pictures' corners the masks cover."""
    sure = (guess_masks(images) < 0.1).float()
    return ((alpha * sure).sum() / sure.sum().clamp_min(1)).item()


def _difference(images: Tensor, backgrounds: list[Tensor]) -> Tensor:
    return torch.stack([(images - one).abs().mean(dim=1, keepdim=True) for one in backgrounds]).amin(dim=0)
