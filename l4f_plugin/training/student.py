"""Training of the student: a small segmenter of photographs that learns without labels.

Each picture it sees is put together anew from a subject and some background, so its mask is exact for whatever the
subject's cut-out holds; colours, outlines, focus, noise, size and compression are changed at random. Subjects are those
that the class draws, or those that an earlier student found in photographs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from ..evaluation.distortion import BLOCK, add_block_artefacts, add_noise, blur, chance, recolour, uniform, warp
from ..networks import Student, UNet
from . import together
from .cut_pictures import CutPictures
from .scenery import draw_scenery
from .trainer import Trainer, mask_grid
from .updates import autocast, learning_rate_share

LARGEST_SIDE = 256  # of the pictures to learn from: finer edges come from the photograph itself
LEARNING_RATE_RISE = 0.05  # of the steps
GRID_PICTURES = 12


@dataclass(frozen=True)
class StudentSettings:
    """What fixes a run on given pictures."""

    steps: int = 2000
    coarse_share: float = 0.7  # of the steps, the first: with pictures of half the size, which cost a quarter
    batch_size: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    pictures: int = 4000  # at most, drawn or photographed, to learn from
    resolution: int = 128
    own_background: float = 0.0  # the share of pictures whose subject stays where it was
    channels: tuple[int, ...] = (12, 24, 48, 96, 96, 96)
    feature_dtype: str = "bfloat16"
    seed: int = 0
    masks_sha256: str = ""  # of the networks that draw them, so that no run goes on with others

    def learning_rate_at(self, step: int) -> float:
        """Rises to its highest at first, then falls to 0 along a cosine."""
        return self.learning_rate * learning_rate_share((step + 1) / self.steps, LEARNING_RATE_RISE)


def student_settings(class_resolution: int, photographs: bool = False, **others) -> StudentSettings:
    """The recipe for a class, with ``others`` of its settings changed.

    Of photographs half stay whole: their masks may err at the edge, and a seam there would give the mask away.
    """
    side = min(class_resolution, LARGEST_SIDE)
    return StudentSettings(resolution=side, own_background=0.5 if photographs else 0.0, **others)


class StudentTrainer(Trainer):
    """One optimiser step after another on subjects before other backgrounds."""

    kept = ("network", "optimizer")

    def __init__(self, settings: StudentSettings, pictures: CutPictures, device: torch.device | str = "cpu"):
        super().__init__(settings, device)
        self.pictures = pictures
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = UNet(settings.channels)
        together.share_statistics(self.network)
        self.trained(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def step(self) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(self.rounds)
        metrics = self.descend(self.optimizer, self._loss)
        self.rounds += 1
        return metrics

    def _loss(self) -> tuple[Tensor, dict[str, float]]:
        settings = self.settings
        parts = self.pictures.batch(settings.batch_size, self.random)
        coarse = self.rounds < settings.coarse_share * settings.steps
        if coarse and min(parts.shape[2:]) // 2 >= self.network.stride:
            parts = functional.avg_pool2d(parts, 2)
        pictures, alpha = map(together.share, put_together(parts, self.random, settings.own_background))
        pictures = pictures.to(self.device, memory_format=torch.channels_last)
        alpha = alpha.to(self.device)
        with autocast(self.device, settings.feature_dtype):
            logits = self.network(pictures)
        logits = logits.float()
        entropy = functional.binary_cross_entropy_with_logits(logits, alpha)
        error = (torch.sigmoid(logits) - alpha).abs().mean()
        return entropy + error, {"cross_entropy": entropy.item(), "alpha_error": error.item()}

    def student(self) -> Student:
        """The segmenter as it is kept, on the CPU."""
        return Student.folded(self.network, self.settings.resolution)

    @torch.no_grad()
    def sample_grid(self) -> Image.Image:
        """Composites of fixed randomness, the masks found in them, and the cut-outs."""
        random = torch.Generator().manual_seed(1)
        pictures, _ = put_together(self.pictures.batch(GRID_PICTURES, random), random, self.settings.own_background)
        self.network.eval()
        alpha = torch.sigmoid(self.network(pictures.to(self.device))).cpu()
        self.network.train()
        return mask_grid(pictures * 2 - 1, alpha, 4)


def put_together(parts: Tensor, random: torch.Generator, own_background: float = 0.0) -> tuple[Tensor, Tensor]:
    """Subjects before other backgrounds, as photographs may show them; a share of them before their own.

    ``parts [N, 7, H, W]`` in [0, 1] (``CutPictures.batch``); returns pictures ``[N, 3, H, W]`` in [0, 1] and their
    masks ``[N, 1, H, W]``.
    """
    count, _, height, width = parts.shape
    subject, alpha, own = parts[:, :3], parts[:, 3:4], parts[:, 4:]
    whole = torch.cat([torch.lerp(own, subject, alpha), alpha], dim=1)
    whole = torch.where(chance(count, 0.5, random) > 0, whole.flip(3), whole)
    subject, alpha = warp(subject, alpha, random)
    alpha = alpha.clamp(0, 1)
    subject = recolour(subject, alpha, random)
    subject = _shade(_outline(subject, alpha, random), random)
    background = draw_scenery(count, height, width, random)
    background = torch.lerp(background, _elsewhere(own, random), chance(count, 0.3, random))
    pictures = torch.lerp(background, subject.clamp(0, 1), alpha)
    kept = chance(count, own_background, random)
    pictures, alpha = torch.lerp(pictures, whole[:, :3], kept), torch.lerp(alpha, whole[:, 3:], kept)
    pictures = recolour(pictures, alpha * 0 + 1, random)
    pictures = add_noise(blur(pictures, random), random)
    if height % BLOCK == 0 and width % BLOCK == 0:
        pictures = add_block_artefacts(pictures, random)
    return pictures.clamp(0, 1), alpha


def _elsewhere(backgrounds: Tensor, random: torch.Generator) -> Tensor:
    """The backgrounds of other pictures of the batch, turned and moved, so that nothing is left where a subject was."""
    moved, _ = warp(backgrounds.roll(1, dims=0), backgrounds[:, :1], random)
    return recolour(moved, moved[:, :1] * 0 + 1, random)


def _outline(subjects: Tensor, alpha: Tensor, random: torch.Generator) -> Tensor:
    """Lines along the inside of the edge, in any colour but mostly dark, in a quarter of the pictures."""
    count = len(subjects)
    reach = 2 * int(torch.randint(1, 3, (), generator=random)) + 1
    inner = -functional.max_pool2d(-alpha, reach, stride=1, padding=reach // 2)
    colour = uniform((count, 3, 1, 1), -0.4, 0.5, random).clamp(0, 1)
    strength = chance(count, 0.25, random) * uniform((count, 1, 1, 1), 0.3, 1, random)
    return torch.lerp(subjects, colour.expand_as(subjects), (1 - inner).clamp(0, 1) * strength)


def _shade(subjects: Tensor, random: torch.Generator) -> Tensor:
    """Broad patches of other brightness and colour, as light and clothes make them, in half of the pictures."""
    count, _, height, width = subjects.shape
    cells = int(torch.randint(2, 7, (), generator=random))
    patches = torch.randn(count, 3, cells, cells, generator=random) * 0.5 + torch.randn(
        count, 1, cells, cells, generator=random
    )
    patches = functional.interpolate(patches, size=(height, width), mode="bicubic", align_corners=True)
    strength = chance(count, 0.5, random) * uniform((count, 1, 1, 1), 0, 0.3, random)
    return subjects + patches * strength
