"""The engine within a host: its settings, its queue, its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from l4f_plugin.jobs import QUEUE, CancelToken, OnWait
from l4f_plugin.runtime import OutOfMemory

from ..engine import Engine
from . import memory, queueing
from .settings import engine_settings

if TYPE_CHECKING:
    from l4f_plugin.pipeline import Labels4FreePipeline


class HostEngine(Engine):
    """`ran_out` tells whether the last job found too little memory; after `make_room` the next one begins with the
    host's model out of the way, which comes back when the job has ended."""

    def __init__(self) -> None:
        super().__init__(engine_settings, self._gate)
        self.ran_out = False
        self._make_room = False

    def new_token(self) -> CancelToken:
        """A token that the host's Interrupt sets too."""
        return queueing.HostToken()

    def is_busy(self) -> bool:
        """Whether a job that starts now would have to wait for another of ours."""
        return len(queueing.DOOR) > 0 or super().is_busy()

    @contextmanager
    def turn(self, token: CancelToken, on_wait: OnWait | None = None) -> Iterator[None]:
        """A turn in both queues. Steps of a training come by the hundred: the host is not told of each."""
        with queueing.turn(token, on_wait), QUEUE.turn(token, on_wait):
            yield

    def make_room(self) -> None:
        """Has the next job begin by freeing what the host holds of the device's memory."""
        self._make_room = True

    @contextmanager
    def _gate(self, cancel: CancelToken | None, on_wait: OnWait | None) -> Iterator[None]:
        with queueing.job(cancel, on_wait):
            wanted, self._make_room = self._make_room, False
            with memory.host_model_away() if wanted else memory.untouched():
                yield

    def _job(
        self, name: str, token: CancelToken, on_wait: OnWait | None
    ) -> AbstractContextManager[Labels4FreePipeline]:
        return self._watched(super()._job(name, token, on_wait))

    @contextmanager
    def _watched(self, job: AbstractContextManager[Labels4FreePipeline]) -> Iterator[Labels4FreePipeline]:
        try:
            with job as pipeline:
                yield pipeline
        except OutOfMemory:
            self.ran_out = True
            raise
        self.ran_out = False
