"""The service of a Space: one class, limits for each visitor, and on ZeroGPU a card that is only lent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradio.context import LocalContext

from l4f_plugin.errors import UserError

from ..outputs import Outputs
from ..service import Service, Settings
from ..texts import text
from . import zero_gpu
from .limits import Doorkeeper


class SpaceOutputs(Outputs):
    """Keeps what visitors make in temporary folders of which the oldest make room."""

    def today(self) -> Path:
        """A folder of its own for each picture; nobody else can guess its name."""
        return self.preview_folder()


def space_service(name: str, doorkeeper: Doorkeeper, outputs: Outputs) -> Service:
    """A service that knows the class `name` only and asks `doorkeeper` about every visitor's request."""
    decorator = zero_gpu.gpu_decorator()
    lender = zero_gpu.Lender(decorator) if decorator else None
    # A card that is only lent cannot hold the networks between jobs.
    settings = Settings(device="cpu" if lender else None, default_class=name)

    @contextmanager
    def admit(wanted: str, pictures: int) -> Iterator[None]:
        if wanted != name:
            raise UserError(text("problem.no_class"))
        with doorkeeper.admitted(visitor(), pictures):
            yield

    def lend(pipeline: Any) -> Any:
        if lender is None:
            return pipeline
        lender.pipeline = pipeline
        return lender

    return Service(lambda: settings, outputs, admit=admit, lend=lend, only=name)


def visitor() -> tuple[str, str]:
    """Session and address of whoever asks; strangers of whom nothing is known share one record."""
    request = LocalContext.request.get(None)
    session = getattr(request, "session_hash", None)
    address = getattr(getattr(request, "client", None), "host", None)
    return f"session {session}", f"address {address}"
