"""What learned masks are like, told without true ones: areas, doubt, what curation drops, how far two seeds agree."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from ..bundles.bundle import Bundle
from ..bundles.config import crop_of
from ..drawing import as_pixels, finished_masks
from ..evaluation.mask_metrics import compare_masks
from ..networks import AlphaNetwork
from .cut_pictures import flaws_of
from .guessing import spill
from .loop import UNWATCHED, Watch
from .pictures import cropped
from .trainer import mask_grid
from .troubles import SENTENCES, SPILLED

MEASURED = 120  # pictures
BATCH = 4
WORST = 12
MOST_SPILLED = 0.45  # right masks had .16 at most, .39 where subjects fill the picture; wrong ones .54 and more
LARGEST_SIDE = 256  # of a picture on the sheet


@dataclass(frozen=True)
class MaskQuality:
    pictures: int
    area: float  # mean share of the picture that they cover
    area_spread: float  # its standard deviation
    softness: float  # mean of min(alpha, 1 - alpha)
    spill: float  # the share that they cover of what surely looks like the pictures' corners
    dropped: float  # the share of pictures whose mask is not worth learning from
    agreement: float | None  # mean IoU of masks that were learned from two seeds, None where there was one

    def in_markdown(self) -> str:
        rows = [
            ("part of the picture that masks cover, mean", f"{self.area:.3f}"),
            ("the same, standard deviation over pictures", f"{self.area_spread:.3f}"),
            ("softness, mean of min(alpha, 1 - alpha)", f"{self.softness:.4f}"),
            ("part of what surely looks like the pictures' corners that masks cover", f"{self.spill:.3f}"),
            ("pictures whose mask is left out by curation", f"{self.dropped:.1%}"),
        ]
        if self.agreement is not None:
            rows.append(("mean IoU of masks that were learned from two seeds", f"{self.agreement:.3f}"))
        lines = [f"| {name} | {value} |" for name, value in rows]
        title = f"## Masks, measured without true ones on {self.pictures} generated pictures"
        return "\n".join([title, "", "| | |", "|---|---|", *lines, *(["", doubt] if (doubt := self.doubt) else [])])

    @property
    def doubt(self) -> str:
        """A sentence where masks look wrong, else nothing."""
        return SENTENCES[SPILLED] if self.spill > MOST_SPILLED else ""


@torch.no_grad()
def measure_masks(
    bundle: Bundle,
    device: torch.device,
    two_seeds: tuple[AlphaNetwork, AlphaNetwork] | None = None,
    *,
    count: int = MEASURED,
    watch: Watch = UNWATCHED,
) -> tuple[MaskQuality, Image.Image]:
    """The figures of a bundle's masks, and a sheet of the twelve worst: picture, mask and cut-out.

    The worst are those on which networks of ``two_seeds`` agree least, or else those that are softest for their area.
    Pictures are drawn as the class draws them by default. Raises ``Cancelled``.
    """
    generator, random = bundle.generator.to(device).eval(), torch.Generator().manual_seed(0)
    alphas = [network.to(device).eval() for network in (bundle.alpha, *(two_seeds or ()))]
    alone = replace(bundle, student=None)  # one segmenter would make both seeds agree
    bundles = [bundle] + [alone] * (len(alphas) - 1)
    if bundle.student:
        bundle.student.to(device)
    top, bottom, left, right = crop = crop_of(bundle.config)
    step = -(-max(bottom - top, right - left) // LARGEST_SIDE)
    pictures, masks, agreements, spilled = [], [], [], []
    for start in range(0, count, BATCH):
        watch.cancel.check()
        with watch.turn():
            z = torch.randn(min(BATCH, count - start), generator.config.latent_dim, generator=random).to(device)
            w_plus = generator.truncate(generator.mapping(z), bundle.config.truncation_psi)
            output = generator.synthesis(w_plus)
            image = cropped(output.image, crop).float().cpu()
            said = (cropped(alpha(output.features), crop) for alpha in alphas)
            shown = as_pixels(image)
            found, *others = (finished_masks(one, shown, alpha) for one, alpha in zip(bundles, said, strict=True))
        pictures.append(image[:, :, ::step, ::step])
        masks.append(torch.from_numpy(found)[:, None])
        spilled.append(spill(masks[-1], image))
        if two_seeds:
            agreements += [compare_masks(*pair).iou_foreground for pair in zip(*others, strict=True)]
    alpha = torch.cat(masks)
    areas, softness = (values.mean(dim=(1, 2, 3)) for values in (alpha, torch.minimum(alpha, 1 - alpha)))
    decided = 1 - softness / torch.minimum(areas, 1 - areas).clamp_min(1e-6)
    worst = (torch.tensor(agreements) if two_seeds else decided).argsort()[:WORST]
    flaws = flaws_of(one[0].numpy() for one in alpha)
    quality = MaskQuality(
        count,
        areas.mean().item(),
        areas.std(unbiased=False).item(),
        softness.mean().item(),
        float(np.mean(spilled)),
        float(np.mean([flaw is not None for flaw in flaws])),
        float(np.mean(agreements)) if two_seeds else None,
    )
    return quality, mask_grid(torch.cat(pictures)[worst], alpha[worst][:, :, ::step, ::step], 3)
