"""Growing a trained generator and discriminator to twice their resolution without losing what they know.

Both networks compute at first the function they computed before (up to resampling and borders); the new layers add
to it. The generator's new ToRGB starts at zero. The discriminator's new block starts as a channel that passes the
downsampled colours on to what used to be the first layer (in the manner of Net2Net, Chen et al. 2016), beside random
channels that later layers do not read yet.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from ..errors import UserError
from ..networks import Discriminator, Generator
from ..networks.ops import ACTIVATION_GAIN

# Colours in about [-1, 1] become c * 0.5 + 1 > 0, which leaky ReLUs pass unchanged.
COLOUR_GAIN, COLOUR_OFFSET = 0.5, 1.0


@torch.no_grad()
def grow_generator(small: Generator, channels: int) -> Generator:
    """A generator of twice the resolution whose pictures are the enlarged pictures of ``small``."""
    config = small.config
    resolution = config.resolution * 2
    grown = Generator(
        dataclasses.replace(config, resolution=resolution, channels={**config.channels, resolution: channels})
    )
    grown.load_state_dict({**grown.state_dict(), **small.state_dict()})
    grown.latent_avg.copy_(small.latent_avg)
    grown.synthesis.to_rgb[-1].weight.zero_()
    return grown


@torch.no_grad()
def grow_discriminator(small: Discriminator, channels: int) -> Discriminator:
    """A discriminator of twice the resolution that judges as ``small`` judges the downsampled picture.

    Raises ``UserError`` for too few channels to pass colours on.
    """
    if channels < 4:
        raise UserError(
            f"A grown discriminator needs at least 4 channels, not {channels}: three for colours, one to learn; "
            "give more with --discriminator-channel-max."
        )
    config = small.config
    resolution = config.resolution * 2
    grown = Discriminator(
        dataclasses.replace(config, resolution=resolution, channels={**config.channels, resolution: channels})
    )
    for index, block in enumerate(small.blocks):
        grown.blocks[index + 1].load_state_dict(block.state_dict())
    for name in ("last_convolution", "hidden", "output"):
        getattr(grown, name).load_state_dict(getattr(small, name).state_dict())
    _pass_colours_on(grown, small)
    return grown


def _pass_colours_on(grown: Discriminator, small: Discriminator) -> None:
    """Make the first block compute ``small.from_rgb`` of the downsampled picture.

    Every layer here computes lrelu(gain * W x + sqrt(2) * bias), so weights are divided by the gain. The last one is
    scaled by sqrt(1/2) where the block adds its (silenced) shortcut, which is undone in the weights as well.
    """
    block = grown.blocks[0]
    colours = torch.arange(3)

    grown.from_rgb.weight[:3] = 0
    grown.from_rgb.weight[colours, colours] = COLOUR_GAIN / grown.from_rgb.gain
    grown.from_rgb.bias[:3] = COLOUR_OFFSET / ACTIVATION_GAIN

    block.first.weight[:3] = 0
    block.first.weight[colours, colours, 1, 1] = 1 / block.first.gain

    half = math.sqrt(0.5)
    old_weight = small.from_rgb.weight[:, :, 0, 0] * small.from_rgb.gain  # [O, 3]
    wanted_weight = old_weight / COLOUR_GAIN
    wanted_bias = small.from_rgb.bias * ACTIVATION_GAIN - wanted_weight.sum(dim=1) * COLOUR_OFFSET
    block.second.weight.zero_()
    # lrelu(h y) = h lrelu(y): the block's factor h is undone by dividing both terms by it.
    block.second.weight[:, :3, 1, 1] = wanted_weight / (block.second.gain * half)
    block.second.bias.copy_(wanted_bias / (ACTIVATION_GAIN * half))
    block.shortcut.weight.zero_()
