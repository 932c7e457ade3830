"""Memory that the host's own model takes, lent to one of our jobs."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import host

_EVERYTHING = 1e30  # bytes: the hosts' own way to ask for all there is


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
