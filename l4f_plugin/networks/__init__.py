"""The networks: tensors in, tensors out. Nothing here opens a file or knows a device."""

from .alpha import AlphaNetwork
from .background import LearnedBackground
from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Generator, GeneratorConfig, SynthesisOutput
from .unet import Student, StudentConfig, UNet
from .upscaler import Upscaler

__all__ = [
    "AlphaNetwork",
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "LearnedBackground",
    "Student",
    "StudentConfig",
    "SynthesisOutput",
    "UNet",
    "Upscaler",
]
