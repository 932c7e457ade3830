"""Which precision the trainings compute in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def fastest_dtype(device: torch.device) -> str:
    """Precision for feature maps in training: bfloat16 where the processor computes in it, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    native = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if native else "float32"


def autocast(device: torch.device, dtype: str) -> AbstractContextManager:
    """Computes convolutions in ``dtype``; "float32" leaves everything as it is, on devices without autocast too."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, dtype=getattr(torch, dtype))
