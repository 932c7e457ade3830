"""Refinement of the masks by the photo segmenter that was trained on them.

The segmenter saw its subjects before other backgrounds only. What the alpha network wrongly keeps of a background does
not fit there, and what it drops is as often on either side, so over thousands of composites the segmenter learns the
subject itself: of generated pictures it finds better masks than those that it was trained on. The alpha network
learns them here, from pictures that the class draws. Still no label takes part.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from ..bundles.bundle import Bundle
from ..bundles.config import crop_of
from .cut_pictures import SHARPNESS
from .losses import binarisation
from .pictures import cropped
from .trainer import Trainer, mask_grid
from .updates import autocast, demand_finite, follow, learning_rate_share, warmed_up

GRID_PICTURES = 24
LOGIT_LIMIT = 1e-6  # masks are kept this far from 0 and 1, where the cross-entropy has no gradient


@dataclass(frozen=True)
class RefinementSettings:
    """What fixes a run on given networks."""

    steps: int = 600
    batch_size: int = 16
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    truncation_psis: tuple[float, float] = (1.0, 0.7)  # batches by turns: wide in variety, and usual
    sharpness: float = SHARPNESS  # times the segmenter's logits: where it is in doubt, half a subject helps nobody
    binarisation_weight: float = 1.0
    ema_decay: float = 0.99
    feature_dtype: str = "bfloat16"
    seed: int = 0
    networks_sha256: str = ""  # of those networks, so that no run goes on with others

    def learning_rate_at(self, step: int) -> float:
        """Falls to 0 along a cosine."""
        return self.learning_rate * learning_rate_share(step / self.steps)


class RefinementTrainer(Trainer):
    """One optimiser step after another toward the masks that the photo segmenter finds.

    Args:
        bundle: the class, whose networks stay as they are. Its masks are where these start from.
    """

    kept = ("alpha", "averaged", "optimizer")

    def __init__(self, settings: RefinementSettings, bundle: Bundle, device: torch.device | str = "cpu"):
        super().__init__(settings, device)
        self.generator, self.student = self.frozen(bundle.generator), self.frozen(bundle.student)
        self.generator.synthesis.feature_dtype = getattr(torch, settings.feature_dtype)
        self.alpha = copy.deepcopy(bundle.alpha).to(self.device).train().requires_grad_(True)
        self.averaged = copy.deepcopy(self.alpha).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.alpha.parameters(), lr=settings.learning_rate, betas=settings.betas)
        self.crop = top, bottom, left, right = crop_of(bundle.config)
        self.reduction = -(-max(bottom - top, right - left) // bundle.student.config.resolution)

    def step(self) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(self.rounds)
        metrics = self.descend(self.optimizer, self._loss)
        follow(self.averaged, self.alpha, warmed_up(self.settings.ema_decay, self.rounds))
        self.rounds += 1
        return metrics

    def _loss(self) -> tuple[Tensor, dict[str, float]]:
        settings = self.settings
        with torch.no_grad():
            z = self.normal(self.batch, self.generator.config.latent_dim)
            noise = self.noise_maps(self.generator, self.batch)
            subject = self._draw(z, settings.truncation_psis[self.rounds % 2], noise)
            wanted = self._wanted(subject.image)
        alpha = self._as_the_student_sees(self.alpha(subject.features)).clamp(LOGIT_LIMIT, 1 - LOGIT_LIMIT)
        demand_finite([alpha, wanted])  # the cross-entropy of NaN ends in an error of its own, on a GPU for good
        entropy = functional.binary_cross_entropy(alpha, wanted)
        error = (alpha - wanted).abs().mean()
        loss = entropy + error + binarisation(alpha) * settings.binarisation_weight
        return loss, {"cross_entropy": entropy.item(), "alpha_error": error.item()}

    def _draw(self, z: Tensor, psi: float, noise: str | list[Tensor]):
        w = self.generator.mapping(z.to(self.device))
        return self.generator.synthesis(self.generator.truncate(w, psi), noise)

    def _as_the_student_sees(self, images: Tensor) -> Tensor:
        """``[N, C, R, R]``, cropped and averaged down as the pictures were that the student learned from."""
        images = cropped(images.float(), self.crop)
        return functional.avg_pool2d(images, self.reduction) if self.reduction > 1 else images

    def _wanted(self, images: Tensor) -> Tensor:
        """The student's masks ``[N, 1, h, w]`` of pictures in [-1, 1], from the mean of picture and mirror image."""
        seen = ((self._as_the_student_sees(images) + 1) / 2).clamp(0, 1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.settings.feature_dtype):
            found, mirrored = self.student(seen), self.student(seen.flip(3)).flip(3)
        return torch.sigmoid((found.float() + mirrored.float()) / 2 * self.settings.sharpness)

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Picture, mask and cut-out of fixed z."""
        z = torch.randn(GRID_PICTURES, self.generator.config.latent_dim, generator=torch.Generator().manual_seed(1))
        subject = self._draw(z, self.settings.truncation_psis[0], "stored")
        return mask_grid(subject.image, self.averaged(subject.features), 4)
