"""The engine of a Space: its one class, and a doorkeeper before every job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradio.context import LocalContext

from l4f_plugin.errors import UserError

from ..engine import Engine, EngineSettings
from ..texts import text
from . import zero_gpu
from .limits import Doorkeeper


class SpaceEngine(Engine):
    """An `Engine` that knows the class `name` only and asks `doorkeeper` about every visitor's request."""

    def __init__(self, name: str, doorkeeper: Doorkeeper):
        decorator = zero_gpu.gpu_decorator()
        # A card that is only lent cannot hold the networks between jobs.
        settings = EngineSettings(device="cpu" if decorator else None, default_class=name)
        super().__init__(settings=lambda: settings)
        self._name, self._doorkeeper = name, doorkeeper
        self._lender = zero_gpu.Lender(decorator) if decorator else None

    def classes(self) -> list:
        """The one class."""
        return [entry for entry in super().classes() if entry.name == self._name]

    def generate(self, name: str, seeds: Any, *arguments: Any, **options: Any) -> Iterator[list]:
        """As the engine's own, for who is let in. Raises `UserError` for others."""
        seeds = list(seeds)
        with self._let_in(name, len(seeds)):
            yield from super().generate(name, seeds, *arguments, **options)

    def sample(self, name: str, *arguments: Any, **options: Any) -> Any:
        """As the engine's own, for who is let in. Raises `UserError` for others."""
        with self._let_in(name, 1):
            return super().sample(name, *arguments, **options)

    def swap(self, name: str, *arguments: Any, **options: Any) -> Any:
        """As the engine's own, for who is let in. Raises `UserError` for others."""
        with self._let_in(name, 0):
            return super().swap(name, *arguments, **options)

    def segment(self, name: str, *arguments: Any, **options: Any) -> Any:
        """As the engine's own, for who is let in. Raises `UserError` for others."""
        with self._let_in(name, 1):
            return super().segment(name, *arguments, **options)

    def segment_photos(self, name: str, files: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        """As the engine's own, for who is let in. Raises `UserError` for others."""
        files = list(files)
        with self._let_in(name, len(files)):
            yield from super().segment_photos(name, files, *arguments, **options)

    def unload(self) -> Any:
        """Not on a Space, where it would disturb the others. Raises `UserError`."""
        raise UserError(text("space.read_only"))

    @contextmanager
    def _let_in(self, name: str, pictures: int) -> Iterator[None]:
        if name != self._name:
            raise UserError(text("problem.no_class"))
        with self._doorkeeper.admitted(_visitor(), pictures):
            yield

    @contextmanager
    def _job(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        """The pipeline, or on ZeroGPU what lends it the card."""
        with super()._job(*arguments, **options) as pipeline:
            if self._lender is not None:
                self._lender.pipeline = pipeline
            yield self._lender or pipeline


def _visitor() -> tuple[str, str]:
    """Session and address of whoever asks; strangers of whom nothing is known share one record."""
    request = LocalContext.request.get(None)
    session = getattr(request, "session_hash", None)
    address = getattr(getattr(request, "client", None), "host", None)
    return f"session {session}", f"address {address}"
