"""What fixes the shape of each network, as a bundle's config holds it. Imports no torch, so that lists are quick."""

from dataclasses import dataclass, field
from itertools import pairwise

OBJECT_SWITCHES = ("first_convolution", "constant")
_FLOAT_BYTES = 4


def resolutions_up_to(resolution: int) -> list[int]:
    """4, 8, ... up to ``resolution``, a power of two."""
    return [2**i for i in range(2, resolution.bit_length())]


def published_channels(resolution: int) -> dict[int, int]:
    """The table of NVIDIA's published StyleGAN2 generators: min(32768 / r, 512) channels at resolution r."""
    return {size: min(32768 // size, 512) for size in resolutions_up_to(resolution)}


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that fixes the shapes and the arithmetic of a generator.

    ``object_switch`` names what the object gate multiplies: the output of the first convolution (256 and 1024 px models
    of the paper) or the constant input (512 px).
    """

    resolution: int
    channels: dict[int, int] = field(hash=False)  # that convolutions give at 4, 8, ... `resolution`; any table
    latent_dim: int = 512
    style_dim: int = 512
    mapping_layers: int = 8
    object_switch: str = "first_convolution"
    conv_clamp: float | None = None  # bounds activations either way in any precision, as ADA's checkpoints expect

    def __post_init__(self):
        if self.resolution < 8 or self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution must be a power of two from 8, not {self.resolution}")
        if sorted(self.channels) != self.resolutions:
            raise ValueError(f"channels must name the resolutions {self.resolutions}, not {sorted(self.channels)}")
        if self.object_switch not in OBJECT_SWITCHES:
            raise ValueError(f"object_switch must be one of {OBJECT_SWITCHES}, not {self.object_switch!r}")

    @property
    def resolutions(self) -> list[int]:
        return resolutions_up_to(self.resolution)

    @property
    def num_styles(self) -> int:
        """Length of a W+ code: one style per convolution and one for the last ToRGB."""
        return len(self.convolution_resolutions) + 1

    @property
    def convolution_resolutions(self) -> list[int]:
        """Output resolution of each styled convolution and of its noise map: one at 4x4, two at every further one."""
        return [4] + [resolution for resolution in self.resolutions[1:] for _ in range(2)]

    @property
    def feature_resolutions(self) -> list[int]:
        """The resolutions the alpha network reads: the top six, all from 8 px up in smaller models."""
        return self.resolutions[1:][-6:]

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the tensors in ``SynthesisOutput.features``: two a resolution."""
        return tuple(self.channels[resolution] for resolution in self.feature_resolutions for _ in range(2))

    @property
    def memory_bytes(self) -> int:
        """About the memory for weights and feature maps while one picture is drawn in float32, besides torch itself.

        The alpha network reads two feature maps of each of the top six resolutions, so they are alive together. The
        finest convolution works on about three maps of its own size besides.
        """
        counts = [self.channels[size] for size in self.resolutions]
        weights = self.mapping_layers * self.style_dim**2 + 9 * counts[0] ** 2
        weights += sum((9 * fine + self.style_dim) * (coarse + fine) for coarse, fine in pairwise(counts))
        kept = sum(2 * self.channels[size] * size**2 for size in self.resolutions[-6:])
        return _FLOAT_BYTES * (weights + kept + 3 * self.channels[self.resolution] * self.resolution**2)


@dataclass(frozen=True)
class DiscriminatorConfig:
    resolution: int
    channels: dict[int, int] = field(hash=False)  # of the maps at 4, 8, ... `resolution`
    conv_clamp: float | None = None

    @property
    def resolutions(self) -> list[int]:
        return resolutions_up_to(self.resolution)


@dataclass(frozen=True)
class StudentConfig:
    """Everything that fixes a segmenter of photographs."""

    channels: tuple[int, ...] = (12, 24, 48, 96, 96, 96)  # of the stages at full, 1/2, 1/4, ... resolution
    resolution: int = 128  # side of the pictures that it was trained on, and so the size at which it sees best
