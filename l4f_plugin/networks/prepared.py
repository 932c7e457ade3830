"""Weights in the form in which a convolution reads them, kept as long as they do not change.

At batch 1 a third of the time of a large layer goes into bringing its weights into another order or precision.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

# By weight: the form's name, what the weight looked like then, and the result.
_KEPT: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def is_frozen(weight: Tensor) -> bool:
    """Whether what is prepared from ``weight`` is kept: parameters of which no gradient is wanted, on the CPU."""
    return (
        isinstance(weight, nn.Parameter)
        and not weight.requires_grad
        and weight.device.type == "cpu"
        and not weight.is_inference()  # these have no version
    )


def prepared(weight: Tensor, form: str, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """``prepare(weight)``, made anew only where ``weight`` has changed since or is not frozen.

    ``weight`` has two dimensions or more. ``form`` names what ``prepare`` makes; that shares no memory with ``weight``.
    """
    if not is_frozen(weight):
        return prepare(weight)
    # The version does not count what is written through ``weight.data``. A sum shows it: of one input only, as that of
    # all would take small networks a twentieth of their time.
    stamp = (weight._version, weight.data_ptr(), weight.detach()[:, 0].sum().item())
    forms = _KEPT.setdefault(weight, {})
    if form not in forms or forms[form][0] != stamp:
        with torch.inference_mode(False):  # what is made within it could not be used where gradients are wanted
            forms[form] = (stamp, prepare(weight.detach()))
    return forms[form][1]
