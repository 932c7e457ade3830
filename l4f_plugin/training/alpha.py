"""Training of the alpha network on a frozen generator (Labels4Free, Abdal et al. 2021, section 3.3).

One trainer serves both recipes: composites I = alpha * subject + (1 - alpha) * background must convince a
discriminator, while the mask is kept decided and of a sensible area. They differ in settings only (``recipes.py``).
"""

from __future__ import annotations

import copy
from dataclasses import asdict

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..networks import AlphaNetwork, Discriminator, Generator, LearnedBackground
from .adversary import as_a_judge, descend, teach_discriminator
from .averaging import follow, warmed_up
from .grids import picture_grid
from .losses import area_above, area_below, binarisation, generator_loss
from .pictures import PictureFolder
from .recipes import AlphaSettings

# A mask that covers more (or less) than this over many steps has stopped telling subject from background.
COLLAPSED_ABOVE, COLLAPSED_BELOW = 0.97, 0.01
COLLAPSE_DECAY = 0.95


class AlphaTrainer:
    """One optimiser round after another; see ``loop.py`` for files, bars and signals.

    Args:
        settings: a recipe.
        generator: frozen; its ``latent_avg`` is used for truncation.
        pictures: real pictures, only for recipes whose ``real_samples`` are "pictures".
        discriminator: weights to start from, which are copied; random when None.
    """

    def __init__(
        self,
        settings: AlphaSettings,
        generator: Generator,
        device: torch.device | str = "cpu",
        pictures: PictureFolder | None = None,
        discriminator: Discriminator | None = None,
    ):
        self.settings, self.pictures, self.device = settings, pictures, torch.device(device)
        self.random = torch.Generator().manual_seed(settings.seed)
        config = generator.config
        dtype = getattr(torch, settings.feature_dtype)
        self.generator = generator.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.generator.synthesis.feature_dtype = dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.alpha = AlphaNetwork(config.feature_channels).to(self.device)
            fresh = discriminator is None
            self.discriminator = (
                Discriminator(settings.discriminator_config(config)) if fresh else copy.deepcopy(discriminator)
            )
        self.discriminator.to(self.device, memory_format=torch.channels_last).train().requires_grad_(True)
        self.discriminator.feature_dtype = dtype
        self.background = None
        if settings.learned_background:
            self.background = LearnedBackground(config.channels[4], config.num_styles, config.style_dim).to(self.device)
        self.averaged = copy.deepcopy(self.alpha).eval().requires_grad_(False)
        self.averaged_background = copy.deepcopy(self.background)
        groups = [{"params": list(self.alpha.parameters()), "lr": settings.learning_rate}]
        if self.background is not None:
            groups.append({"params": list(self.background.parameters()), "lr": settings.background_learning_rate})
        self.alpha_optimizer = torch.optim.Adam(groups, betas=settings.alpha_betas)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=settings.discriminator_learning_rate, betas=settings.discriminator_betas
        )
        self.rounds = 0
        self.mean_area = 0.5

    @property
    def pictures_seen(self) -> int:
        """Composites the discriminator has judged so far."""
        return self.rounds * self.settings.batch_size

    @property
    def collapsed(self) -> bool:
        """True once masks cover nearly everything or nearly nothing, from which training does not recover."""
        return not COLLAPSED_BELOW < self.mean_area < COLLAPSED_ABOVE

    def step(self) -> dict[str, float]:
        """One update of the discriminator and one of the masks. Returns what is worth logging."""
        metrics = self._update_discriminator()
        metrics |= self._update_alpha()
        self._update_average()
        self.rounds += 1
        return metrics

    def _update_discriminator(self) -> dict[str, float]:
        settings = self.settings
        with torch.no_grad():
            fake, _ = self._composite()
            real = self._real_batch()
        return teach_discriminator(
            self.discriminator,
            self.discriminator_optimizer,
            real,
            fake,
            r1_weight=settings.r1_weight,
            r1_interval=settings.r1_interval,
            rounds=self.rounds,
        ).metrics

    def _update_alpha(self) -> dict[str, float]:
        settings = self.settings
        composite, alpha = self._composite()
        undecided = binarisation(alpha)
        with as_a_judge(self.discriminator) as judge:
            adversarial = generator_loss(judge(composite))
            loss = (
                adversarial * settings.adversarial_weight
                + undecided * settings.binarisation_weight_at(self.rounds)
                + self._area_loss(alpha)
            )
            descend(self.alpha_optimizer, loss)
        area = alpha.mean().item()
        self.mean_area = COLLAPSE_DECAY * self.mean_area + (1 - COLLAPSE_DECAY) * area
        return {"alpha_loss": adversarial.item(), "area": area, "undecided": undecided.item()}

    def _area_loss(self, alpha: Tensor) -> Tensor:
        settings = self.settings
        if settings.limited_at(self.rounds):
            below = area_below(alpha, settings.least_area) * settings.least_area_weight
            return below + area_above(alpha, settings.most_area) * settings.most_area_weight
        floor = area_below(alpha, settings.floor_area) * settings.floor_weight
        return floor + alpha.mean() * settings.area_weight

    def _composite(self) -> tuple[Tensor, Tensor]:
        """Composites ``[N, 3, R, R]`` and their masks ``[N, 1, R, R]``; gradients reach mask and background only."""
        settings, count = self.settings, self.settings.batch_size
        with torch.no_grad():
            w = self.generator.mapping(self._draw_z(count))
            subject = self.generator.synthesis(
                self.generator.truncate(w, settings.truncation_psi), self._draw_noise(count)
            )
        alpha = self.alpha(subject.features)
        background = self._draw_background(w)
        return alpha * subject.image + (1 - alpha) * background, alpha

    def _draw_background(self, subject_w: Tensor) -> Tensor:
        """Pictures with the object switched off, shifted at random if the recipe says so."""
        count = subject_w.shape[0]
        if self.settings.background_own_latent:
            with torch.no_grad():
                subject_w = self.generator.mapping(self._draw_z(count))
        image = draw_backgrounds(self.generator, self.background, subject_w, self._draw_noise(count))
        reach = int(self.settings.background_shift * self.generator.config.resolution)
        return shift_at_random(image, reach, self.random) if reach else image

    def _real_batch(self) -> Tensor:
        settings = self.settings
        if settings.real_samples == "pictures":
            return self.pictures.batch(settings.batch_size, self.random).to(self.device)
        w = self.generator.mapping(self._draw_z(settings.batch_size))
        w_plus = self.generator.truncate(w, settings.truncation_psi)
        return self.generator.synthesis(w_plus, self._draw_noise(settings.batch_size)).image

    def _draw_z(self, count: int) -> Tensor:
        return torch.randn(count, self.generator.config.latent_dim, generator=self.random).to(self.device)

    def _draw_noise(self, count: int) -> list[Tensor]:
        sizes = self.generator.config.convolution_resolutions
        return [torch.randn(count, 1, size, size, generator=self.random).to(self.device) for size in sizes]

    def _update_average(self) -> None:
        keep = warmed_up(self.settings.ema_decay, self.rounds)
        follow(self.averaged, self.alpha, keep)
        if self.background is not None:
            follow(self.averaged_background, self.background, keep)

    @torch.no_grad()
    def sample_grid(self, count: int = 24, columns: int = 4) -> Tensor:
        """Picture, mask, cut-out on grey, background and a swap for fixed z: uint8 ``[H, W, 3]``."""
        random = torch.Generator().manual_seed(1)
        z = torch.randn(2 * count, self.generator.config.latent_dim, generator=random).to(self.device)
        subject_w, background_w = self.generator.mapping(z).chunk(2)
        subject = self.generator.synthesis(self.generator.truncate(subject_w, self.settings.truncation_psi))
        alpha = self.averaged(subject.features)
        background = draw_backgrounds(self.generator, self.averaged_background, background_w, "stored")
        cutout = subject.image * alpha - 0.1 * (1 - alpha)
        swap = subject.image * alpha + background * (1 - alpha)
        mask = (alpha * 2 - 1).expand(-1, 3, -1, -1)
        panels = torch.stack([subject.image, mask, cutout, background, swap], dim=1).flatten(0, 1)
        return picture_grid(panels, 5 * columns)

    def state(self) -> dict:
        """Everything the next step depends on but the frozen generator, which the settings identify."""
        state = {
            "settings": asdict(self.settings),
            "rounds": self.rounds,
            "mean_area": self.mean_area,
            "random": self.random.get_state(),
        }
        return state | {name: getattr(self, name).state_dict() for name in self._stateful()}

    def load_state(self, state: dict) -> None:
        """Continue exactly where ``state()`` was taken."""
        for name in self._stateful():
            getattr(self, name).load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.rounds, self.mean_area = state["rounds"], state["mean_area"]

    def _stateful(self) -> list[str]:
        names = ["alpha", "averaged", "discriminator", "alpha_optimizer", "discriminator_optimizer"]
        return names + (["background", "averaged_background"] if self.background is not None else [])


def draw_backgrounds(
    generator: Generator, background: LearnedBackground | None, w: Tensor, noise: str | list[Tensor]
) -> Tensor:
    """Untruncated pictures ``[N, 3, R, R]`` from ``w [N, style_dim]`` with the object switched off."""
    w_plus = generator.truncate(w)
    off = torch.zeros(w.shape[0], device=w.device)
    if background is None:
        return generator.synthesis(w_plus, noise, off).image
    return generator.synthesis(background(w_plus), noise, off, background.tensor).image


def shift_at_random(images: Tensor, reach: int, random: torch.Generator) -> Tensor:
    """Shift each picture by up to ``reach`` pixels on both axes, repeating its border."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    offsets = torch.randint(0, 2 * reach + 1, (count, 2), generator=random).tolist()
    return torch.stack([padded[i, :, top : top + height, left : left + width] for i, (top, left) in enumerate(offsets)])
