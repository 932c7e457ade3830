"""The one border between pictures and tensors: seeds in, pictures with masks out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .arguments import (
    LARGEST_BATCH,
    Background,
    EdgeOptions,
    check_integer,
    check_noise_mode,
    check_seed,
    check_seeds,
    check_truncation_psi,
)
from .checkpoints.bundle import Bundle
from .checkpoints.config import BundleConfig
from .checkpoints.hub import HubMixin
from .runtime import CancelToken, choose_device, choose_dtype, free_memory, out_of_memory_in_words
from .samples import Sample, SwapResult, put_before

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Style:
    """What, besides the seed, decides how a picture looks. See `Labels4FreePipeline.stream`."""

    truncation_psi: float
    truncation_cutoff: int | None = None
    noise_mode: str = "random"


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
        self.to(device, dtype)

    @property
    def config(self) -> BundleConfig:
        """The class's name, licence, defaults."""
        return self.bundle.config

    @property
    def resolution(self) -> int:
        """Side of the generator's pictures in pixels, before the class's crop."""
        return self.bundle.generator.config.resolution

    @property
    def picture_size(self) -> tuple[int, int]:
        """(width, height) of the pictures that come out."""
        top, bottom, left, right = self._crop
        return right - left, bottom - top

    @property
    def _crop(self) -> tuple[int, int, int, int]:
        return self.config.crop or (0, self.resolution, 0, self.resolution)

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

    def weight_bytes(self) -> int:
        """Size of the networks in memory."""
        return sum(
            tensor.numel() * tensor.element_size()
            for network in self.bundle.networks().values()
            for tensor in network.state_dict().values()
        )

    def _move(self, device: torch.device) -> None:
        for network in self.bundle.networks().values():
            network.to(device).eval().requires_grad_(False)

    def generate(
        self,
        seeds: Sequence[int],
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        batch_size: int = 4,
        with_background: bool = True,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Sample]:
        """All samples of `stream` as a list."""
        return list(
            self.stream(
                seeds,
                truncation_psi,
                truncation_cutoff,
                noise_mode,
                batch_size,
                with_background,
                progress,
                cancel,
            )
        )

    def stream(
        self,
        seeds: Sequence[int],
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        batch_size: int = 4,
        with_background: bool = True,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[Sample]:
        """One sample for each seed, in order, as soon as its batch is drawn.

        Args:
            seeds: 1 to 10,000 whole numbers from 0 to 2**32 - 1. Everything random comes from the seed, so
                that neither batch size nor company changes a picture.
            truncation_psi: in [-2, 2]; 1 draws freely, 0 the mean picture. None takes the class's default.
            truncation_cutoff: styles from this layer on are not truncated; None truncates all.
            noise_mode: "random" (drawn from the seed), "stored" (the same maps for all) or "none".
            batch_size: pictures drawn at once, from 1 to 256; each background counts as one more.
            progress: called as `progress(done, total, message)` after each batch.
            cancel: looked at before each batch and each block of the synthesis.

        Raises `UserError` for arguments out of bounds, at once, and where memory runs out; `Cancelled`.
        """
        seeds = check_seeds(seeds)
        style = self._style(truncation_psi, truncation_cutoff, noise_mode)
        check_integer("The batch size", batch_size, 1, LARGEST_BATCH)
        return self._stream(seeds, style, batch_size, with_background, progress, cancel or CancelToken())

    def _stream(
        self,
        seeds: list[int],
        style: Style,
        batch_size: int,
        with_background: bool,
        progress: Progress | None,
        cancel: CancelToken,
    ) -> Iterator[Sample]:
        for start in range(0, len(seeds), batch_size):
            batch = seeds[start : start + batch_size]
            samples, backgrounds = self._draw(batch, batch if with_background else [], style, cancel)
            for sample, background in zip(
                samples, backgrounds if with_background else [None] * len(batch), strict=True
            ):
                sample.background = background
            if progress:
                done = start + len(batch)
                progress(done, len(seeds), f"{done} of {len(seeds)} pictures")
            yield from samples

    def swap(
        self,
        subject: int | Sample,
        background: Background | object,
        *,
        threshold: float | None = None,
        grow: int = 0,
        feather: float = 0.0,
        keep_largest: bool = False,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        cancel: CancelToken | None = None,
    ) -> SwapResult:
        """Puts a subject in front of another background.

        `subject` is a seed, drawn with the last options as in `stream`, or a `Sample`, which keeps its style.
        `background` is what `Background.parse` reads: `seed:7`, a picture, `#rrggbb`, `blur:8` or
        `transparent`. `threshold`, `grow`, `feather` and `keep_largest` edit the mask (`EdgeOptions`).

        Raises `UserError` for arguments out of bounds, pictures that cannot be read and a class that has no
        masks yet; `Cancelled`.
        """
        edge = EdgeOptions(threshold, grow, feather, keep_largest)
        wanted = Background.parse(background)
        scenery = [wanted.seed] if wanted.kind == "seed" else []
        if isinstance(subject, Sample):
            sample, drawn = subject, []
            if scenery and subject.seed == wanted.seed and subject.background is not None:
                drawn = [subject.background]
            elif scenery:
                style = self._style(sample.truncation_psi, sample.truncation_cutoff, sample.noise_mode)
                _, drawn = self._draw([], scenery, style, cancel or CancelToken())
        else:
            style = self._style(truncation_psi, truncation_cutoff, noise_mode)
            [sample], drawn = self._draw([check_seed(subject)], scenery, style, cancel or CancelToken())
        return put_before(sample, wanted, drawn[0] if drawn else None, edge)

    def _style(self, psi: float | None, cutoff: int | None, noise_mode: str) -> Style:
        if cutoff is not None:
            check_integer("The truncation cutoff", cutoff, 0, self.bundle.generator.config.num_styles)
        psi = self.config.truncation_psi if psi is None else check_truncation_psi(psi)
        return Style(psi, cutoff, check_noise_mode(noise_mode))

    def _draw(
        self, subjects: list[int], backgrounds: list[int], style: Style, cancel: CancelToken
    ) -> tuple[list[Sample], list[np.ndarray]]:
        """Subjects, with masks if the class has them, and backgrounds uint8 `[H, W, 3]`, all in one batch."""
        cancel.check()
        self._move(self.device)
        with out_of_memory_in_words():
            pictures, alphas = self._synthesise(subjects, backgrounds, style, cancel)
        samples = [
            Sample(
                seed,
                style.truncation_psi,
                picture,
                alpha,
                None,
                self.config.class_name,
                style.truncation_cutoff,
                style.noise_mode,
            )
            for seed, picture, alpha in zip(subjects, pictures, alphas, strict=False)
        ]
        return samples, list(pictures[len(subjects) :])

    @torch.inference_mode()
    def _synthesise(
        self, subjects: list[int], backgrounds: list[int], style: Style, cancel: CancelToken
    ) -> tuple[np.ndarray, Sequence[np.ndarray | None]]:
        """Pictures uint8 `[N + M, H, W, 3]` of N subjects and M backgrounds, alphas float32 `[N, H, W]`.

        A class without masks has None for each alpha.
        """
        generator, learned = self.bundle.generator, self.bundle.background
        seeds = [*subjects, *backgrounds]
        drawn = {seed: RandomInputs.of(seed, generator.config, style.noise_mode) for seed in seeds}
        w_plus = self._w_plus([drawn[s] for s in subjects], [drawn[s] for s in backgrounds], style)
        noise = style.noise_mode
        if noise == "random":
            layers = zip(*(drawn[seed].noise for seed in seeds), strict=True)
            noise = [torch.stack(layer).to(self.device) for layer in layers]  # [N + M, 1, h, w] each
        gate = torch.tensor([1.0] * len(subjects) + [0.0] * len(backgrounds), device=self.device)
        generator.synthesis.feature_dtype = self.dtype
        output = generator.synthesis(
            w_plus,
            noise,
            object_gate=gate if backgrounds else None,
            background_tensor=learned.tensor if learned else None,
            on_block=cancel.check,
        )
        top, bottom, left, right = self._crop
        alphas = [None] * len(subjects)
        if subjects and self.bundle.alpha is not None:
            alpha = self.bundle.alpha([features[: len(subjects)] for features in output.features])
            alphas = alpha[:, 0, top:bottom, left:right].float().cpu().numpy()
        pixels = (output.image.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1)[:, top:bottom, left:right].contiguous().cpu().numpy(), alphas

    def _w_plus(self, subjects: list[RandomInputs], backgrounds: list[RandomInputs], style: Style) -> Tensor:
        """W+ codes `[N + M, num_styles, style_dim]` of the subjects, then of the backgrounds."""
        generator, learned = self.bundle.generator, self.bundle.background
        # Without a learned background this is the published way: the subject's own z, untruncated, gate off.
        latents = [inputs.z for inputs in subjects]
        latents += [inputs.background_z if learned else inputs.z for inputs in backgrounds]
        w = generator.mapping(torch.stack(latents).to(self.device))
        count = len(subjects)
        subject = generator.truncate(w[:count], style.truncation_psi, style.truncation_cutoff)
        background = generator.truncate(w[count:])
        return torch.cat([subject, learned(background) if learned else background])


@dataclass(frozen=True)
class RandomInputs:
    """Everything random about a seed, drawn on the CPU in this order: two latents, then the noise maps."""

    z: Tensor  # [latent_dim]
    background_z: Tensor  # [latent_dim]
    noise: list[Tensor]  # [1, h, w] for each convolution; empty unless the noise mode is "random"

    @classmethod
    def of(cls, seed: int, config, noise_mode: str) -> RandomInputs:
        """The inputs of `seed` for a generator of that `GeneratorConfig`."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(config.latent_dim, generator=random)
        background_z = torch.randn(config.latent_dim, generator=random)
        sides = config.convolution_resolutions if noise_mode == "random" else []
        return cls(z, background_z, [torch.randn(1, side, side, generator=random) for side in sides])
