"""The one door to the work: page, API, Extras and Space ask here. Importing it imports no torch and reads no weight."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from l4f_plugin import runtime
from l4f_plugin.arguments import Background, Canvas, EdgeOptions, Spot
from l4f_plugin.bundles import catalogue
from l4f_plugin.bundles.config import ObjectClass
from l4f_plugin.errors import UserError
from l4f_plugin.hub.download import resolve
from l4f_plugin.jobs import QUEUE, CancelToken
from l4f_plugin.model_cache import ModelCache
from l4f_plugin.photo_batch import PhotoResult, segment_photos
from l4f_plugin.picture_files import PictureSet
from l4f_plugin.provenance import Recipe, WPlus, required_recipe
from l4f_plugin.subject import Subject, SwapResult, place

from .class_jobs import ClassJobs
from .outputs import Outputs
from .texts import text
from .trainings import Trainings

if TYPE_CHECKING:
    import gradio as gr

    from l4f_plugin.directions import Directions
    from l4f_plugin.pipeline import Labels4FreePipeline
    from l4f_plugin.projection import Projection

    from .stage import Stage

BATCH = 4
"""Pictures drawn at once: the first ones appear soon, and Cancel is looked at in between."""
API_MEGAPIXELS, LARGEST_MEGAPIXELS = 24, 64
"""Of a picture that a program sends: how many where nobody has said so, and how many at most."""
SAMPLES_KEPT = 16
"""Subjects remembered, so that a change of background or edge does not draw them anew."""
CLASS_OF_PHOTOGRAPHS = "garments"
"""Where nobody chose a class, *Photographs* begins with this one."""


@dataclass(frozen=True)
class Settings:
    """What a host lets its users choose. `device` and `dtype` are names as in `l4f_plugin.runtime`, None chooses. The
    networks leave memory after `release_after` idle seconds: 0 after every job, None never."""

    device: str | None = None
    dtype: str | None = None
    default_class: str = "avatar"
    release_after: float | None = None
    api_megapixels: float = API_MEGAPIXELS


class Service:
    """What a page and its programs ask for work; one for each page. Hosts and Spaces have their own kinds.

    One job computes at a time over all services of the process. Computing methods take a token, which also tells of
    the wait. They raise `Cancelled` when it says so, and `UserError` for what a person can mend.

    Args:
        settings: asked at each job, as a host's options may change.
        outputs: where results go.
        manages_classes: whoever sees the page may download, import, complete, share and delete classes, and export
            sets. For a page that only its owner reaches.
    """

    follows_drags = True
    """Whether pictures may follow a slider while it is dragged: not where they are counted."""

    def __init__(
        self,
        settings: Callable[[], Settings] = Settings,
        outputs: Outputs | None = None,
        *,
        manages_classes: bool = False,
    ):
        self.settings, self.outputs, self.manages_classes = settings, outputs or Outputs(), manages_classes
        # Tabs of a host that take results, by name: what wires a button of a stage to each.
        self.neighbours: Mapping[str, Callable[[gr.Button, Stage], None]] = {}
        # Parts of the page that is built which `refresh` what they show of the engine, their `outputs`, after each job.
        self.watchers: Sequence[Any] = ()
        self._samples: OrderedDict[tuple[str, int, float], Subject] = OrderedDict()
        self._cache = ModelCache(gate=self.gate, on_release=self._samples.clear)
        self.class_jobs, self.trainings = ClassJobs(self), Trainings(self)

    # Classes

    def all_classes(self) -> list[ObjectClass]:
        """Every class, here or on offer, those that draw at once first. Raises `UserError` for a damaged catalogue."""
        order = lambda entry: (entry.problem is not None, not entry.installed, not entry.masks, entry.name)  # noqa: E731
        return sorted(catalogue.classes(), key=order)

    def classes(self) -> list[ObjectClass]:
        """The classes that draw with masks without a download, then bundles that say what is wrong with them."""
        return [entry for entry in self.all_classes() if entry.problem or (entry.installed and entry.masks)]

    def default_class(self, photographs: bool = False) -> str | None:
        """The class a page starts with, or its photographs, unless somebody chose one for all."""
        entries = self.classes()
        wanted = self.settings().default_class
        if photographs and wanted == Settings.default_class:
            wanted = CLASS_OF_PHOTOGRAPHS
        usual = [entry for entry in entries if entry.name == wanted and not entry.problem]
        return next((entry.name for entry in usual + entries), None)

    def find(self, name: str | None, *, on_offer: bool = False) -> ObjectClass | None:
        """What is known about one of `classes`, or with `on_offer` of `all_classes`; None for others."""
        return next((e for e in (self.all_classes() if on_offer else self.classes()) if e.name == name), None)

    def entry(self, name: str | None, *, on_offer: bool = False) -> ObjectClass:
        """As `find`. Raises `UserError` for others."""
        found = self.find(name, on_offer=on_offer)
        if found is None:
            raise UserError(text("problem.unknown_class", name=str(name)[:60]) if name else text("problem.no_class"))
        return found

    def is_usable(self, name: str | None) -> bool:
        found = self.find(name)
        return found is not None and not found.problem

    # Drawing

    def generate(
        self, name: str, seeds: Sequence[int], truncation_psi: float | None, token: CancelToken
    ) -> Iterator[list[Subject]]:
        """An empty list once the class is in memory, then the samples, at most `BATCH` at a time.

        Where memory runs out the rest is drawn one at a time.
        """
        with self.drawing(name, token, len(seeds)) as pipeline:
            yield []
            batch, done = BATCH, 0
            while done < len(seeds):
                try:
                    samples = pipeline.generate(
                        seeds[done : done + batch], truncation_psi, batch_size=batch, cancel=token
                    )
                except runtime.OutOfMemory:
                    if batch == 1:
                        raise
                    batch = 1
                    continue
                done += len(samples)
                yield samples

    def directions(self, name: str, token: CancelToken) -> tuple[Directions, np.ndarray]:
        """The directions of a class, found at their first use, and its mean style `[style_dim]`."""
        with self.drawing(name, token, 0) as pipeline:
            return pipeline.directions, pipeline.bundle.generator.latent_avg.float().cpu().numpy()

    def name_direction(self, name: str, key: str, words: str) -> Directions:
        """Keeps people's words for a direction; none take them away. Raises `UserError` where they may not."""
        if not self.manages_classes:
            raise UserError(text("explore.names_are_fixed"))
        with self.drawing(name, self.new_token()) as pipeline:
            found = pipeline.directions
            names = {**found.names, key: words.strip()}
            pipeline.directions = replace(found, names={key: words for key, words in names.items() if words})
            return pipeline.directions

    def codes(self, name: str, seeds: Sequence[int], token: CancelToken, truncation_psi: float = 1.0) -> list[WPlus]:
        """The style codes of seeds. Nothing is drawn."""
        with self.drawing(name, token, 0) as pipeline:
            return pipeline.codes(seeds, truncation_psi)

    def draw(self, name: str, codes: Sequence[WPlus], token: CancelToken, **how: bool) -> list[Subject]:
        """The subjects of style codes, in one batch; `how` as `Labels4FreePipeline.draw` takes it."""
        with self.drawing(name, token, len(codes)) as pipeline:
            return pipeline.draw(codes, cancel=token, **how)

    def sample(self, name: str, seed: int, truncation_psi: float, token: CancelToken) -> Subject:
        """One subject, from memory where it was drawn lately."""
        key = (name, seed, truncation_psi)
        with self.admit(name, 1):
            found = self._samples.get(key)
            if found is None:
                with self.drawing(name, token) as pipeline:
                    [found] = pipeline.generate([seed], truncation_psi=truncation_psi, cancel=token)
        self._samples[key] = found
        self._samples.move_to_end(key)
        while len(self._samples) > SAMPLES_KEPT:
            self._samples.popitem(last=False)
        return found

    def swap(
        self,
        name: str,
        sample: Subject,
        background: Background | bytes,
        edge: EdgeOptions,
        token: CancelToken,
        where: Canvas | Spot | None = None,
    ) -> SwapResult:
        """The sample before another background, see `subject.place`; bytes are a picture file, decoded in its turn."""
        with self.admit(name, 0):
            if isinstance(background, bytes) or background.kind != "seed":
                # Nothing to draw: networks that have left memory stay away.
                with self._cache.turn(cancel=token):
                    return place(sample, Background.parse(background), None, edge, where)
            with self.drawing(name, token) as pipeline:
                return pipeline.swap(sample, background, cancel=token, where=where, **asdict(edge))

    def segment(
        self, name: str, source: int | np.ndarray | WPlus | Recipe | bytes | Image.Image, token: CancelToken, **how: Any
    ) -> Subject:
        """What a seed, codes, a recipe or a picture (bytes of its file, or a PIL image) stands for, with its mask.

        A picture that this plug-in saved is drawn once more, another is segmented as a photograph. Of `how`, see
        `Labels4FreePipeline.segment`, `truncation_psi` counts for a seed alone and `keep_largest` for a photograph.
        """
        with self.admit(name, 1):
            if isinstance(source, bytes | Image.Image) and not self.entry(name).photos:
                source = required_recipe(source, self.entry(name).title)  # loads nothing for what cannot be answered
            with self.drawing(name, token) as pipeline:
                return pipeline.segment(source, cancel=token, **how)

    def segment_photos(self, name: str, photos: PictureSet, token: CancelToken, **how: Any) -> Iterator[PhotoResult]:
        """Segments photographs one after another; `how` as `photo_batch.segment_photos` takes it."""
        with self.drawing(name, token, len(photos)) as pipeline:
            yield from segment_photos(pipeline, photos, cancel=token, **how)

    def best_fits(
        self, name: str, photos: Iterable[Callable[[], Path | bytes]], token: CancelToken
    ) -> Iterator[tuple[ObjectClass, float] | None]:
        """The class that fits each photograph best, which is given by what reads it. See `photos.Rivals`."""
        with self.admit(name, 0), self._cache.turn(cancel=token):
            from l4f_plugin.photos import Rivals

            device = runtime.choose_device(self.settings().device)
            rivals = Rivals((entry for entry in self.classes() if entry.name != name), device)
            for photo in photos:
                token.check()
                yield rivals.best(photo())

    def project(self, name: str, photograph: Path | bytes, token: CancelToken, **how: Any) -> Projection:
        """Finds the codes of a photograph's subject; `how` as `projection.project` takes it, with the discriminator."""
        from l4f_plugin.bundles.bundle import load_network
        from l4f_plugin.projection import project

        folder = resolve(name, with_discriminator=True)
        with self.drawing(name, token, 1) as pipeline:
            if pipeline.bundle.discriminator is None:
                pipeline.bundle.discriminator = load_network(folder, "discriminator")
            return project(pipeline, photograph, cancel=token, **how)

    def gate(self, cancel: CancelToken) -> AbstractContextManager:
        """What is entered around each job, see `ModelCache`."""
        return nullcontext()

    def admit(self, name: str, pictures: int) -> AbstractContextManager:
        """What is entered around each request for so many pictures of a class."""
        return nullcontext()

    def lend(self, pipeline: Labels4FreePipeline) -> Any:
        """What draws in place of the pipeline in memory."""
        return pipeline

    @contextmanager
    def drawing(self, name: str, token: CancelToken, pictures: int | None = None) -> Iterator[Labels4FreePipeline]:
        """A turn with the pipeline of a class, for so many pictures; None where they are admitted already."""
        settings = self.settings()
        how = {"device": settings.device, "dtype": settings.dtype, "release_after": settings.release_after}
        admitted = nullcontext() if pictures is None else self.admit(name, pictures)
        with admitted, self._cache.job(name, cancel=token, **how) as pipeline:
            yield self.lend(pipeline)

    def turn(self, token: CancelToken) -> AbstractContextManager:
        """A turn in the queue for work of another kind, such as a step of a training."""
        return self._cache.turn(cancel=token)

    def new_token(self) -> CancelToken:
        return CancelToken()

    def is_busy(self) -> bool:
        """Whether a job that starts now would have to wait."""
        return len(QUEUE) > 0

    def device_use(self) -> str:
        """What keeps a training away from the device now, see `training.courtesy`; empty for nothing."""
        return "works" if self.is_busy() else ""

    # Device and memory

    def device(self) -> str | None:
        """The device in words; None as long as nothing has imported torch, which takes seconds."""
        if "torch" not in sys.modules:
            return None
        try:
            return runtime.describe_device(runtime.choose_device(self.settings().device))
        except UserError as error:  # the device that is set is not there: said again at the first job
            return str(error)

    def warm_up(self) -> None:
        """Imports what the first job needs, so that its click is answered sooner. Reads no weight."""
        with suppress(Exception):  # what is missing is said, in words, to whoever clicks
            from l4f_plugin import pipeline  # noqa: F401

    def loaded(self) -> list[str]:
        name = self._cache.loaded  # a class without masks may be in memory, and is not among `classes`
        return [entry.title for entry in self.all_classes() if entry.name == name] if name else []

    def memory(self) -> int:
        """Bytes that the networks take, see `ModelCache.memory`."""
        return self._cache.memory()

    def unload(self) -> tuple[int, int]:
        """Takes the networks and the remembered subjects out of memory, after the running job."""
        self._samples.clear()
        return self._cache.release()
