"""The one border between pictures and tensors: seeds in, pictures with masks out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from inspect import signature
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import arguments
from .arguments import LARGEST_BATCH, Background, Canvas, EdgeOptions, Spot, Style
from .bundles.bundle import Bundle, load_network
from .bundles.config import ObjectClass
from .bundles.files import DISCRIMINATOR_FILE
from .directions import Directions, directions_of, keep
from .drawing import RandomInputs, noise_of, style_codes, synthesise
from .errors import UserError
from .hub.hub import HubMixin
from .images import Source
from .jobs import NEVER, CancelToken, Progress, unseen
from .photos import find_subject
from .provenance import Recipe, WPlus, recipe_of, refuse_photograph, required_recipe
from .runtime import choose_device, choose_dtype, free_memory, out_of_memory_in_words
from .subject import Subject, SwapResult, place


class Labels4FreePipeline(HubMixin):
    """An object class that draws: `Labels4FreePipeline.from_pretrained("avatar").generate([1, 2, 3])`.

    `device` "auto", "cpu", "cuda", "cuda:1", "mps" or a torch device; `dtype` "float32", "float16" or
    "bfloat16" for the feature maps, by default float16 on CUDA and float32 elsewhere. Masks are always
    computed in float32. Raises `UserError` for what this machine does not have.

    One thread at a time: `model_cache.ModelCache` gives pipelines to jobs in turn.
    """

    def __init__(
        self, bundle: Bundle, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
    ):
        self.bundle = bundle
        self._directions: Directions | None = None
        self.to(device, dtype)

    @property
    def config(self) -> ObjectClass:
        return self.bundle.config

    @property
    def resolution(self) -> int:
        """Side of the generator's pictures in pixels, before the class's crop."""
        return self.bundle.generator.config.resolution

    @property
    def picture_size(self) -> tuple[int, int]:
        """(width, height) of the pictures that come out."""
        return self.config.picture_size

    def to(
        self, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
    ) -> Labels4FreePipeline:
        """Moves the networks; returns the pipeline. None chooses as on construction."""
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.device, dtype)
        self._move(self.device)
        return self

    def unload(self) -> None:
        """Takes the networks off the GPU; the next job brings them back. Does nothing on a CPU."""
        self._move(torch.device("cpu"))
        free_memory()

    @property
    def directions(self) -> Directions:
        """What varies most among the class's subjects; found at the first use, and kept with the class."""
        if self._directions is None:
            self._directions = directions_of(self.bundle)
        return self._directions

    @directions.setter
    def directions(self, named: Directions) -> None:
        self._directions = named
        keep(self.bundle, named)

    def weight_bytes(self) -> int:
        return sum(
            tensor.numel() * tensor.element_size()
            for network in self.bundle.networks().values()
            for tensor in network.state_dict().values()
        )

    @torch.inference_mode(False)  # weights that are moved within it could not be learned from again
    def _move(self, device: torch.device) -> None:
        for network in self.bundle.networks().values():
            network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def stream(
        self,
        seeds: Sequence[int],
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        batch_size: int = 4,
        with_background: bool = True,
        progress: Progress = unseen,
        cancel: CancelToken = NEVER,
    ) -> Iterator[Subject]:
        """One sample for each seed, in order, as soon as its batch is drawn.

        Args:
            seeds: 1 to 10,000 whole numbers from 0 to 2**32 - 1. Everything random comes from the seed. So on one
                machine it gives the same picture to 1/255 in float32, whatever the batch, and to about ten steps of
                255 in 16 bits: in which order sums are rounded depends on batch size, threads and processor.
            truncation_psi: in [-2, 2]; 1 draws freely, 0 the mean picture. None takes the class's default.
            truncation_cutoff: styles from this layer on are not truncated; None truncates all.
            noise_mode: "random" (drawn from the seed), "stored" (the same maps for all) or "none".
            batch_size: pictures drawn at once, from 1 to 256; each background counts as one more.
            progress: called as `progress(done, total, message)` after each batch.
            cancel: looked at before each batch, before each convolution and within long ones.

        Raises `UserError` for arguments out of bounds, at once, and where memory runs out; `Cancelled`.
        """
        seeds = arguments.check_seeds(seeds)
        style = self._style(truncation_psi, truncation_cutoff, noise_mode)
        arguments.check_integer("The batch size", batch_size, 1, LARGEST_BATCH)

        def drawn() -> Iterator[Subject]:
            for start in range(0, len(seeds), batch_size):
                batch = seeds[start : start + batch_size]
                samples, backgrounds = self._draw(batch, batch if with_background else [], style, cancel)
                for sample, background in zip(samples, backgrounds, strict=False):
                    sample.background = background
                done = start + len(batch)
                progress(done, len(seeds), f"{done} of {len(seeds)} pictures")
                yield from samples

        return drawn()

    @wraps(stream, assigned=())
    def generate(self, *arguments, **options) -> list[Subject]:
        """All samples of `stream`, which tells about the arguments, as a list."""
        return list(self.stream(*arguments, **options))

    generate.__signature__ = signature(stream).replace(return_annotation="list[Subject]")

    def swap(
        self,
        subject: int | Subject,
        background: Background | object,
        *,
        threshold: float | None = None,
        grow: int = 0,
        feather: float = 0.0,
        keep_largest: bool = False,
        match_light: float = 0.0,
        keep_shadow: bool = False,
        where: Canvas | Spot | None = None,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        cancel: CancelToken = NEVER,
    ) -> SwapResult:
        """Puts a subject in front of another background.

        `subject` is a seed, drawn with the last options as in `stream`, or a `Subject`: a drawn one keeps its style, a
        photographed one its size. `background` is what `Background.parse` reads: `seed:7`, a picture, `#rrggbb`,
        `blur:8` or `transparent`. `threshold`, `grow`, `feather` and `keep_largest` edit the mask, `match_light` and
        `keep_shadow` fit the subject to the background (`EdgeOptions`). `where` a `Canvas` centres the subject on a
        picture of that size; a `Spot` puts it somewhere on the background picture, whose size the result has. Without
        it the result has the subject's size and the background is cropped.

        Raises `UserError` for arguments out of bounds, pictures that cannot be read and a class that has no masks yet;
        `Cancelled`.
        """
        edge = EdgeOptions(threshold, grow, feather, keep_largest, match_light, keep_shadow)
        wanted = Background.parse(background)
        scenery = [wanted.seed] if wanted.kind == "seed" else []
        style = self._style(truncation_psi, truncation_cutoff, noise_mode)
        drawn: list[np.ndarray] = []
        if not isinstance(subject, Subject):
            [subject], drawn = self._draw([arguments.check_seed(subject)], scenery, style, cancel)
        elif scenery and subject.seed == wanted.seed and subject.background is not None:
            drawn = [subject.background]
        elif scenery:
            _, drawn = self._draw([], scenery, subject.style or style, cancel)
        return place(subject, wanted, drawn[0] if drawn else None, edge, where)

    def _style(self, psi: float | None, cutoff: int | None, noise_mode: str) -> Style:
        if cutoff is not None:
            arguments.check_integer("The truncation cutoff", cutoff, 0, self.bundle.generator.config.num_styles)
        return Style(self.config.truncation_psi if psi is None else psi, cutoff, noise_mode)

    def segment(
        self,
        subject: int | np.ndarray | WPlus | Recipe | bytes | Path | Image.Image,
        *,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        keep_largest: bool = True,
        cancel: CancelToken = NEVER,
    ) -> Subject:
        """The sample that `subject` stands for, with its mask, without its background; or a photograph with its mask.

        `subject` is a seed, drawn with the other options as in `stream`; style codes as `WPlus` or as an array
        `[num_styles, style_dim]`; the `Recipe` of a picture that was saved, which keeps its style; or a picture: its
        file, the bytes of it or a PIL image. One that this plug-in saved is drawn once more by its recipe, any other
        is taken for a photograph, as in `segment_photo`, for which alone `keep_largest` counts.

        Raises `UserError` for arguments out of bounds, codes of another shape, a recipe of another class, a class
        that has no masks yet, and a photograph where the class has no photo segmenter; `Cancelled`.
        """
        style, name = (truncation_psi, truncation_cutoff, noise_mode), self.config.name
        if isinstance(subject, bytes | Path | Image.Image):
            recipe = self.recipe_of_picture(subject)
            if recipe is None:
                return self.segment_photo(subject, keep_largest=keep_largest, cancel=cancel)
            subject = recipe
        if isinstance(subject, Recipe):
            wanted = subject.class_name
            if wanted != name:
                raise UserError(f"This picture is of the class {wanted}, not {name}; choose {wanted}.")
            style, subject = vars(subject.style).values(), subject.seed if subject.w_plus is None else subject.w_plus
        if isinstance(subject, WPlus | np.ndarray):
            [sample] = self.draw([subject if isinstance(subject, WPlus) else WPlus(subject)], cancel=cancel)
        else:
            [sample], _ = self._draw([arguments.check_seed(subject)], [], self._style(*style), cancel)
        sample.required_alpha()
        return sample

    def recipe_of_picture(self, source: Source) -> Recipe | None:
        """How a picture file was drawn where this plug-in drew it, None for a photograph that `segment_photo` takes.

        Raises `UserError` for what is no picture, and for a photograph where the class has no photo segmenter.
        """
        if self.bundle.student is None:
            return required_recipe(source, self.config.title)
        return recipe_of(source)

    def segment_photo(
        self, source: Source | np.ndarray, *, keep_largest: bool = True, cancel: CancelToken = NEVER
    ) -> Subject:
        """A photograph of the class, of any size, with its mask at that size.

        `source` is a path, bytes, a file or a PIL image, as `images.load_layers` reads them, or an array uint8
        `[H, W, 3]`. `Subject.confidence` and `bundles.likeness.stranger` tell whether it looks like the class at all.
        With `keep_largest` the mask is its largest piece alone, and `Subject.dropped` counts the others. Raises
        `UserError` for a class that has no photo segmenter, and for what is missing, damaged, too large or no picture;
        `Cancelled`.
        """
        if self.bundle.student is None:
            refuse_photograph(self.config.title)
        if isinstance(source, np.ndarray):
            source = Image.fromarray(source)
        with self._ready(cancel):
            bundle = self.bundle
            wanted = bundle.discriminator is None and bundle.config.likeness is not None and bundle.folder is not None
            # What tells photographs of something else is read when the first comes; the Hub hands a class without it.
            if wanted and (bundle.folder / DISCRIMINATOR_FILE).is_file():
                bundle.discriminator = load_network(bundle.folder, "discriminator", self.device)
            return find_subject(bundle, source, self.device, keep_largest)

    @torch.inference_mode()
    def _draw(
        self, subjects: list[int], backgrounds: list[int], style: Style, cancel: CancelToken
    ) -> tuple[list[Subject], list[np.ndarray]]:
        """Subjects, with masks if the class has them, and backgrounds uint8 `[H, W, 3]`, all in one batch."""
        with self._ready(cancel):
            seeds, config = [*subjects, *backgrounds], self.bundle.generator.config
            drawn = {seed: RandomInputs.of(seed, config, style.noise_mode) for seed in seeds}
            inputs = [drawn[seed] for seed in seeds]
            w_plus = style_codes(self.bundle, inputs, len(subjects), style)
            noise = noise_of(inputs, style.noise_mode, self.device)
            pictures, alphas = synthesise(self.bundle, w_plus, noise, len(subjects), self.dtype, cancel)
            codes = w_plus[: len(subjects)].float().cpu().numpy()
        random = style.noise_mode == "random"
        samples = [
            Subject(picture, alpha, self.config.name, seed, style, WPlus(code, seed if random else None))
            for seed, picture, alpha, code in zip(subjects, pictures, alphas, codes, strict=False)
        ]
        return samples, list(pictures[len(subjects) :])

    @torch.inference_mode()
    def codes(self, seeds: Sequence[int], truncation_psi: float = 1.0) -> list[WPlus]:
        """Style codes that draw what each seed does with random noise. Raises `UserError` for what is out of bounds."""
        seeds, config = arguments.check_seeds(seeds), self.bundle.generator.config
        self._move(self.device)
        inputs = [RandomInputs.of(seed, config, "none") for seed in seeds]
        w_plus = style_codes(self.bundle, inputs, len(inputs), Style(truncation_psi)).float().cpu().numpy()
        return [WPlus(code, seed) for code, seed in zip(w_plus, seeds, strict=True)]

    @torch.inference_mode()
    def draw(
        self,
        codes: Sequence[WPlus],
        *,
        with_background: bool = False,
        steady: bool = False,
        cancel: CancelToken = NEVER,
    ) -> list[Subject]:
        """The subjects of style codes in one batch, with masks if the class has them.

        The background is that of the seed of their noise, where the class has learned backgrounds. `steady` masks are
        those of the network alone: what colours correct flickers from frame to frame. Raises `UserError` for codes of
        another shape and for more than 256; `Cancelled`.
        """
        arguments.check_integer("The number of pictures", len(codes), 1, LARGEST_BATCH)
        bundle, codes, none = self.bundle, [self._fitting(one) for one in codes], Style(1.0, None, "none")
        with self._ready(cancel):
            inputs = [self._inputs_of(one) for one in codes]
            w_plus = torch.from_numpy(np.stack([one.codes for one in codes])).to(self.device)
            if with_background:
                learned = bundle.background and style_codes(bundle, inputs, 0, none)
                w_plus, inputs = torch.cat([w_plus, w_plus if learned is None else learned]), inputs * 2
            noise = noise_of(inputs, "random", self.device)
            drawn, alphas = synthesise(bundle, w_plus, noise, len(codes), self.dtype, cancel, steady)
        behind = drawn[len(codes) :] if with_background else [None] * len(codes)
        styles = [Style(1.0, None, "random" if one.noise_seed is not None else "stored") for one in codes]
        return [
            Subject(picture, alpha, self.config.name, None, style, one, background)
            for picture, alpha, style, one, background in zip(drawn, alphas, styles, codes, behind, strict=False)
        ]

    def _fitting(self, codes: WPlus) -> WPlus:
        """The codes with a style for each layer. Raises `UserError` where they are of another class."""
        config = self.bundle.generator.config
        wanted = (config.num_styles, config.style_dim)
        if codes.codes.shape == (1, config.style_dim):  # one style for all layers, as some projectors save it
            return WPlus(np.repeat(codes.codes, config.num_styles, axis=0), codes.noise_seed)
        if codes.codes.shape != wanted:
            raise UserError(
                f"These W+ codes are {list(codes.codes.shape)} and {self.config.name} takes {list(wanted)}; "
                "they belong to another class."
            )
        return codes

    def _inputs_of(self, codes: WPlus) -> RandomInputs:
        """What goes with the codes: the noise of their seed, or the maps that are stored with the class."""
        generator = self.bundle.generator
        if codes.noise_seed is not None:
            return RandomInputs.of(codes.noise_seed, generator.config, "random")
        stored = [convolution.noise[0].cpu() for convolution in generator.synthesis.convolutions]
        return replace(RandomInputs.of(0, generator.config, "none"), noise=stored)

    @contextmanager
    def _ready(self, cancel: CancelToken) -> Iterator[None]:
        """The networks on their device, and running out of memory put into words."""
        cancel.check()
        self._move(self.device)
        with out_of_memory_in_words():
            yield
