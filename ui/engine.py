"""The door to the engine. Importing it, and building a page, imports no torch and reads no weight."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from l4f_plugin import model_cache, runtime
from l4f_plugin.errors import UserError

from .texts import text

if TYPE_CHECKING:
    from l4f_plugin.arguments import Background, EdgeOptions
    from l4f_plugin.checkpoints.catalogue import ClassEntry
    from l4f_plugin.pipeline import Sample, SwapResult

DEFAULT_CLASS = "avatar"
BATCH = 4
"""Pictures drawn at once: the first ones appear soon, and Cancel is looked at in between."""
SAMPLES_KEPT = 16
"""Subjects remembered, so that a change of background or edge does not draw them anew."""


class Engine:
    """Asks the pipeline for what the panels show, one job at a time over all pages of the process.

    `device` and `dtype` are names as in `l4f_plugin.runtime`, None chooses.
    """

    def __init__(self, device: str | None = None, dtype: str | None = None):
        self._device = device
        self._dtype = dtype
        self._cache = model_cache.ModelCache()
        self._samples: OrderedDict[tuple[str, int, float], Sample] = OrderedDict()

    def classes(self) -> list[ClassEntry]:
        """The classes that draw with masks without a download, then bundles that say what is wrong with them."""
        from l4f_plugin.checkpoints import catalogue

        shown = [entry for entry in catalogue.classes() if entry.problem or (entry.installed and entry.masks)]
        return sorted(shown, key=lambda entry: entry.problem is not None)

    def default_class(self) -> str | None:
        """The class a page starts with."""
        entries = self.classes()
        usual = [entry for entry in entries if entry.name == DEFAULT_CLASS and not entry.problem]
        return next((entry.name for entry in usual + entries), None)

    def entry(self, name: str | None) -> ClassEntry:
        """What is known about a class. Raises `UserError` for one that is not on offer."""
        found = next((entry for entry in self.classes() if entry.name == name), None)
        if found is None:
            raise UserError(text("problem.no_class"))
        return found

    def is_usable(self, name: str | None) -> bool:
        """Whether the class can draw."""
        return any(entry.name == name and not entry.problem for entry in self.classes())

    def is_busy(self) -> bool:
        """Whether a job that starts now would have to wait."""
        return len(model_cache.JOBS) > 0

    def new_token(self) -> runtime.CancelToken:
        """A token for a job that may be cancelled."""
        return runtime.CancelToken()

    def generate(
        self, name: str, seeds: Sequence[int], truncation_psi: float, token: runtime.CancelToken
    ) -> Iterator[list[Sample]]:
        """An empty list once the class is in memory, then the samples, at most `BATCH` at a time.

        Raises `Cancelled` when `token` says so, `UserError` for what a person can mend.
        """
        with self._job(name, token) as pipeline:
            yield []
            for start in range(0, len(seeds), BATCH):
                yield pipeline.generate(
                    seeds[start : start + BATCH], truncation_psi, batch_size=BATCH, cancel=token
                )

    def sample(self, name: str, seed: int, truncation_psi: float, token: runtime.CancelToken) -> Sample:
        """One subject, from memory where it was drawn lately."""
        key = (name, seed, truncation_psi)
        found = self._samples.get(key)
        if found is None:
            with self._job(name, token) as pipeline:
                [found] = pipeline.generate([seed], truncation_psi, cancel=token)
        self._samples[key] = found
        self._samples.move_to_end(key)
        while len(self._samples) > SAMPLES_KEPT:
            self._samples.popitem(last=False)
        return found

    def swap(
        self, name: str, sample: Sample, background: Background, edge: EdgeOptions, token: runtime.CancelToken
    ) -> SwapResult:
        """The sample before another background."""
        with self._job(name, token) as pipeline:
            return pipeline.swap(sample, background, cancel=token, **asdict(edge))

    def warm_up(self) -> None:
        """Imports what the first job needs, so that its click is answered sooner. Reads no weight."""
        with suppress(Exception):  # what is missing is said, in words, to whoever clicks
            from l4f_plugin import pipeline  # noqa: F401

    def device(self) -> str | None:
        """The device in words; None as long as nothing has imported torch, which takes seconds."""
        if "torch" not in sys.modules:
            return None
        return runtime.describe_device(runtime.choose_device(self._device))

    def loaded(self) -> list[str]:
        """Titles of the classes in memory."""
        return [entry.title for entry in self.classes() if entry.name == self._cache.loaded]

    def memory(self) -> int:
        """Bytes that the networks take, see `ModelCache.memory`."""
        return self._cache.memory()

    def unload(self) -> model_cache.MemoryReport:
        """Takes the networks and the remembered subjects out of memory, after the running job."""
        self._samples.clear()
        return self._cache.release()

    def nvidia_hint(self) -> str | None:
        """The remedy where an NVIDIA card lies idle."""
        return runtime.nvidia_hint()

    def _job(self, name: str, token: runtime.CancelToken):
        return self._cache.job(name, device=self._device, dtype=self._dtype, cancel=token)
