"""The service within a host: its settings, its queue, its folders, and the memory that its own model takes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from l4f_plugin.jobs import QUEUE, CancelToken
from l4f_plugin.runtime import OutOfMemory

from ..outputs import Outputs
from ..service import Service
from . import host, queueing
from .settings import apply_environment, output_folder, service_settings

if TYPE_CHECKING:
    from l4f_plugin.pipeline import Labels4FreePipeline

MEMORY_SECONDS = 60.0
"""How long a training stays out of memory after a job found too little: long enough to try again."""
_EVERYTHING = 1e30  # bytes: the hosts' own way to ask for all there is


@lru_cache(maxsize=1)
def service() -> HostService:
    """The one of this process, whatever is loaded anew around it."""
    apply_environment()
    return HostService()


class HostService(Service):
    """`ran_out` tells whether the last job found too little memory. After `make_room` the next one begins with the
    host's model out of the way, which comes back when the job has ended."""

    ran_out, _ran_out_at = False, -MEMORY_SECONDS
    _make_room = False

    def __init__(self) -> None:
        super().__init__(service_settings, Outputs(output_folder), manages_classes=host.is_private())

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
    def gate(self, cancel: CancelToken) -> Iterator[None]:
        """A job in the host's queue."""
        with queueing.job(cancel):
            wanted, self._make_room = self._make_room, False
            with host_model_away() if wanted else nullcontext():
                yield


def can_make_room() -> bool:
    return _manager() is not None or hasattr(host.part("sd_models"), "unload_model_weights")


@contextmanager
def host_model_away() -> Iterator[None]:
    """Frees what the host's model takes of the device; it is back, or comes back when it is needed, afterwards."""
    sd_models = host.part("sd_models")
    moved = False
    try:
        moved = _free(sd_models)
    except Exception as error:  # the job may fit all the same
        traceback.print_exception(error)
    try:
        yield
    finally:
        if moved:
            with suppress(Exception):
                sd_models.send_model_to_device(host.find("shared", "sd_model"))


def _free(sd_models: object) -> bool:
    """Whether the model was moved in a way that nobody but us would turn back."""
    manager, devices = _manager(), host.part("devices")
    if manager is not None:  # loads its models by itself, when they are needed
        manager.free_memory(_EVERYTHING, devices.device)
        manager.soft_empty_cache()
        return False
    # Asked to unload where nothing is loaded, A1111 loads a model first.
    loaded = getattr(getattr(sd_models, "model_data", None), "sd_model", None) is not None
    if loaded:
        sd_models.unload_model_weights()
    devices.torch_gc()
    return loaded and hasattr(sd_models, "send_model_to_device")


def _manager() -> object | None:
    """Forge's and reForge's manager of memory."""
    found = (host.part(name) for name in ("backend.memory_management", "ldm_patched.modules.model_management"))
    return next((module for module in found if hasattr(module, "free_memory")), None)
