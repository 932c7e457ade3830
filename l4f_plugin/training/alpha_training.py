"""Training of the alpha network on a frozen generator (Labels4Free, Abdal et al. 2021, section 3.3).

One trainer serves both recipes: composites I = alpha * subject + (1 - alpha) * background must convince a
discriminator, while the mask is kept decided and of a sensible area. They differ in settings only (``recipes.py``).
"""

import copy

import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from ..bundles.bundle import Bundle
from ..bundles.config import crop_of
from ..networks import AlphaNetwork, Discriminator, Generator, LearnedBackground
from ..networks.generator import SynthesisOutput
from . import together
from .guessing import blended_corners, guess_masks, inversion
from .loop import UNWATCHED, Watch
from .losses import area_above, area_below, as_a_judge, binarisation, generator_loss, verdict_on
from .pictures import PictureFolder, cropped, letterboxed
from .recipes import AlphaSettings
from .trainer import Trainer, mask_grid
from .updates import follow, warmed_up

# Of the running means below: beyond these, masks have stopped telling subject from background.
COLLAPSED_ABOVE, COLLAPSED_BELOW = 0.97, 0.01
LEAST_VARIATION, DECIDED = 0.03, 0.1
MOST_INVERTED = 0.25
TELLING = ("area", "undecided", "variation", "inversion")
LOOKED_AT = 32  # pixels a side, to which pictures and masks are averaged to be looked at

START_STEPS, START_LEARNING_RATE = 60, 1e-2
GRID_PICTURES, GRID_COLUMNS = 24, 4


class AlphaTrainer(Trainer):
    """One optimiser round after another: first the discriminator, then mask and background.

    Args:
        settings: a recipe.
        bundle: the class, whose networks stay as they are. Masks and backgrounds are new, and so is the discriminator
            unless the recipe goes on from the class's own, which is copied.
        pictures: real pictures, only for recipes whose ``real_samples`` are "pictures".
    """

    kept = ("alpha", "averaged", "discriminator", "alpha_optimizer", "discriminator_optimizer")
    plain = ("mean_area", "mean_undecided", "mean_variation", "mean_inversion", "area_limits")

    def __init__(
        self,
        settings: AlphaSettings,
        bundle: Bundle,
        device: torch.device | str = "cpu",
        pictures: PictureFolder | None = None,
    ):
        super().__init__(settings, device)
        config = bundle.generator.config
        self.pictures = pictures
        self.crop = crop_of(bundle.config)
        self.generator = self.frozen(bundle.generator)
        self.generator.synthesis.feature_dtype = dtype = getattr(torch, settings.feature_dtype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.alpha = AlphaNetwork(config.feature_channels).to(self.device)
            if settings.discriminator_from_bundle and bundle.discriminator:
                discriminator = copy.deepcopy(bundle.discriminator)
            else:
                discriminator = Discriminator(settings.discriminator_config(config))
        self.discriminator = self.trained(discriminator)
        self.discriminator.feature_dtype = dtype
        self.background = None
        if settings.learned_background:
            self.background = LearnedBackground(config.channels[4], config.num_styles, config.style_dim).to(self.device)
            self.kept += ("background", "averaged_background")
        self.averaged = copy.deepcopy(self.alpha).eval().requires_grad_(False)
        self.averaged_background = copy.deepcopy(self.background)
        groups = [{"params": list(self.alpha.parameters()), "lr": settings.learning_rate}]
        if self.background is not None:
            groups.append({"params": list(self.background.parameters()), "lr": settings.background_learning_rate})
        self.alpha_optimizer = torch.optim.Adam(groups, betas=settings.alpha_betas)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=settings.discriminator_learning_rate, betas=settings.discriminator_betas
        )
        optimizers = (self.alpha_optimizer, self.discriminator_optimizer)
        self.full_rates = {one: [group["lr"] for group in one.param_groups] for one in optimizers}
        self.mean_area = self.mean_undecided = 0.5
        self.mean_variation, self.mean_inversion = 0.25, 0.0
        self.area_limits = (settings.least_area, settings.most_area)

    @property
    def collapsed(self) -> str | None:
        """What masks have become that training does not recover from; None as long as they may be right."""
        if self.mean_area > COLLAPSED_ABOVE:
            return "cover everything"
        if self.mean_area < COLLAPSED_BELOW:
            return "cover nothing"
        same = self.mean_variation < LEAST_VARIATION and self.mean_undecided < DECIDED
        if same and 0.1 < self.mean_area < 0.9:  # else it is on its way to one of the above
            return "are the same in all pictures"
        return "hold the background, not the subject" if self.mean_inversion > MOST_INVERTED else None

    def start_from_difference(self, cue: str, watch: Watch = UNWATCHED, steps: int = START_STEPS) -> None:
        """Lets the masks begin as a guess (``guess_masks``), around whose area their limits are put.

        ``cue`` says what the background is taken to be: "corners", the picture's own, enlarged as in section 3.2 of
        the paper, or "switch", the picture with the object switched off. Raises ``Cancelled``.
        """
        optimizer, areas = torch.optim.Adam(self.alpha.parameters(), lr=START_LEARNING_RATE), []
        for _ in range(steps):
            watch.cancel.check()
            with watch.turn():
                areas.append(self.descend(optimizer, lambda: self._distance_from_guess(cue))["area"])
        area = sum(areas) / len(areas)
        self.area_limits = (0.6 * area, min(1.5 * area, 0.95))
        self.averaged.load_state_dict(self.alpha.state_dict())

    def _distance_from_guess(self, cue: str) -> tuple[Tensor, dict[str, float]]:
        subject, w, noise = self._draw_subjects()
        with torch.no_grad():
            off = None
            if cue == "switch":
                off = cropped(draw_backgrounds(self.generator, None, w, noise), self.crop)
            guess = guess_masks(cropped(subject.image, self.crop), off)
        alpha = cropped(self.alpha(subject.features), self.crop).clamp(1e-6, 1 - 1e-6)
        return functional.binary_cross_entropy(alpha, guess), {"area": guess.mean().item()}

    def step(self) -> dict[str, float]:
        share = self.settings.learning_rate_share_at(self.rounds)
        for optimizer, rates in self.full_rates.items():
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
        if self.background is not None and self.rounds < self.settings.background_share * self.settings.steps:
            metrics = self._start_background()
        else:
            metrics = self._update_discriminator() | self._update_alpha()
        keep = warmed_up(self.settings.ema_decay, self.rounds)
        follow(self.averaged, self.alpha, keep)
        if self.background is not None:
            follow(self.averaged_background, self.background, keep)
        self.rounds += 1
        return metrics

    def _start_background(self) -> dict[str, float]:
        def loss_of() -> tuple[Tensor, dict[str, float]]:
            error = self._background_error()
            return error, {"background_error": error.item()}

        return self.descend(self.alpha_optimizer, loss_of)

    def _background_error(self) -> Tensor:
        """How far learned backgrounds are from the blended colours of their pictures' corners; recipes.py says why."""
        subject, w, noise = self._draw_subjects()
        image = draw_backgrounds(self.generator, self.background, w, noise)
        return functional.mse_loss(cropped(image, self.crop), blended_corners(cropped(subject.image, self.crop)))

    def _update_discriminator(self) -> dict[str, float]:
        settings = self.settings
        lazy = {"r1_weight": settings.r1_weight, "r1_interval": settings.r1_interval, "rounds": self.rounds}

        def loss_of() -> tuple[Tensor, dict[str, float]]:
            with torch.no_grad():
                fake, _, _ = self._composite()
                if settings.real_samples == "pictures":
                    real = self.pictures.batch(self.batch, self.random).to(self.device)
                else:
                    real = self._draw_subjects()[0].image
            return verdict_on(real, fake, self.discriminator, **lazy)

        return self.descend(self.discriminator_optimizer, loss_of)

    def _update_alpha(self) -> dict[str, float]:
        settings = self.settings

        def loss_of() -> tuple[Tensor, dict[str, float]]:
            composite, alpha, image = self._composite()
            undecided = binarisation(alpha)
            adversarial = generator_loss(judge(composite))
            loss = (
                adversarial * settings.adversarial_weight
                + undecided * settings.binarisation_weight_at(self.rounds)
                + self._area_loss(alpha, image)
            )
            if self.background is not None and self.rounds % settings.corners_interval == 0:
                loss = loss + self._background_error() * (settings.corners_weight * settings.corners_interval)
            seen = {"area": alpha.mean().item(), "undecided": undecided.item()} | self._look(alpha.detach(), image)
            return loss, {"alpha_loss": adversarial.item()} | seen

        with as_a_judge(self.discriminator) as judge:
            metrics = self.descend(self.alpha_optimizer, loss_of)
        self._follow({name: metrics[name] for name in TELLING if name in metrics})
        return metrics

    def _look(self, alpha: Tensor, images: Tensor) -> dict[str, float]:
        """What tells a collapse, beside area and doubt: how masks differ between pictures, which side they hold."""
        small = functional.adaptive_avg_pool2d(alpha, LOOKED_AT)
        seen = {"inversion": inversion(small, functional.adaptive_avg_pool2d(cropped(images, self.crop), LOOKED_AT))}
        if len(small) > 1:
            seen["variation"] = small.std(dim=0, unbiased=False).mean().item()
        return seen

    def _area_loss(self, alpha: Tensor, images: Tensor) -> Tensor:
        settings = self.settings
        if settings.limited_at(self.rounds):
            least, most = self.area_limits
            below = area_below(alpha, least) * settings.least_area_weight
            return below + area_above(alpha, most) * settings.most_area_weight
        floor = area_below(alpha, settings.floor_area) * settings.floor_weight
        background = alpha * (1 - guess_masks(cropped(images, self.crop)))
        weight = settings.background_weight_at(self.rounds)
        return floor + background.mean() * weight + alpha.mean() * settings.area_weight

    def _composite(self) -> tuple[Tensor, Tensor, Tensor]:
        """Composites ``[N, 3, R, R]``, masks ``[N, 1, H, W]`` without letter-box bars, and the subjects' pictures.

        Gradients reach mask and background only. The bars of a composite are those of its subject.
        """
        subject, w, _ = self._draw_subjects()
        alpha = cropped(self.alpha(subject.features), self.crop)
        shown = alpha * cropped(subject.image, self.crop) + (1 - alpha) * self._draw_background(w)
        return letterboxed(shown, subject.image, self.crop), alpha, subject.image

    @torch.no_grad()
    def _draw_subjects(self) -> tuple[SynthesisOutput, Tensor, list[Tensor]]:
        """A batch of pictures with feature maps, their w ``[N, style_dim]`` and noise maps."""
        count = self.batch
        w = self.generator.mapping(self._draw_z(count))
        noise = self.noise_maps(self.generator, count)
        return self.generator.synthesis(self.generator.truncate(w, self.settings.truncation_psi), noise), w, noise

    def _draw_background(self, subject_w: Tensor) -> Tensor:
        """Pictures with the object switched off, without bars, shifted at random if the recipe says so."""
        count = subject_w.shape[0]
        if self.settings.background_own_latent:
            with torch.no_grad():
                subject_w = self.generator.mapping(self._draw_z(count))
        image = draw_backgrounds(self.generator, self.background, subject_w, self.noise_maps(self.generator, count))
        image = cropped(image, self.crop)
        reach = int(self.settings.background_shift * min(image.shape[2:]))
        return shift_at_random(image, reach, self.random) if reach else image

    def _draw_z(self, count: int) -> Tensor:
        return self.normal(count, self.generator.config.latent_dim)

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Picture, mask, cut-out on grey, background and a swap for fixed z."""
        random = torch.Generator().manual_seed(1)
        z = torch.randn(2 * GRID_PICTURES, self.generator.config.latent_dim, generator=random).to(self.device)
        subject_w, background_w = self.generator.mapping(z).chunk(2)
        subject = self.generator.synthesis(self.generator.truncate(subject_w, self.settings.truncation_psi))
        alpha = self.averaged(subject.features)
        background = draw_backgrounds(self.generator, self.averaged_background, background_w, "stored")
        swap = subject.image * alpha + background * (1 - alpha)
        return mask_grid(subject.image, alpha, GRID_COLUMNS, background, swap)


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
    offsets = torch.randint(0, 2 * reach + 1, (count * together.shares(), 2), generator=random)
    offsets = together.share(offsets).tolist()
    return torch.stack([padded[i, :, top : top + height, left : left + width] for i, (top, left) in enumerate(offsets)])
