"""How much memory an object class takes, estimated from its table of channels. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

STYLE_DIM, MAPPING_LAYERS = 512, 8
_FLOAT_BYTES = 4


def published_channels(resolution: int) -> dict[int, int]:
    """The table of NVIDIA's published StyleGAN2 generators: min(32768 / r, 512) channels at resolution r."""
    return {4 << step: min(32768 // (4 << step), 512) for step in range(resolution.bit_length() - 2)}


def memory_needed(resolution: int, channels: Mapping[int, int]) -> int:
    """Bytes for weights and feature maps while one picture is drawn in float32, besides torch itself.

    The alpha network reads two feature maps of each of the top six resolutions, so they are alive together;
    the finest convolution works on about three maps of its own size besides.
    """
    sizes = sorted(channels)
    weights = MAPPING_LAYERS * STYLE_DIM**2 + 9 * channels[sizes[0]] ** 2
    weights += sum(
        (9 * fine + STYLE_DIM) * (coarse + fine) for coarse, fine in pairwise(channels[size] for size in sizes)
    )
    kept = sum(2 * channels[size] * size**2 for size in sizes[-6:])
    working = 3 * channels[resolution] * resolution**2
    return _FLOAT_BYTES * (weights + kept + working)
