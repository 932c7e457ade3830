"""The service within a host: its settings, its queue, its memory, its folders."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

from l4f_plugin.jobs import QUEUE, CancelToken
from l4f_plugin.runtime import OutOfMemory

from ..outputs import Outputs
from ..service import Service
from . import host, host_memory, queueing
from .settings import apply_environment, output_folder, service_settings

if TYPE_CHECKING:
    from l4f_plugin.pipeline import Labels4FreePipeline

MEMORY_SECONDS = 60.0
"""How long a training stays out of memory after a job found too little: long enough to try again."""


@lru_cache(maxsize=1)
def service() -> HostService:
    """The one of this process, whatever is loaded anew around it."""
    apply_environment()
    return HostService()


class HostService(Service):
    """`ran_out` tells whether the last job found too little memory. After `make_room` the next one begins with the
    host's model out of the way, which comes back when the job has ended."""

    def __init__(self) -> None:
        outputs = Outputs(output_folder)
        super().__init__(service_settings, outputs, manages_classes=host.is_private(), gate=self._gate)
        self.ran_out = False
        self._ran_out_at = -MEMORY_SECONDS
        self._make_room = False

    def device_use(self) -> str:
        """What keeps a training away: the host's work and ours, and for a while after one of ours found no memory."""
        if time.monotonic() - self._ran_out_at < MEMORY_SECONDS:
            return "needs memory"
        state = host.find("shared", "state")
        works = getattr(state, "job", "") or getattr(state, "job_count", 0)
        return "works" if works or self.is_busy() else ""

    def new_token(self) -> CancelToken:
        return queueing.HostToken()

    def is_busy(self) -> bool:
        """Whether a job that starts now would have to wait for another of ours."""
        return len(queueing.DOOR) > 0 or super().is_busy()

    @contextmanager
    def turn(self, token: CancelToken) -> Iterator[None]:
        """A turn in both queues. Steps of a training come by the hundred: the host is not told of each."""
        with queueing.turn(token), QUEUE.turn(token):
            yield

    @contextmanager
    def drawing(self, name: str, token: CancelToken, pictures: int | None = None) -> Iterator[Labels4FreePipeline]:
        """As of every service; notes whether memory ran out."""
        try:
            with super().drawing(name, token, pictures) as pipeline:
                yield pipeline
        except OutOfMemory:
            self.ran_out, self._ran_out_at = True, time.monotonic()
            raise
        self.ran_out = False

    def make_room(self) -> None:
        """Has the next job begin by freeing what the host holds of the device's memory."""
        self._make_room = True

    @contextmanager
    def _gate(self, cancel: CancelToken) -> Iterator[None]:
        with queueing.job(cancel):
            wanted, self._make_room = self._make_room, False
            with host_memory.host_model_away() if wanted else nullcontext():
                yield
