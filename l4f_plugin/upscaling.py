"""Small pictures and their masks enlarged by a network, so that edges stay edges."""

import functools
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .bundles.tensor_files import open_tensors
from .matting import fitted_alpha
from .networks import Upscaler

WEIGHTS = Path(__file__).with_name("upscaler.safetensors")  # made by tools/upscaler_training.py
LARGEST_SIDE = 1280  # pixels of a doubled picture
NEARLY = 1.5  # times larger is left to a filter


def enlarged(picture: np.ndarray, alpha: np.ndarray | None, scale: float) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Doubles a picture uint8 `[H, W, 3]` until it is about `scale` times as large, and enlarges its mask with it.

    Returns both, and how many times as large they are: what `NEARLY` and `LARGEST_SIDE` leave is left to a filter.
    The mask, float32 `[H, W]` in [0, 1], gets the edge that the colours of the enlarged picture have.
    """
    times = 1
    while scale > NEARLY * times and 2 * max(picture.shape[:2]) <= LARGEST_SIDE:
        picture, times = _doubled(picture), 2 * times
    if alpha is not None and scale > 1 and max(picture.shape[:2]) <= LARGEST_SIDE:
        wide = Image.fromarray(alpha).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
        alpha = fitted_alpha(picture, np.clip(wide, 0, 1), times)
    return picture, alpha, times


@torch.inference_mode()
def _doubled(picture: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]  # as it lies: channels last
    large = _upscaler()(pixels)[0].permute(1, 2, 0)
    return (large * 255).round().clamp(0, 255).byte().numpy()


@functools.cache
def _upscaler() -> Upscaler:
    network = Upscaler()
    with open_tensors(WEIGHTS, "install the program again") as file:
        network.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    return network.eval().requires_grad_(False)
