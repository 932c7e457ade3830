"""Distortions of labelled pictures that keep a judge from trusting what generated pictures lack: sharp edges, exact
shapes, flat colours, clean backgrounds. Everything is drawn from one generator on the CPU, so a seed repeats it."""

import functools
import math

import torch
from torch.nn import functional

BLOCK = 8  # Edge of the squares that lossy picture formats and these artefacts work on.


def distort(pictures: torch.Tensor, masks: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [N, 3, H, W] and masks [N, 1, H, W], float32 in [0, 1] -> a distorted pair of the same shapes."""
    warped, masks = warp(pictures, masks, random)
    pictures = borrow_backgrounds(warped, masks, random)
    pictures = recolour(pictures, masks, random)
    pictures = blur(pictures, random)
    pictures = add_noise(pictures, random)
    pictures = add_block_artefacts(pictures, random)
    # A quarter keeps its looks, so that clean pictures stay what the judge knows best.
    pictures = torch.lerp(pictures, warped, chance(len(warped), 0.25, random).to(warped))
    return pictures.clamp(0, 1), masks


def warp(pictures: torch.Tensor, masks: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random flip, scale (.7 to 1.35), rotation (up to 15 degrees), shift and a smooth wobble of 4 x 4 waves,
    applied to picture and mask alike; what comes in from outside repeats the border."""
    count, _, height, width = pictures.shape
    flip = 1 - 2 * chance(count, 0.5, random).flatten()
    scale = torch.exp(uniform(count, math.log(0.7), math.log(1.35), random))
    angle = uniform(count, -math.pi / 12, math.pi / 12, random)
    matrix = torch.empty(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = angle.cos() * scale * flip, -angle.sin() * scale
    matrix[:, 1, 0], matrix[:, 1, 1] = angle.sin() * scale * flip, angle.cos() * scale
    matrix[:, :, 2] = uniform((count, 2), -0.2, 0.2, random)
    grid = functional.affine_grid(matrix, [count, 1, height, width], align_corners=False)  # [N, H, W, 2]
    strength = uniform((count, 1, 1, 1), 0, 0.06, random)
    wobble = torch.randn((count, 2, 4, 4), generator=random) * strength
    wobble = functional.interpolate(wobble, size=(height, width), mode="bicubic", align_corners=True)
    grid = (grid + wobble.permute(0, 2, 3, 1)).to(pictures)
    moved = functional.grid_sample(
        torch.cat([pictures, masks], dim=1), grid, padding_mode="border", align_corners=False
    )
    return moved[:, :3], moved[:, 3:]


def borrow_backgrounds(pictures: torch.Tensor, masks: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """In a quarter of the pictures, replaces the background by that of the next picture of the batch, where that shows
    any; its object's place keeps the old background, which gives outlines of objects that are not there."""
    chosen = chance(len(pictures), 0.25, random).to(pictures)
    others, their_masks = pictures.roll(1, dims=0), masks.roll(1, dims=0)
    return pictures.lerp(others, chosen * (1 - masks) * (1 - their_masks))


def recolour(pictures: torch.Tensor, masks: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A random affine change of colour; in half of the pictures, another one for the background."""
    whole, background = _colour_change(pictures, random), _colour_change(pictures, random)
    return whole.lerp(background, chance(len(pictures), 0.5, random).to(pictures) * (1 - masks))


def _colour_change(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Mixes the channels, scales contrast around the mean and shifts brightness, by amounts that differ by
    picture: none in some, and down to a third of the contrast in others."""
    count = len(pictures)
    strength = uniform((count, 1, 1), 0, 1, random)
    mixing = torch.eye(3) + strength * 0.25 * torch.randn((count, 3, 3), generator=random)  # [N, 3, 3]
    contrast = torch.exp(uniform((count, 1, 1), -1.1, 0.4, random) * strength)
    matrix = (mixing * contrast).to(pictures)
    mean = pictures.mean(dim=(2, 3))  # [N, 3]
    shift = mean + (strength[:, 0] * uniform((count, 3), -0.25, 0.25, random)).to(pictures)
    shift = shift - torch.einsum("nij,nj->ni", matrix, mean)
    return torch.einsum("nij,njhw->nihw", matrix, pictures) + shift[:, :, None, None]


def blur(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A Gaussian of up to 1.6 % of the edge (2 pixels of 128), the same for the half of the batch that is blurred."""
    sigma = float(uniform((), 0.15, 0.016 * pictures.shape[-1], random))
    radius = max(1, math.ceil(2.5 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).to(pictures)
    blurred = pictures
    for _ in range(2):  # rows, then columns
        padded = functional.pad(blurred, (radius, radius, 0, 0), mode="replicate")
        lines = functional.conv2d(padded.flatten(0, 1)[:, None], weights[None, None, None])
        blurred = lines.reshape(*padded.shape[:3], -1).mT
    return pictures.lerp(blurred, chance(len(pictures), 0.5, random).to(pictures))


def add_noise(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Fine noise of every pixel and coarse coloured clouds, each in half of the pictures."""
    count, channels, height, width = pictures.shape
    fine = chance(count, 0.5, random) * uniform((count, 1, 1, 1), 0, 0.08, random)
    coarse = chance(count, 0.5, random) * uniform((count, 1, 1, 1), 0, 0.1, random)
    cells = int(2 ** torch.randint(2, 6, (), generator=random))
    clouds = torch.randn((count, channels, cells, cells), generator=random) * coarse
    clouds = functional.interpolate(clouds, size=(height, width), mode="bilinear", align_corners=True)
    grain = torch.randn((count, 1, height, width), generator=random) * fine
    return pictures + (clouds + grain).to(pictures)


def add_block_artefacts(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Rounds the cosine coefficients of 8 x 8 squares, coarser for higher frequencies, in a third of the pictures: what
    lossy picture formats do, without their colour spaces and tables. Edges must be multiples of 8."""
    count, channels, height, width = pictures.shape
    chosen = torch.nonzero(chance(count, 1 / 3, random).flatten())[:, 0].to(pictures.device)
    if not len(chosen):
        return pictures
    cosine = _cosine_matrix().to(pictures)
    frequency = torch.arange(BLOCK, dtype=pictures.dtype)
    step = (1 + frequency[:, None] + frequency) * uniform((len(chosen), 1, 1, 1, 1, 1), 0.005, 0.06, random)
    step = step.to(pictures)
    squares = pictures[chosen].reshape(len(chosen), channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    squares = squares.transpose(3, 4)  # [M, 3, H / 8, W / 8, 8, 8]
    coefficients = cosine @ squares @ cosine.T
    squares = cosine.T @ (torch.round(coefficients / step) * step) @ cosine
    result = pictures.clone()
    result[chosen] = squares.transpose(3, 4).reshape(len(chosen), channels, height, width)
    return result


@functools.lru_cache(maxsize=1)
def _cosine_matrix() -> torch.Tensor:
    """Orthonormal cosine transform (type II) of 8 values."""
    index = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos(math.pi / BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def uniform(shape: int | tuple[int, ...], low: float, high: float, random: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=random)


def chance(count: int, probability: float, random: torch.Generator) -> torch.Tensor:
    """1 with the given probability, otherwise 0: float [count, 1, 1, 1]."""
    return (torch.rand(count, 1, 1, 1, generator=random) < probability).float()
