"""Which pipeline is in memory: one object class at a time, for one job at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from .jobs import NEVER, QUEUE, CancelToken
from .runtime import OutOfMemory, free_memory, memory_in_use, out_of_memory_in_words

if TYPE_CHECKING:
    from .pipeline import Labels4FreePipeline

Gate = Callable[[CancelToken], AbstractContextManager]


class ModelCache:
    """At most one pipeline in memory, loaded when a job first needs it.

    `gate(cancel)` is entered around the turn of each job, with its token: the queue of a web UI that owns the device.
    Never within the turn: a web UI that holds its own queue may ask for one of our jobs, which must not wait for one
    that waits for that queue. `on_release` is called after the pipeline has left memory because nobody used it.
    """

    def __init__(self, gate: Gate = lambda cancel: nullcontext(), on_release: Callable[[], None] = lambda: None):
        self._gate, self._on_release = gate, on_release
        self._key: tuple | None = None
        self._pipeline: Labels4FreePipeline | None = None
        self._timer: threading.Timer | None = None

    @contextmanager
    def turn(self, *, cancel: CancelToken = NEVER) -> Iterator[None]:
        """A turn for work that needs no pipeline. See `JobQueue.turn`."""
        with self._gate(cancel), QUEUE.turn(cancel):
            yield

    @contextmanager
    def job(
        self,
        name: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        cancel: CancelToken = NEVER,
        release_after: float | None = None,
    ) -> Iterator[Labels4FreePipeline]:
        """Waits for its turn, then gives the pipeline of that class: `with cache.job("avatar") as pipeline:`.

        A pipeline of another class, device or precision makes room first. Running out of memory, in loading
        or in the body, empties the cache and is raised as `UserError`. The pipeline leaves memory when nobody has used
        it for `release_after` seconds: 0 at the end of the job, None never. Raises `Cancelled` as `JobQueue.turn`.
        """
        from .pipeline import Labels4FreePipeline  # brings torch

        with self.turn(cancel=cancel):
            try:
                with out_of_memory_in_words():
                    if self._pipeline is None or self._key != (name, device, dtype):
                        self._drop()
                        self._pipeline = Labels4FreePipeline.from_pretrained(name, device=device, dtype=dtype)
                        self._key = (name, device, dtype)
                    yield self._pipeline
            except OutOfMemory:
                self._drop()
                raise
            finally:
                if release_after == 0:
                    self._drop()
                self._release_later(release_after)

    @property
    def loaded(self) -> str | None:
        """The name under which the pipeline in memory was asked for, None where there is none."""
        return self._key[0] if self._key else None

    def memory(self) -> int:
        """Bytes: on a GPU what this process holds of its memory, on a CPU the weights; 0 with no pipeline."""
        pipeline = self._pipeline
        return 0 if pipeline is None else memory_in_use(pipeline.device) or pipeline.weight_bytes()

    def release(self) -> tuple[int, int]:
        """Takes the pipeline out of memory once the running jobs have ended; what `memory` says before and after."""
        with QUEUE.turn():
            before, device = self.memory(), self._pipeline and self._pipeline.device
            self._drop()
            return before, memory_in_use(device) if device else before

    def _release_later(self, seconds: float | None) -> None:
        """Sets the clock for the pipeline in memory anew; there is one clock at a time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds and self._pipeline is not None:
            self._timer = threading.Timer(seconds, self._release_idle)
            self._timer.daemon = True  # a web UI that closes does not wait for it
            self._timer.start()

    def _release_idle(self) -> None:
        """Within a turn of its own, so that torch is never called from here while a job runs."""
        with QUEUE.turn():
            if self._timer is not threading.current_thread():
                return  # a job came first and has set the clock anew
            self._drop()
        self._on_release()

    def _drop(self) -> None:
        pipeline, self._pipeline, self._key = self._pipeline, None, None
        if pipeline is not None:
            pipeline.unload()
            del pipeline
            free_memory()
