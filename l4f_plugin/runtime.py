"""Where networks run and in what precision, whose turn it is, and what is in memory.

Torch is imported by the functions that need it: a page is built, and a web UI started, without it.
"""

from __future__ import annotations

import gc
import importlib.util
import re
import shutil
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .errors import Cancelled, UserError

if TYPE_CHECKING:
    import torch

    from .pipeline import Labels4FreePipeline

DTYPES = ("float32", "float16", "bfloat16")
# float16 convolutions on a CPU are emulated, bfloat16 on Apple's GPUs depends on the system's release.
_SUPPORTED = {"cpu": ("float32", "bfloat16"), "mps": ("float32", "float16"), "cuda": DTYPES}
_LOOK_AGAIN = 0.1  # seconds between looks at the cancel token while waiting for a turn


class CancelToken:
    """Handed to a job when it starts, which looks at it wherever it can stop. For use from any thread."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Asks the job to stop."""
        self._cancelled.set()

    def check(self) -> None:
        """Raises `Cancelled` once `cancel` has been called."""
        if self.cancelled:
            raise Cancelled


class JobQueue:
    """One job at a time, first come first served.

    A turn belongs to a job, not to a thread: a job that yields results may go on in another thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()

    def __len__(self) -> int:
        """Jobs that run or wait."""
        return len(self._tickets)

    @contextmanager
    def turn(
        self, cancel: CancelToken | None = None, on_wait: Callable[[int], None] | None = None
    ) -> Iterator[None]:
        """Waits until the jobs before this one have ended; the body of the `with` is the job.

        `on_wait(ahead)` is called with the number of jobs ahead whenever that changes. Raises `Cancelled`
        when `cancel` is set while waiting. Not for use within a turn: that would wait for itself.
        """
        ticket = object()
        with self._changed:
            self._tickets.append(ticket)
        try:
            self._wait(ticket, cancel or CancelToken(), on_wait)
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def _wait(self, ticket: object, cancel: CancelToken, on_wait: Callable[[int], None] | None) -> None:
        reported = 0
        while True:
            cancel.check()
            with self._changed:
                ahead = self._tickets.index(ticket)
                if ahead == 0:
                    return
                if ahead == reported or on_wait is None:
                    self._changed.wait(_LOOK_AGAIN)
                    continue
            on_wait(ahead)  # outside the lock: it may take its time
            reported = ahead


JOBS = JobQueue()
"""The queue of this process: pages, API and host share one device."""


class MemoryReport(NamedTuple):
    """Bytes in use before and after a release, counted as in `ModelCache.memory`."""

    before: int
    after: int


class ModelCache:
    """At most one pipeline in memory, loaded when a job first needs it.

    `load(name, device=..., dtype=...)` makes a pipeline; by default `Labels4FreePipeline.from_pretrained`.
    """

    def __init__(self, load: Callable[..., Labels4FreePipeline] | None = None, jobs: JobQueue = JOBS):
        self._load = load or _from_pretrained
        self._jobs = jobs
        self._key: tuple | None = None
        self._pipeline: Labels4FreePipeline | None = None

    @contextmanager
    def job(
        self,
        name: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        cancel: CancelToken | None = None,
        on_wait: Callable[[int], None] | None = None,
        release_after: bool = False,
    ) -> Iterator[Labels4FreePipeline]:
        """Waits for its turn, then gives the pipeline of that class: `with cache.job("avatar") as pipeline:`.

        A pipeline of another class, device or precision makes room first. Running out of memory, in loading
        or in the body, empties the cache and is raised as `UserError`. Raises `Cancelled` as `JobQueue.turn`.
        """
        with self._jobs.turn(cancel, on_wait):
            try:
                with out_of_memory_in_words():
                    yield self._get(name, device, dtype)
            except OutOfMemory:
                self._drop()
                raise
            finally:
                if release_after:
                    self._drop()

    @property
    def loaded(self) -> str | None:
        """The name under which the pipeline in memory was asked for, None where there is none."""
        return self._key[0] if self._key else None

    def memory(self) -> int:
        """Bytes: on a GPU what this process holds of its memory, on a CPU the weights; 0 with no pipeline."""
        pipeline = self._pipeline
        return 0 if pipeline is None else memory_in_use(pipeline.device) or pipeline.weight_bytes()

    def release(self) -> MemoryReport:
        """Takes the pipeline out of memory once the running jobs have ended."""
        with self._jobs.turn():
            before, device = self.memory(), self._pipeline and self._pipeline.device
            self._drop()
            return MemoryReport(before, memory_in_use(device) if device else before)

    def _get(self, name: str, device: str | None, dtype: str | None) -> Labels4FreePipeline:
        key = (name, device, dtype)
        if self._key != key or self._pipeline is None:
            self._drop()
            self._pipeline = self._load(name, device=device, dtype=dtype)
            self._key = key
        return self._pipeline

    def _drop(self) -> None:
        pipeline, self._pipeline, self._key = self._pipeline, None, None
        if pipeline is not None:
            pipeline.unload()
            del pipeline
            free_memory()


def _from_pretrained(name: str, **options: str | None) -> Labels4FreePipeline:
    from .pipeline import Labels4FreePipeline

    return Labels4FreePipeline.from_pretrained(name, **options)


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; for None or "auto" the first there is of CUDA, MPS and CPU.

    Raises `UserError` for a name that is unknown or a device that is not there.
    """
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
    """The precision of that name, see `default_dtype` for None or "auto".

    Raises `UserError` for a name that is unknown or a precision the device does not have.
    """
    import torch

    text = "auto" if name is None else str(name).removeprefix("torch.").strip().lower()
    if text == "auto":
        return default_dtype(device)
    allowed = _SUPPORTED.get(device.type, ("float32",))
    if text not in allowed:
        raise UserError(f"{name} cannot be used on {device.type}; use auto or {' or '.join(allowed)}.")
    return getattr(torch, text)


def default_dtype(device: torch.device) -> torch.dtype:
    """float16 on CUDA, float32 elsewhere: there half precision is either slower or less exact for nothing."""
    import torch

    return torch.float16 if device.type == "cuda" else torch.float32


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
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed work
    free_memory()
    raise OutOfMemory(
        "Memory ran out; draw fewer pictures at once (a batch size of 1), close other programs "
        "that use the device, or choose the device cpu."
    ) from None


def _is_out_of_memory(error: BaseException) -> bool:
    words = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in words
        or "can't allocate memory" in words
        or "not enough memory" in words
    )


def memory_in_use(device: torch.device) -> int:
    """Bytes of a GPU's memory that this process holds, cached blocks included; 0 for a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return torch.mps.driver_allocated_memory() if device.type == "mps" else 0


def free_memory() -> None:
    """Returns to the device what torch keeps cached for later."""
    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
