"""The two recipes for training an alpha network, as settings.

``paper`` is what the authors published per class (their repository's training scripts, tabulated by class).
``default`` needs no data set: the generator's own pictures are the real samples, and the background is learned. Its
discriminator goes on from the one that taught the generator: a new one sees too little in as many steps, and masks
stop improving once they fool it. Its backgrounds stay near the colours at the corners of the pictures, or else they
may start black, which gives every composite away, or learn to draw subjects. Its masks begin as a guess from the
pictures, which also says about how much the object covers.
"""

from dataclasses import dataclass

from ..networks import DiscriminatorConfig, GeneratorConfig
from .updates import learning_rate_share


@dataclass(frozen=True)
class AlphaSettings:
    """What fixes a run on a given generator."""

    real_samples: str = "generator"  # or "pictures"
    learned_background: bool = True
    background_own_latent: bool = True  # else the background shares the subject's z
    background_shift: float = 0.25  # of the shorter side; 0 leaves backgrounds where they are
    background_share: float = 0.075  # of the steps: at first the background learns the colours of the corners, no more
    corners_weight: float = 4.0  # of its mean squared distance from them afterwards, in every corners_interval'th step
    corners_interval: int = 4
    truncation_psi: float = 1.0
    steps: int = 400
    batch_size: int = 16
    start: str = "corners"  # what masks begin as in the first attempt, one of runs.STARTS
    learning_rate: float = 1e-3
    decay_share: float = 0.5  # of the steps, the last ones: all learning rates fall to 0 along a cosine
    background_learning_rate: float = 5e-3
    discriminator_learning_rate: float = 1e-3
    alpha_betas: tuple[float, float] = (0.0, 0.99)
    discriminator_betas: tuple[float, float] = (0.0, 0.99)
    discriminator_from_bundle: bool = True  # goes on from the class's own where there is one; else a new one
    discriminator_as_generator: bool = False  # a new one: as many channels as the generator, else as the next two say
    discriminator_channel_base: int = 2048
    discriminator_channel_max: int = 128
    r1_weight: float = 1.0
    r1_interval: int = 16
    adversarial_weight: float = 1.0
    binarisation_weight: float = 1.0
    binarisation_ramp: float = 0.5  # of the steps over which the weight rises from 0
    # Area limits of masks that begin as nothing; a guess brings its own.
    least_area: float = 0.25
    least_area_weight: float = 8.0
    most_area: float = 0.5
    most_area_weight: float = 8.0
    # These limits break the symmetry of subject and background, no more: an object may well cover more or less. Once
    # a mask has formed, the discriminator holds it at the object's edge from either side.
    limits_until: float = 0.35  # of the steps; then these limits are let go, and the next four hold
    background_weight: float = 8.0  # of the mean mask where pictures look like their own corners; falls with the rates
    area_weight: float = 0.0  # of the mean mask everywhere
    floor_area: float = 0.05  # only against emptiness
    floor_weight: float = 8.0
    ema_decay: float = 0.99
    # Whether the class then lets the colours of each picture correct its mask. Composites teach little of where an edge
    # is: a mask that cuts into dark hair, or keeps a rim, convinces a discriminator too.
    follow_colours: bool = True
    feature_dtype: str = "bfloat16"
    accumulate: int = 1  # parts in which a batch is computed, for less memory
    seed: int = 0
    generator_sha256: str = ""  # of the frozen weights, so that a run is not resumed on others

    def learning_rate_share_at(self, step: int) -> float:
        """What is left of all learning rates. Late steps at full rate move masks that were right already."""
        done = step / self.steps - (1 - self.decay_share)
        return learning_rate_share(done / self.decay_share) if done > 0 else 1.0

    def background_weight_at(self, step: int) -> float:
        """At first it keeps background out of masks that still form; at last it would eat into those that are right."""
        return self.background_weight * self.learning_rate_share_at(step)

    def binarisation_weight_at(self, step: int) -> float:
        """The ramp: an undecided mask must be free to move before it is asked to decide."""
        ramp_steps = self.binarisation_ramp * self.steps
        return self.binarisation_weight * (min(1.0, step / ramp_steps) if ramp_steps else 1.0)

    def limited_at(self, step: int) -> bool:
        """Whether the area of the masks is still kept within its limits."""
        return step < self.limits_until * self.steps

    def discriminator_config(self, generator: GeneratorConfig) -> DiscriminatorConfig:
        """A discriminator for pictures of that generator, which is trained from scratch."""
        base, most = self.discriminator_channel_base, self.discriminator_channel_max
        channels = dict(generator.channels)
        if not self.discriminator_as_generator:
            channels = {size: max(8, min(most, base // size)) for size in channels}
        return DiscriminatorConfig(generator.resolution, channels)


@dataclass(frozen=True)
class PublishedClass:
    """One row of the published training table."""

    steps: int  # for one GPU of batch 2
    truncation_psi: float
    learning_rate: float
    mask_weight: float
    adversarial_weight: float
    background_weight: float
    background_area: float


# The variant for one GPU, which holds the background's area from below.
PUBLISHED_CLASSES = {
    "ffhq": PublishedClass(2000, 1.0, 2e-4, 1.2, 1.0, 3.0, 0.40),
    "horse": PublishedClass(2000, 1.0, 2e-4, 3.0, 1.0, 6.0, 0.60),
    "cat": PublishedClass(2000, 0.5, 2e-4, 3.0, 1.0, 4.0, 0.35),
    "car": PublishedClass(750, 0.3, 8e-4, 20.0, 0.1, 40.0, 0.75),
}


def paper_recipe(class_name: str) -> AlphaSettings:
    """The published settings of a class; classes that were not published take those of horse, the most general.

    Learning rate and betas carry the published lazy-regularisation corrections: 4/5 for the alpha network and
    16/17 for the discriminator. The published R1 step also added real_pred[0] to the loss, a slip left out here.
    """
    row = PUBLISHED_CLASSES.get(class_name, PUBLISHED_CLASSES["horse"])
    alpha_correction, discriminator_correction = 4 / 5, 16 / 17
    return AlphaSettings(
        real_samples="pictures",
        learned_background=False,
        background_own_latent=False,
        background_shift=0.0,
        truncation_psi=row.truncation_psi,
        steps=row.steps,
        batch_size=2,
        start="",
        decay_share=0.0,
        learning_rate=row.learning_rate * alpha_correction,
        discriminator_learning_rate=row.learning_rate * discriminator_correction,
        alpha_betas=(0.0, 0.99**alpha_correction),
        discriminator_betas=(0.0, 0.99**discriminator_correction),
        discriminator_from_bundle=class_name == "car",  # as published: from scratch for the others
        # For the published classes the same numbers; 512 channels beside a class of few would take hours for nothing.
        discriminator_as_generator=True,
        r1_weight=10.0,
        adversarial_weight=row.adversarial_weight,
        binarisation_weight=row.mask_weight,
        binarisation_ramp=0.0,
        least_area=0.25,
        least_area_weight=row.mask_weight,
        most_area=1.0 - row.background_area,
        most_area_weight=row.background_weight,
        limits_until=1.0,
        follow_colours=False,
        ema_decay=0.5 ** (32 / 10_000),
    )
