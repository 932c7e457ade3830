"""NVIDIA's own PyTorch program for StyleGAN2 (NVlabs/stylegan2-ada-pytorch), as somebody else's copy of it computes.

Nothing of it is part of this project: its licence is for non-commercial use. A folder that holds it is named on the
command line and imported from there. Without a GPU it runs in plain PyTorch, float32.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from l4f_plugin.networks import Generator


def load_reference(folder: Path, ours: Generator) -> Callable[[Tensor], Tensor]:
    """Their synthesis with the weights of ``ours``: W+ ``[N, num_styles, style_dim]`` to pictures ``[N, 3, R, R]``."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        networks = importlib.import_module("training.networks")
    finally:
        sys.path.pop(0)
    config = ours.config
    theirs = networks.SynthesisNetwork(
        w_dim=config.style_dim,
        img_resolution=config.resolution,
        img_channels=3,
        channel_base=config.channels[config.resolution] * config.resolution,
        channel_max=config.channels[4],
    )
    state = theirs.state_dict()
    state.update(_renamed(ours))
    theirs.load_state_dict(state)
    theirs.eval().requires_grad_(False)
    return lambda w_plus: theirs(w_plus, noise_mode="const")


def _renamed(generator: Generator) -> dict[str, Tensor]:
    """The weights of our synthesis under the names of theirs."""
    convolutions = ["b4.conv1"]
    convolutions += [f"b{size}.conv{index}" for size in generator.config.resolutions[1:] for index in (0, 1)]
    layers = {f"convolutions.{index}": name for index, name in enumerate(convolutions)}
    layers |= {f"to_rgb.{index}": f"b{size}.torgb" for index, size in enumerate(generator.config.resolutions)}
    state = {"b4.const": generator.synthesis.constant[0]}
    for name, tensor in generator.synthesis.state_dict().items():
        layer = ".".join(name.split(".")[:2])
        if layer in layers:
            field = name.removeprefix(f"{layer}.").replace("modulation", "affine")
            state[f"{layers[layer]}.{'noise_const' if field == 'noise' else field}"] = (
                tensor[0, 0] if field == "noise" else tensor
            )
    return state
