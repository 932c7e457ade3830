"""Inversion: style codes in W+ from which the class draws a given picture again, so that it can be edited.

As in StyleGAN2's projector (Karras et al. 2020, appendix D), but with the class's own discriminator as the measure of
likeness instead of outside weights, and with a second pass in which only the subject counts.

A generator draws few photographs exactly, and far from its own pictures the class's masks go wrong. So the subject is
looked for in the photograph itself too: by the class's student, or without one by a `MaskProbe` that is taught by the
random pictures among which the start is looked for. The less the photograph could be drawn, the more that counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from .arguments import PROJECTION_STEPS, check_integer
from .bundles.config import crop_of
from .drawing import as_pixels
from .errors import UserError
from .images import Source, cover_fit, load_picture
from .jobs import NEVER, CancelToken, Progress, unseen
from .mask_probe import MaskProbe
from .matting import refine
from .networks import SynthesisOutput
from .photos import coarse_alpha, digest_of
from .pipeline import Labels4FreePipeline
from .provenance import WPlus
from .runtime import out_of_memory_in_words
from .subject import PhotoOrigin, Subject, no_masks

MOST_STEPS = 10_000
FIRST_PASS = 0.6  # of the steps, in which the whole picture counts
CANDIDATES = 192  # random pictures, the likest of which is the start
CANDIDATE_PSI = 0.9
BATCH = 8
LEARNING_RATE = 0.05  # in standard deviations of w
PIXEL_WEIGHT = 2.0  # of the squared difference of pixels, beside that of the discriminator's features
FAR_WEIGHT = 1e-3  # of the squared distance of the codes from the mean w, in standard deviations
BACKGROUND_WEIGHT = 0.1  # of what the mask leaves out, in the second pass
MASK_WEIGHT = 8.0  # of the disagreement of the class's mask with what is seen in the photograph, in the second pass
STRANGE = 0.06  # of the start's distance: with as much left after the first pass, the class cannot draw the picture
PREVIEW_EVERY = 25
_SPREAD_SAMPLES = 2000

Preview = Callable[[np.ndarray], None]


@dataclass(eq=False)
class Projection:
    photo: Subject  # what was projected, cropped to the class's shape at its own size, with the mask of its subject
    target: np.ndarray  # uint8 [H, W, 3], as the class could draw it at best
    sample: Subject  # what it does draw from the codes `sample.w_plus`, with the mask of that
    distance: float  # between the two


def project(
    pipeline: Labels4FreePipeline,
    source: Source,
    *,
    steps: int = PROJECTION_STEPS,
    seed: int = 0,
    progress: Progress = unseen,
    preview: Preview | None = None,
    cancel: CancelToken = NEVER,
) -> Projection:
    """Finds the style codes of a picture, which is cropped to the class's shape around its middle.

    The `pipeline` is of a bundle that was read with its discriminator. `steps` are of gradient descent, 2 to 10,000;
    `seed` is of the random pictures among which the start is looked for. `progress` is called after each step, and
    before the first with 0 done; `preview` with uint8 `[H, W, 3]` pictures on the way. `cancel` is looked at before
    each step.

    Raises `UserError` for a class without discriminator or masks, and for what is no picture; `Cancelled`.
    """
    check_integer("The number of steps", steps, 2, MOST_STEPS)
    name = pipeline.config.name
    if pipeline.bundle.discriminator is None:
        raise UserError(f"The class {name} has no discriminator, which measures likeness here; choose another class.")
    if pipeline.bundle.alpha is None:
        raise no_masks(name)
    whole, (width, height) = load_picture(source), pipeline.picture_size
    scale = min(whole.shape[1] / width, whole.shape[0] / height)
    picture = cover_fit(whole, max(1, round(width * scale)), max(1, round(height * scale)))
    target = cover_fit(picture, width, height).copy()
    with out_of_memory_in_words():
        progress(0, steps, "Looking for a start")
        descent = _Descent(pipeline, target, steps, seed, cancel)
        for step in range(steps):
            cancel.check()
            descent.step(step)
            progress(step + 1, steps, f"Step {step + 1} of {steps}")
            if preview and step % PREVIEW_EVERY == 0:
                preview(descent.picture())
    codes = descent.codes.detach()[0].float().cpu().numpy()
    sample = pipeline.segment(WPlus(codes), cancel=cancel)
    alpha = sample.alpha + descent.doubt * (descent.seen - sample.alpha)
    photo = Subject(picture, refine(picture, alpha), name, photo=PhotoOrigin(digest_of(source), "projection"))
    return Projection(photo, target, sample, descent.distance)


class _Descent:
    """Gradient descent on the codes of one picture.

    `seen` float32 `[H, W]` is the subject as it is seen in the picture itself; `doubt` in [0, 1] tells after the first
    pass how little the class could draw the picture, and so by how much its own mask falls behind `seen`.
    """

    def __init__(self, pipeline: Labels4FreePipeline, target: np.ndarray, steps: int, seed: int, token: CancelToken):
        self.pipeline, self.steps, self.token = pipeline, steps, token
        self.generator, self.discriminator = pipeline.bundle.generator, pipeline.bundle.discriminator
        for network in pipeline.bundle.networks().values():
            network.to(pipeline.device).eval().requires_grad_(False)
        # Gradients are too small for half precision.
        self.generator.synthesis.feature_dtype = self.discriminator.feature_dtype = torch.float32
        self.crop = crop_of(pipeline.config)
        self.target_pixels = target
        self.target = (torch.from_numpy(target).to(pipeline.device).permute(2, 0, 1)[None].float() - 127.5) / 127.5
        self.frame = self._framed(torch.ones_like(self.target[:, :1]))
        with torch.no_grad():
            wanted = self._features(self._framed(self.target))
            self.wanted = _directions(wanted)
            w = self._styles(_SPREAD_SAMPLES, 0)
            self.mean, self.spread = self.generator.latent_avg.to(w), w.std(dim=0).clamp_min(1e-6)  # [style_dim] each
            probe = MaskProbe() if pipeline.bundle.student is None else None
            self.codes, self.distance = self._start(seed, probe)
            self.seen = self._look(probe, wanted)
        self.codes.requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.codes], betas=(0.9, 0.99))
        self.weight = self.frame
        self.subject: Tensor | None = None
        self.doubt, self.first_distance = 0.0, self.distance

    def step(self, step: int) -> None:
        """One step; the second pass begins where the first has used its share."""
        if step == round(self.steps * FIRST_PASS):
            self._begin_second_pass()
        position = step / self.steps
        rate = LEARNING_RATE * min(1.0, (1 - position) / 0.3, (step + 1) / 5)
        self.optimizer.param_groups[0]["lr"] = rate * float(self.spread.mean())
        drawn = self._draw(self.codes)
        far = ((self.codes - self.mean) / self.spread).square().mean()
        likeness = self._distance(drawn.image, self._features(drawn.image), self.weight).sum()
        loss = likeness + FAR_WEIGHT * far
        if self.subject is not None:
            unlike = (self.pipeline.bundle.alpha(drawn.features) - self.subject).abs() * self.frame
            loss = loss + MASK_WEIGHT * self.doubt * unlike.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.distance = likeness.item()

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """What the codes draw now, uint8 `[H, W, 3]`."""
        top, bottom, left, right = self.crop
        return as_pixels(self._draw(self.codes).image[..., top:bottom, left:right])[0]

    def _draw(self, codes: Tensor) -> SynthesisOutput:
        return self.generator.synthesis(codes, "stored", on_step=self.token.check)

    def _framed(self, picture: Tensor) -> Tensor:
        """At the place in the generator's square that the class's crop keeps; the rest is 0."""
        side = self.generator.config.resolution
        top, bottom, left, right = self.crop
        return functional.pad(picture, (left, side - right, top, side - bottom))

    def _features(self, images: Tensor) -> list[Tensor]:
        return self.discriminator.features(images * self.frame)[:-1]

    def _distance(self, images: Tensor, features: Sequence[Tensor], weight: Tensor) -> Tensor:
        """How unlike the target pictures of these features are: `[N]`; `weight [1, 1, R, R]` says where it counts."""
        unlike = (images * self.frame - self._framed(self.target)).square()
        total = PIXEL_WEIGHT * (unlike * weight).mean(dim=(1, 2, 3)) / weight.mean()
        for found, wanted in zip(_directions(features), self.wanted, strict=True):
            share = functional.adaptive_avg_pool2d(weight, found.shape[2:])
            unlike = (found - wanted).square().sum(dim=1, keepdim=True)
            total = total + (unlike * share).mean(dim=(1, 2, 3)) / share.mean()
        return total

    def _styles(self, count: int, seed: int) -> Tensor:
        """Random w `[count, style_dim]`."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.generator.config.latent_dim, generator=random)
        return self.generator.mapping(z.to(self.pipeline.device))

    def _start(self, seed: int, probe: MaskProbe | None) -> tuple[Tensor, float]:
        """The codes `[1, num_styles, style_dim]` of the likest among random pictures and the mean, and its distance.

        All of them teach the `probe`.
        """
        candidates = self.generator.truncate(self._styles(CANDIDATES, seed), CANDIDATE_PSI)
        candidates = torch.cat([self.generator.truncate(self.mean[None]), candidates])
        distances = []
        for start in range(0, len(candidates), BATCH):
            self.token.check()
            drawn = self._draw(candidates[start : start + BATCH])
            features = self._features(drawn.image)
            distances.append(self._distance(drawn.image, features, self.frame))
            if probe is not None:
                probe.add(features, self.pipeline.bundle.alpha(drawn.features) * self.frame)
        distance, likest = torch.cat(distances).min(dim=0)
        return candidates[likest][None].clone(), distance.item()

    def _look(self, probe: MaskProbe | None, features: Sequence[Tensor]) -> np.ndarray:
        """The subject's mask in the target, by the class's student or by the probe."""
        if probe is None:
            student, config = self.pipeline.bundle.student, self.pipeline.config
            coarse = coarse_alpha(student, config, self.target_pixels, self.pipeline.device)
        else:
            probe.solve()
            whole, side = probe.mask(features)[0, 0].cpu().numpy(), self.generator.config.resolution
            # Left as coarse as it is: that tells `refine` how far the edge may move.
            top, bottom, left, right = (round(edge * len(whole) / side) for edge in self.crop)
            coarse = whole[top:bottom, left:right]
        return refine(self.target_pixels, coarse)

    @torch.no_grad()
    def _begin_second_pass(self) -> None:
        """From here on the subject counts, and the codes are to have its mask.

        That is the class's own as far as it can draw the picture, else what is seen in the picture.
        """
        self.doubt = min(1.0, self.distance / self.first_distance / STRANGE) ** 2
        self.subject = self._framed(torch.from_numpy(self.seen)[None, None].to(self.pipeline.device))
        alpha = torch.lerp(self.pipeline.bundle.alpha(self._draw(self.codes).features), self.subject, self.doubt)
        # A little beyond its edge, which tells where the subject ends.
        reach = 2 * (self.generator.config.resolution // 32) + 1
        alpha = functional.max_pool2d(alpha, reach, stride=1, padding=reach // 2)
        self.weight = self.frame * (BACKGROUND_WEIGHT + (1 - BACKGROUND_WEIGHT) * alpha)


def _directions(features: Sequence[Tensor]) -> list[Tensor]:
    """The discriminator's maps, each pixel's vector of unit length, as perceptual distances want them."""
    return [functional.normalize(maps.float(), dim=1) for maps in features]
