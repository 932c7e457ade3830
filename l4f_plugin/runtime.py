"""Where networks run, in what precision, and with how much memory.

Torch is imported by the functions that need it: a page is built, and a web UI started, without it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    import torch

WORTH_GIVING_BACK = 32 << 20  # bytes of work after which memory is given back; for less that costs more than it brings
# float16 convolutions on a CPU are emulated, bfloat16 on Apple's GPUs depends on the system's release.
_SUPPORTED = {"cpu": ("float32", "bfloat16"), "mps": ("float32", "float16"), "cuda": ("float32", "float16", "bfloat16")}


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name, by itself (None, "auto") CUDA, MPS or CPU. Raises `UserError` where it is not there."""
    import torch

    text = "auto" if name is None else str(name).strip().lower()
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = torch.backends.mps.is_available()
    if text == "auto":
        return torch.device("cuda" if cards else "mps" if apple else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", text):
        raise UserError(f"{name} is not a device this works on; use auto, cpu, cuda, cuda:0 or mps.")
    device = torch.device(text)
    if device.type == "cuda" and (device.index or 0) >= cards:
        seen = f"{cards} CUDA device(s)" if cards else "no CUDA device"
        raise UserError(nvidia_hint() or f"PyTorch sees {seen}, so {text} cannot be used; use auto or cpu.")
    if device.type == "mps" and not apple:
        raise UserError("PyTorch sees no Apple GPU here, so mps cannot be used; use auto or cpu.")
    return device


def describe_device(device: torch.device) -> str:
    """A device as a person calls it, for example "NVIDIA H100 (cuda:0)" or "CPU"."""
    import torch

    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (cuda:{device.index or 0})"
    return {"cpu": "CPU", "mps": "Apple GPU (mps)"}.get(device.type, str(device))


def choose_dtype(device: torch.device, name: str | torch.dtype | None = None) -> torch.dtype:
    """The precision of that name.

    None or "auto" is float16 on CUDA and float32 elsewhere: there half precision is either slower or less exact for
    nothing. Raises `UserError` for a name that is unknown or a precision the device does not have.
    """
    import torch

    text = "auto" if name is None else str(name).removeprefix("torch.").strip().lower()
    if text == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    allowed = _SUPPORTED.get(device.type, ("float32",))
    if text not in allowed:
        raise UserError(f"{name} cannot be used on {device.type}; use auto or {' or '.join(allowed)}.")
    return getattr(torch, text)


def nvidia_hint() -> str | None:
    """What to do about an NVIDIA card that the installed PyTorch cannot use; None where there is none."""
    if not _nvidia_card_present() or not _torch_is_for_cpu():
        return None
    return (
        "An NVIDIA card is idle because the installed PyTorch is a CPU build; "
        "run `python3 install.py run --torch-index cu126` to replace it by one that uses the card."
    )


def _nvidia_card_present() -> bool:
    # The driver's folder on Linux; its tool on Windows and in WSL, where that folder does not exist.
    cards = Path("/proc/driver/nvidia/gpus")
    if cards.is_dir():
        return any(cards.iterdir())
    return shutil.which("nvidia-smi") is not None or Path("/usr/lib/wsl/lib/nvidia-smi").is_file()


def _torch_is_for_cpu() -> bool:
    """Read from the text of torch/version.py: importing torch takes seconds and a page asks this first."""
    if (torch := sys.modules.get("torch")) is not None:
        return not (torch.version.cuda or torch.version.hip)
    found = importlib.util.find_spec("torch")
    if found is None or not found.origin:
        return False
    try:
        text = (Path(found.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    built_for = dict(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*(\S+)", text, re.MULTILINE))
    return built_for.get("cuda") == "None" and built_for.get("hip", "None") == "None"


class OutOfMemory(UserError):
    """The device's memory did not suffice; the message says what to try."""


@contextmanager
def out_of_memory_in_words() -> Iterator[None]:
    """Raises `OutOfMemory` in place of torch's errors, after what the failed work held has been freed."""
    try:
        yield
        return
    except (MemoryError, RuntimeError) as error:
        named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        told = ("out of memory", "can't allocate memory", "not enough memory")
        if not (named or any(words in str(error).lower() for words in told)):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed work
    gc.collect()  # only here: networks go without it, and in a web UI it looks at millions of objects
    free_memory()
    raise OutOfMemory(
        "Memory ran out; draw fewer pictures at once (a batch size of 1), close other programs "
        "that use the device, or choose the device cpu."
    ) from None


def memory_in_use(device: torch.device) -> int:
    """Bytes of a GPU's memory that this process holds, cached blocks included; 0 for a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return torch.mps.driver_allocated_memory() if device.type == "mps" else 0


def resident_memory() -> int | None:
    """Bytes of main memory that this process takes; None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, subprocess.SubprocessError):  # macOS; Windows has no such program
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, timeout=5).stdout
        return int(told) * 1024
    return None


def give_memory_back() -> None:
    """Returns to the system what the C library keeps of freed memory, where it can be asked to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


def free_memory() -> None:
    """Returns to the device what torch keeps cached for later, and to the system what nobody uses."""
    import torch

    give_memory_back()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
