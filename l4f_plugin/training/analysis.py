"""Which layers and channels of a generator carry the object (Labels4Free, section 3.2), and which switch follows.

A corner of 16 x 16 pixels, enlarged, is what the picture would be without its object. Where the squared difference to
it has a large gradient, the generator draws the object.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image, ImageDraw
from torch import Tensor

from ..bundles.bundle import Bundle
from ..bundles.config import crop_of
from ..jobs import Progress, unseen
from ..networks import Generator
from .pictures import Crop, cropped

CORNER = 16  # pixels, at most an eighth of the side
SEED = 0
BAR, ROW, MARGIN, WIDTH = 240, 18, 8, 900  # of the figure, in pixels
# What a switch turns off, by the name of the layer whose output that is.
SWITCHES = {"constant": "constant", "convolution 0": "first_convolution"}


@dataclass(frozen=True)
class Layer:
    """Gradients of the squared difference at one layer, mean magnitudes over pictures."""

    name: str
    resolution: int
    style: float  # norm of that of the layer's W+ code; 0 for the constant input, which has none
    channels: np.ndarray  # [C], of a factor on each channel of its output: what switching it off changes

    @property
    def total(self) -> float:
        return float(self.channels.sum())

    @property
    def half(self) -> int:
        """How many channels make up half of the total, the largest first."""
        shares = np.cumsum(np.sort(self.channels)[::-1]) / max(self.total, 1e-30)
        return int(np.searchsorted(shares, 0.5)) + 1


@dataclass(frozen=True)
class Analysis:
    """Which layers draw the object, and the switch that follows."""

    layers: list[Layer]  # from coarse to fine
    chosen: str  # the switch that the gradients speak for
    present: str  # the one that the class has

    def in_words(self) -> str:
        """A table for people, and what follows from it."""
        lines = ["layer            size  channels  half in  gradient  gradient of W+"]
        for layer in self.layers:
            lines.append(
                f"{layer.name:15}  {layer.resolution:4}  {len(layer.channels):8}  {layer.half:7}  {layer.total:8.3g}"
                + (f"  {layer.style:14.3g}" if layer.style else "")
            )
        same = "the one that the class has" if self.chosen == self.present else f"while the class has {self.present}"
        return "\n".join([*lines, f"The gradients speak for the switch {self.chosen}, {same}."])

    def as_dict(self) -> dict:
        layers = [
            {**vars(layer), "total": layer.total, "channels": layer.channels.round(6).tolist()} for layer in self.layers
        ]
        return {"chosen": self.chosen, "present": self.present, "layers": layers}

    def figure(self) -> Image.Image:
        """A row for each layer: bars of both gradients, and the shares of its channels, the largest first."""
        figure = Image.new("RGB", (WIDTH, 2 * MARGIN + ROW * (len(self.layers) + 1)), "white")
        draw = ImageDraw.Draw(figure)
        left = [MARGIN, MARGIN + 130, MARGIN + 130 + BAR // 2, MARGIN + 140 + BAR]
        for x, text in zip(left, ("layer", "channels", "W+", "shares of channels"), strict=True):
            draw.text((x, MARGIN), text, fill="black")
        most = [max(layer.total for layer in self.layers), max(layer.style for layer in self.layers)]
        for row, layer in enumerate(self.layers, start=1):
            top = MARGIN + ROW * row
            draw.text((left[0], top), f"{layer.name}, {layer.resolution} px", fill="black")
            for x, value, largest, colour in zip(
                left[1:3], (layer.total, layer.style), most, ("#3366aa", "#aa6633"), strict=True
            ):
                length = (BAR // 2 - 10) * value / max(largest, 1e-30)
                draw.rectangle((x, top + 2, x + length, top + ROW - 4), fill=colour)
            shares = np.sort(layer.channels)[::-1] / max(layer.channels.max(), 1e-30)
            strip = Image.fromarray((255 * (1 - shares)).round().astype(np.uint8)[None])
            figure.paste(
                strip.resize((WIDTH - MARGIN - left[3], ROW - 4), Image.Resampling.NEAREST), (left[3], top + 2)
            )
        return figure


def analyse(
    bundle: Bundle, device: torch.device | str = "cpu", pictures: int = 32, progress: Progress = unseen
) -> Analysis:
    """Follows the squared difference of generated pictures and their enlarged corners back through the generator."""
    generator = bundle.generator.to(device).eval().requires_grad_(False)
    generator.synthesis.feature_dtype = torch.float32
    random, found = torch.Generator().manual_seed(SEED), []
    for done in range(pictures):
        z = torch.randn(1, generator.config.latent_dim, generator=random).to(device)
        found.append(_gradients(generator, z, crop_of(bundle.config)))
        progress(done + 1, pictures, "Following gradients")
    sizes = [4, *generator.config.convolution_resolutions]
    names = ["constant", *(f"convolution {index}" for index in range(len(sizes) - 1))]
    styles = [0.0, *np.mean([styles for styles, _ in found], axis=0)[: len(sizes) - 1].tolist()]
    channels = [np.mean(layer, axis=0) for layer in zip(*(channels for _, channels in found), strict=True)]
    layers = [Layer(*fields) for fields in zip(names, sizes, styles, channels, strict=True)]
    candidates = {SWITCHES[layer.name]: layer.total for layer in layers if layer.name in SWITCHES}
    return Analysis(layers, max(candidates, key=candidates.get), generator.config.object_switch)


def corner_target(images: Tensor, crop: Crop) -> Tensor:
    """The upper left corner of what pictures ``[N, 3, R, R]`` show within ``crop``, enlarged to all of that."""
    top, bottom, left, right = crop
    side = min(CORNER, (bottom - top) // 8, (right - left) // 8)
    corner = images[:, :, top : top + side, left : left + side]
    return functional.interpolate(corner, size=(bottom - top, right - left), mode="bilinear", align_corners=False)


def _gradients(generator: Generator, z: Tensor, crop: Crop) -> tuple[np.ndarray, list[np.ndarray]]:
    """Of one picture: norms at each W+ code ``[num_styles]``; magnitudes at a factor on each channel, by layer."""
    synthesis, maps = generator.synthesis, []

    def keep(x: Tensor) -> Tensor:
        x.retain_grad()
        maps.append(x)
        return x

    # The constant does not depend on W+: it is watched as it enters the first convolution.
    hooks = [
        synthesis.convolutions[0].register_forward_pre_hook(
            lambda module, inputs: (keep(inputs[0].detach().requires_grad_()), *inputs[1:])
        )
    ]
    hooks += [one.register_forward_hook(lambda module, inputs, x: keep(x)) for one in synthesis.convolutions]
    try:
        w_plus = generator.truncate(generator.mapping(z)).detach().requires_grad_()
        image = synthesis(w_plus).image
    finally:
        for hook in hooks:
            hook.remove()
    (cropped(image, crop) - corner_target(image.detach(), crop)).square().mean().backward()
    channels = [(x.grad * x.detach()).sum(dim=(0, 2, 3)).abs().cpu().numpy() for x in maps]
    return w_plus.grad[0].norm(dim=1).cpu().numpy(), channels
