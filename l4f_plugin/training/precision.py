"""Which precision the trainings compute in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ..processor import bfloat16_is_native


def fastest_dtype(device: torch.device) -> str:
    """Precision for feature maps in training: bfloat16 where the processor computes in it, else float32."""
    return "bfloat16" if bfloat16_is_native(device) else "float32"


def autocast(device: torch.device, dtype: str) -> AbstractContextManager:
    """Computes convolutions in ``dtype``; "float32" leaves everything as it is, on devices without autocast too."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, dtype=getattr(torch, dtype))
