"""What two drawings of one seed have in common on every processor: all but the last bits.

Sums are rounded in another order with another batch size, number of threads or instruction set, and sometimes from one
call to the next. So tests of what a seed draws allow a step of 255; equal bits are for one result, read twice.
"""

import numpy as np
import torch
from PIL import Image

COLOUR_STEPS = 3  # the colours of an edge are guessed from those around it, which adds up their last bits


def assert_alike(one: np.ndarray | Image.Image, other: np.ndarray | Image.Image, steps: int = 1) -> None:
    """Pictures uint8 or masks in [0, 1] differ by at most `steps` of 255; the colours of cut-outs by `COLOUR_STEPS`."""
    first, second = (np.asarray(each) for each in (one, other))
    assert first.shape == second.shape and first.dtype == second.dtype
    scale = 1 if first.dtype == np.uint8 else 255
    difference = np.abs(first.astype(np.float64) - second) * scale
    if first.ndim == 3 and first.shape[2] == 4:
        assert difference[..., 3].max(initial=0) <= steps
        steps = max(steps, COLOUR_STEPS)
    assert difference.max(initial=0) <= steps


def assert_alike_samples(one, other, parts: tuple[str, ...] = ("image", "alpha", "background")) -> None:
    """Two `Subject`s of one seed."""
    for part in parts:
        assert_alike(getattr(one, part), getattr(other, part))


def assert_same_weights(one, other) -> None:
    """Two networks, or what they are made of by its names, to the bit."""
    first, second = (each.state_dict() if isinstance(each, torch.nn.Module) else each for each in (one, other))
    assert first.keys() == second.keys()
    assert [name for name, tensor in first.items() if not torch.equal(tensor, second[name])] == []
