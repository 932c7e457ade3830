"""What the processor can do that decides how something is computed."""

import functools
import os
import platform
from enum import Enum

import torch


class Bfloat16(Enum):
    """What a processor computes bfloat16 with."""

    EMULATED = "no instructions of its own"
    VECTORS = "dot products of vectors"
    MATRICES = "products of matrices"


def bfloat16_support() -> Bfloat16:
    """What the CPU, as oneDNN may use it, computes bfloat16 with.

    ``ONEDNN_MAX_CPU_ISA`` is respected. Before PyTorch 2.5 there is no public way to ask an x86 processor; the answer
    is then EMULATED.
    """
    usable = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    return _bfloat16_support() if usable else Bfloat16.EMULATED


@functools.cache
def _bfloat16_support() -> Bfloat16:
    if platform.machine().lower() in ("arm64", "aarch64"):
        return Bfloat16.VECTORS if torch.ops.mkldnn._is_mkldnn_bf16_supported() else Bfloat16.EMULATED
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    unlimited = limit in ("ALL", "DEFAULT")
    if (unlimited or "AMX" in limit) and _has("_is_amx_tile_supported"):
        return Bfloat16.MATRICES
    allowed = unlimited or any(name in limit for name in ("AMX", "BF16", "CORE_FP16", "AVX10"))
    return Bfloat16.VECTORS if allowed and _has("_is_avx512_bf16_supported") else Bfloat16.EMULATED


def _has(question: str) -> bool:
    return getattr(torch.cpu, question, lambda: False)()


def bfloat16_is_native(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; elsewhere it saves memory, but no time."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bfloat16_support() is not Bfloat16.EMULATED
