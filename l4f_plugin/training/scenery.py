"""Backgrounds out of nothing: gradients, clouds, shapes and stripes in random colours.

A segmenter that has seen its class before anything at all does not mind what a photograph shows behind it. Everything
is drawn from one generator on the CPU, so a seed repeats it.
"""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..evaluation.distortion import chance, uniform

SHAPES = 3  # drawn over one another, each in half of the pictures
OCTAVES = (2, 4, 8, 16, 32)


def draw_scenery(count: int, height: int, width: int, random: torch.Generator) -> Tensor:
    """Pictures ``[count, 3, height, width]`` float32 in [0, 1]."""
    rows = torch.linspace(-1, 1, height).view(1, 1, height, 1)
    columns = torch.linspace(-1, 1, width).view(1, 1, 1, width)
    scenery = torch.lerp(_colours(count, random), _colours(count, random), _ramp(count, rows, columns, random))
    scenery = scenery + _clouds(count, height, width, random)
    for _ in range(SHAPES):
        scenery = torch.lerp(scenery, _colours(count, random), _shape(count, rows, columns, random))
    return _softened(scenery, random).clamp(0, 1)


def _colours(count: int, random: torch.Generator) -> Tensor:
    """Of any brightness, most of them not very colourful."""
    grey = uniform((count, 1, 1, 1), 0, 1, random)
    colourful = uniform((count, 1, 1, 1), 0, 0.5, random)
    return (grey + colourful * torch.randn(count, 3, 1, 1, generator=random)).clamp(0, 1)


def _distance(count: int, rows: Tensor, columns: Tensor, random: torch.Generator) -> Tensor:
    """How far each pixel lies from a random line: ``[count, 1, H, W]``."""
    angle = uniform((count, 1, 1, 1), 0, 2 * math.pi, random)
    return rows * angle.sin() + columns * angle.cos() - uniform((count, 1, 1, 1), -0.8, 0.8, random)


def _ramp(count: int, rows: Tensor, columns: Tensor, random: torch.Generator) -> Tensor:
    return torch.sigmoid(_distance(count, rows, columns, random) * uniform((count, 1, 1, 1), 0.5, 5, random))


def _shape(count: int, rows: Tensor, columns: Tensor, random: torch.Generator) -> Tensor:
    """A half-plane, an ellipse or stripes, with an edge that is soft or hard: weights in [0, 1]."""
    line = _distance(count, rows, columns, random)
    middle = uniform((2, count, 1, 1, 1), -1, 1, random)
    stretch = uniform((2, count, 1, 1, 1), 0.6, 1.6, random)
    round_ = ((rows - middle[0]) * stretch[0]).square() + ((columns - middle[1]) * stretch[1]).square()
    round_ = uniform((count, 1, 1, 1), 0.1, 0.7, random) - round_.sqrt()
    stripes = torch.sin(line * uniform((count, 1, 1, 1), 4, 40, random))
    kind = torch.rand(count, 1, 1, 1, generator=random)
    inside = torch.where(kind < 0.35, line, torch.where(kind < 0.8, round_, stripes * 0.2))
    hardness = torch.exp(uniform((count, 1, 1, 1), math.log(4), math.log(200), random))
    opacity = uniform((count, 1, 1, 1), 0.3, 1, random)
    return torch.sigmoid(inside * hardness) * opacity * chance(count, 0.5, random)


def _clouds(count: int, height: int, width: int, random: torch.Generator) -> Tensor:
    """Coloured noise of several sizes, whose finer parts are weaker in some pictures and stronger in others."""
    roughness = uniform((count, 1, 1, 1), 0.35, 1.0, random)
    strength = uniform((count, 1, 1, 1), 0, 0.35, random)
    total = torch.zeros(count, 3, height, width)
    for octave, cells in enumerate(OCTAVES):
        if cells > min(height, width):
            break
        grey = torch.randn(count, 1, cells, cells, generator=random)
        colour = torch.randn(count, 3, cells, cells, generator=random) * 0.4
        wave = functional.interpolate(grey + colour, size=(height, width), mode="bilinear", align_corners=True)
        total += wave * roughness**octave
    return total * strength * 0.5


def _softened(scenery: Tensor, random: torch.Generator) -> Tensor:
    """Out of focus in half of the pictures, by a third to a sixteenth of their detail."""
    height, width = scenery.shape[2:]
    share = int(2 ** torch.randint(1, 5, (), generator=random))
    small = functional.adaptive_avg_pool2d(scenery, (max(height // share, 2), max(width // share, 2)))
    blurred = functional.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return torch.lerp(scenery, blurred, chance(len(scenery), 0.5, random))
