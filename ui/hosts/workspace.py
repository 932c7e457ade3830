"""Engine, outputs and running jobs within a host: one set for the process, whatever is loaded anew around it."""

from __future__ import annotations

from functools import lru_cache

from ..outputs import Outputs
from ..workspace import Workspace
from . import host
from .engine import HostEngine
from .settings import apply_environment, output_folder


@lru_cache(maxsize=1)
def workspace() -> Workspace:
    """Made at the first call. What changes classes is for a page that only its owner reaches."""
    apply_environment()
    private = host.is_private()
    return Workspace(HostEngine(), Outputs(output_folder), manages_classes=private, own_repositories=private)
