"""How a bundle draws: random inputs from seeds, style codes from random inputs, pictures and masks from style codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .arguments import Style
from .bundles.bundle import Bundle
from .bundles.config import crop_of
from .jobs import CancelToken
from .matting import corrected, refine
from .networks import GeneratorConfig
from .photos import coarse_alpha


@dataclass(frozen=True)
class RandomInputs:
    """Everything random about a seed, drawn on the CPU in this order, so that neither batch nor company changes it."""

    z: Tensor  # [latent_dim]
    background_z: Tensor  # [latent_dim]
    noise: list[Tensor]  # [1, h, w] for each convolution; empty unless the noise mode is "random"

    @classmethod
    def of(cls, seed: int, config: GeneratorConfig, noise_mode: str) -> RandomInputs:
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(config.latent_dim, generator=random)
        background_z = torch.randn(config.latent_dim, generator=random)
        sides = config.convolution_resolutions if noise_mode == "random" else []
        return cls(z, background_z, [torch.randn(1, side, side, generator=random) for side in sides])


def noise_of(inputs: Sequence[RandomInputs], noise_mode: str, device: torch.device) -> str | list[Tensor]:
    """What synthesis takes as noise: `[N, 1, h, w]` for each convolution, or the name of a mode that needs none."""
    if noise_mode != "random":
        return noise_mode
    return [torch.stack(layer).to(device) for layer in zip(*(one.noise for one in inputs), strict=True)]


def style_codes(bundle: Bundle, inputs: Sequence[RandomInputs], subjects: int, style: Style) -> Tensor:
    """W+ codes `[N, num_styles, style_dim]`: of so many subjects, then of backgrounds."""
    generator, learned = bundle.generator, bundle.background
    # Without a learned background this is the published way: the subject's own z, untruncated, gate off.
    latents = [one.z for one in inputs[:subjects]]
    latents += [one.background_z if learned else one.z for one in inputs[subjects:]]
    w = generator.mapping(torch.stack(latents).to(generator.latent_avg.device))
    subject = generator.truncate(w[:subjects], style.truncation_psi, style.truncation_cutoff)
    background = generator.truncate(w[subjects:])
    return torch.cat([subject, learned(background) if learned else background])


def synthesise(
    bundle: Bundle,
    w_plus: Tensor,
    noise: str | list[Tensor],
    subjects: int,
    dtype: torch.dtype,
    cancel: CancelToken,
    steady: bool = False,
) -> tuple[np.ndarray, Sequence[np.ndarray | None]]:
    """Pictures uint8 `[N + M, H, W, 3]` of N subjects and M backgrounds, alphas float32 `[N, H, W]`.

    `w_plus [N + M, num_styles, style_dim]` on the networks' device; `dtype` is that of the feature maps. A class
    without masks has None for each alpha; `steady` ones are as the network says them. `cancel` is looked at before each
    convolution and within long ones.
    """
    generator, learned = bundle.generator, bundle.background
    gate = None
    if subjects < len(w_plus):
        gate = (torch.arange(len(w_plus), device=w_plus.device) < subjects).float()
    generator.synthesis.feature_dtype = dtype
    output = generator.synthesis(
        w_plus, noise, object_gate=gate, background_tensor=learned.tensor if learned else None, on_step=cancel.check
    )
    top, bottom, left, right = crop_of(bundle.config)
    pictures, alphas = as_pixels(output.image[:, :, top:bottom, left:right]), [None] * subjects
    if subjects and bundle.alpha is not None:
        cancel.check()
        alpha = bundle.alpha([features[:subjects] for features in output.features])
        alphas = finished_masks(bundle, pictures, alpha[:, :, top:bottom, left:right], steady)
    return pictures, alphas


def finished_masks(bundle: Bundle, pictures: np.ndarray, alpha: Tensor, steady: bool = False) -> np.ndarray:
    """What an alpha network says, `[N, 1, H, W]`, as the class shows it: float32 `[N, H, W]`.

    The colours of each picture correct it, where the class wants that. Where a segmenter learned from these masks, it
    is the mean of that and of what the segmenter finds: the one knows the edge, the other the subject. `pictures`
    uint8 `[N + M, H, W, 3]` are those that the masks belong to, and further ones.
    """
    masks = alpha[:, 0].float().cpu().numpy()
    if steady or not bundle.config.masks_follow_colours:
        return masks
    finished = []
    for picture, said in zip(pictures, masks, strict=False):
        mask = corrected(picture, said)
        if bundle.student is not None and bundle.config.masks_follow_student:
            found = coarse_alpha(bundle.student, bundle.config, picture, alpha.device)
            mask = (mask + (found if found.shape == mask.shape else refine(picture, found))) / 2
        finished.append(mask)
    return np.stack(finished)


def as_pixels(images: Tensor) -> np.ndarray:
    """Pictures `[N, 3, H, W]` in [-1, 1] as uint8 `[N, H, W, 3]`."""
    pixels = (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
