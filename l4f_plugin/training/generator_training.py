"""Training of a generator and its discriminator from a folder of pictures (StyleGAN2, Karras et al. 2020)."""

from __future__ import annotations

import copy
from dataclasses import astuple, dataclass, field

import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from ..networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from ..networks.generator import mix_styles
from . import together
from .augmentation import AdaptiveProbability, augment
from .losses import as_a_judge, generator_loss, path_length_penalty, verdict_on
from .pictures import PictureFolder
from .trainer import Trainer, picture_grid
from .troubles import ALIKE, GONE, MEMORISED
from .updates import follow

CHANNELS = {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16}
PATH_LENGTH_DECAY = 0.01
# Of running means: what no training comes back from by itself. In a healthy run from nothing (2,500
# steps) the loss was .17 at least, in four others (17,000 steps, logged as means of 125) .30. Variety is of a batch
# by what real pictures have of it: .57 at least in 320 batches of four trained generators.
LEAST_LOSS, LEAST_VARIETY = 0.03, 0.1
LOOKED_AT = 16  # pixels a side, to which pictures are averaged to tell how they differ
LOOKS_EVERY = 32  # rounds, whether the pictures are still there
GRID_ROWS, GRID_COLUMNS = 6, 10


@dataclass(frozen=True)
class GeneratorSettings:
    """What fixes a run: the same settings, seed and pictures give the same weights on one thread of one machine."""

    resolution: int = 64
    channels: dict[int, int] = field(default_factory=CHANNELS.copy)
    discriminator_channels: dict[int, int] = field(default_factory=CHANNELS.copy)
    latent_dim: int = 128
    style_dim: int = 128
    mapping_layers: int = 2
    batch_size: int = 8
    learning_rate: float = 2e-3
    r1_weight: float = 10.0  # with 1 and less the discriminator ran away at 128 px, and pictures grew worse
    r1_interval: int = 16
    path_length_weight: float = 0.0
    path_length_interval: int = 8
    style_mixing: float = 0.5
    augmentation: str = "none"  # "none", "fixed" or "adaptive"
    augmentation_probability: float = 0.3
    noise: bool = True  # per-pixel noise inputs; drawings do without: the noise becomes speckle, not texture
    flip: bool = True
    crop: tuple[int, int, int, int] | None = None  # (top, bottom, left, right) that pictures fill; bars are black
    ema_half_life: int = 5_000  # pictures
    frozen_blocks: int = 0  # of the discriminator, from the finest: what it knows of pictures stays (FreezeD, 2020)
    feature_dtype: str = "bfloat16"
    accumulate: int = 1  # parts in which a batch is computed, for less memory
    seed: int = 0

    def generator_config(self) -> GeneratorConfig:
        """The generator these settings describe; ``channels`` may name more resolutions than are used."""
        return GeneratorConfig(
            self.resolution, _upto(self.channels, self.resolution), self.latent_dim, self.style_dim, self.mapping_layers
        )

    def discriminator_config(self) -> DiscriminatorConfig:
        return DiscriminatorConfig(self.resolution, _upto(self.discriminator_channels, self.resolution))


class GeneratorTrainer(Trainer):
    """One optimiser round after another: first the discriminator, then the generator.

    Args:
        settings: see ``GeneratorSettings``.
        pictures: real pictures at ``settings.resolution``; None where no step is taken.
        generator, discriminator: weights to start from; random when None.
    """

    kept = ("generator", "averaged", "discriminator", "generator_optimizer", "discriminator_optimizer")
    plain = ("mean_loss", "mean_variety", "mean_path_length")

    def __init__(
        self,
        settings: GeneratorSettings,
        pictures: PictureFolder | None = None,
        device: torch.device | str = "cpu",
        generator: Generator | None = None,
        discriminator: Discriminator | None = None,
    ):
        super().__init__(settings, device)
        self.pictures = pictures
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.generator = self.trained(generator or Generator(settings.generator_config()))
            self.discriminator = self.trained(discriminator or Discriminator(settings.discriminator_config()))
        if settings.frozen_blocks:
            self.discriminator.from_rgb.requires_grad_(False)
            self.discriminator.blocks[: settings.frozen_blocks].requires_grad_(False)
        dtype = getattr(torch, settings.feature_dtype)
        self.generator.synthesis.feature_dtype = self.discriminator.feature_dtype = dtype
        if not settings.noise:
            for convolution in self.generator.synthesis.convolutions:
                torch.nn.init.zeros_(convolution.noise_strength)
        self.averaged = copy.deepcopy(self.generator).eval().requires_grad_(False)
        path_interval = settings.path_length_interval if settings.path_length_weight > 0 else 0
        self.generator_optimizer = _adam(self.generator, settings.learning_rate, path_interval)
        self.discriminator_optimizer = _adam(self.discriminator, settings.learning_rate, settings.r1_interval)
        self.adaptive = AdaptiveProbability()
        self.mean_path_length = torch.zeros(())
        self.mean_loss = self.mean_variety = 1.0
        self._pictures_are_gone = False

    @property
    def trouble(self) -> str | None:
        if self.mean_variety < LEAST_VARIETY:
            return ALIKE
        if self.mean_loss < LEAST_LOSS:
            return MEMORISED
        return GONE if self._pictures_are_gone else None

    def step(self) -> dict[str, float]:
        metrics = self._update_discriminator() | self._update_generator()
        # The average follows quickly at first, when old weights are worth nothing.
        half_life = min(self.settings.ema_half_life, max(self.pictures_seen * 0.05, 1.0))
        follow(self.averaged, self.generator, keep=0.5 ** (self.settings.batch_size / half_life))
        if self.rounds % LOOKS_EVERY == 0:
            self._pictures_are_gone = self.pictures.gone()
        self.rounds += 1
        return metrics

    def _update_discriminator(self) -> dict[str, float]:
        settings = self.settings

        def loss_of() -> tuple[Tensor, dict[str, float]]:
            with torch.no_grad():
                fake = self.generator.synthesis(self._draw_styles(), self._draw_noise()).image
            real = self.pictures.batch(self.batch, self.random, settings.flip).to(self.device)
            variety = _variety(fake) / max(_variety(real), 1e-6)
            loss, metrics = verdict_on(
                self._augment(real),
                self._augment(fake),
                self.discriminator,
                r1_weight=settings.r1_weight,
                r1_interval=settings.r1_interval,
                rounds=self.rounds,
            )
            return loss, metrics | {"variety": variety}

        metrics = self.descend(self.discriminator_optimizer, loss_of)
        self._follow({"variety": metrics["variety"], "loss": metrics["discriminator_loss"]})
        if settings.augmentation == "adaptive":
            self.adaptive.update(metrics["real_sign"], settings.batch_size)
            metrics["real_sign"] = self.adaptive.overfitting
            metrics["augmentation_probability"] = self.adaptive.probability
        return metrics

    def _update_generator(self) -> dict[str, float]:
        settings = self.settings

        def loss_of() -> tuple[Tensor, dict[str, float]]:
            w_plus = self._draw_styles()
            image = self.generator.synthesis(w_plus, self._draw_noise()).image
            loss = generator_loss(judge(self._augment(image)))
            metrics = {"generator_loss": loss.item()}
            if settings.path_length_weight > 0 and self.rounds % settings.path_length_interval == 0:
                noise = self.normal(*image.shape)
                penalty, lengths = path_length_penalty(image, w_plus, self.mean_path_length, noise)
                loss = loss + penalty * (settings.path_length_weight * settings.path_length_interval)
                metrics["path_length"] = lengths.mean().item()
            return loss, metrics

        with as_a_judge(self.discriminator) as judge:
            metrics = self.descend(self.generator_optimizer, loss_of)
        if "path_length" in metrics:
            self.mean_path_length += PATH_LENGTH_DECAY * (metrics["path_length"] - self.mean_path_length)
        return metrics

    def _draw_styles(self) -> Tensor:
        """W+ codes ``[N, num_styles, style_dim]``, some of them mixed from two z."""
        settings, count, everyone = self.settings, self.batch, self.settings.batch_size
        z = self.normal(2 * count, settings.latent_dim)
        first, second = self.generator.truncate(self.generator.mapping(z)).chunk(2)
        layers = self.generator.config.num_styles
        crossover = together.share(torch.randint(1, layers, (everyone,), generator=self.random))
        mixed = together.share(torch.rand(everyone, generator=self.random)) < settings.style_mixing
        return mix_styles(first, second, torch.where(mixed, crossover, layers).to(self.device))

    def _draw_noise(self) -> str | list[Tensor]:
        return self.noise_maps(self.generator, self.batch) if self.settings.noise else "none"

    def _augment(self, images: Tensor) -> Tensor:
        if self.settings.augmentation == "none":
            return images
        adaptive = self.settings.augmentation == "adaptive"
        probability = self.adaptive.probability if adaptive else self.settings.augmentation_probability
        return augment(images, probability, self.random, self.settings.crop)

    def sample_grid(self) -> Image.Image:
        """Pictures of the averaged weights at psi 1, always from the same z."""
        random = torch.Generator().manual_seed(1)
        return picture_grid(torch.cat([self.draw(GRID_COLUMNS, random) for _ in range(GRID_ROWS)]), GRID_COLUMNS)

    @torch.no_grad()
    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """``count`` pictures of the averaged weights at psi 1: ``[count, 3, R, R]`` in about [-1, 1]."""
        z = torch.randn(count, self.settings.latent_dim, generator=random).to(self.device)
        return self.averaged(z)

    def state(self) -> dict:
        return super().state() | {"augmentation": list(astuple(self.adaptive))}

    def load_state(self, state: dict) -> None:
        super().load_state(state)
        # Runs of before the statistic was kept hold the probability alone.
        self.adaptive = AdaptiveProbability(*(state.get("augmentation") or [state["augmentation_probability"]]))


def _adam(network: torch.nn.Module, learning_rate: float, interval: int) -> torch.optim.Adam:
    """Adam with betas (0, .99), corrected for a regulariser applied every ``interval`` steps (StyleGAN2, app. B)."""
    correction = interval / (interval + 1) if interval else 1.0
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return torch.optim.Adam(
        weights, lr=learning_rate * correction, betas=(0.0, 0.99**correction), eps=1e-8, foreach=True
    )


def _variety(images: Tensor) -> float:
    """How much pictures of a batch differ, pixel by pixel."""
    small = functional.adaptive_avg_pool2d(images.float(), min(LOOKED_AT, images.shape[2]))
    return small.std(dim=0, unbiased=False).mean().item()


def _upto(channels: dict[int, int], resolution: int) -> dict[int, int]:
    return {size: count for size, count in channels.items() if size <= resolution}
