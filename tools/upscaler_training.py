"""Trains the network that doubles small pictures, and compares it with Lanczos' filter.

    python3 -m tools.drawn_sets avatar --resolution 512 --train 1000 --validation 0 --test 200 --out large
    python3 -m tools.upscaler_training large/train/images PHOTOGRAPHS --measured large/test/images

The folders hold pictures of at least 192 pixels, and count alike however many each has. Small pictures are means of
2 x 2 pixels of them or of their halves.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from l4f_plugin.bundles.tensor_files import save_tensors
from l4f_plugin.networks import Upscaler
from l4f_plugin.upscaling import WEIGHTS, enlarged

SIDE = 96  # of the enlarged pieces that are learned from
BATCH = 12
LEARNING_RATE, LAST = 1e-3, 0.02  # and the share of it that is left at the end of a cosine
NOISE = 0.008  # at most, in [0, 1]: what is enlarged is not all clean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="large, sharp pictures to learn from")
    parser.add_argument("--measured", type=Path, required=True, help="folder of others, square, to measure with")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    network = train([load(folder) for folder in args.folders], args.steps)
    save_tensors({name: tensor.half() for name, tensor in network.state_dict().items()}, args.out)
    if args.out == WEIGHTS:
        measure(load(args.measured))


def load(folder: Path) -> list[Image.Image]:
    """The pictures of a folder as RGB that are large enough, in the order of their names."""
    pictures = (ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in sorted(folder.iterdir()))
    return [picture for picture in pictures if min(picture.size) >= 2 * SIDE]


def train(sets: list[list[Image.Image]], steps: int, seed: int = 0) -> Upscaler:
    """A network that has seen ``steps`` batches of pieces of these pictures."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = Upscaler()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, LEARNING_RATE * LAST)
    for _ in tqdm(range(steps)):
        pieces = [piece(sets, random) for _ in range(BATCH)]
        small, large = (torch.from_numpy(np.stack(part)) for part in zip(*pieces, strict=True))
        noisy = small + NOISE * torch.rand(BATCH, 1, 1, 1) * torch.randn_like(small)
        loss = (network(noisy) - large).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        fall.step()
    return network.eval()


def piece(sets: list[list[Image.Image]], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A piece of a picture and the same at twice the size: float32 ``[3, S, S]`` in [0, 1]."""
    pictures = sets[random.integers(len(sets))]
    picture, factor = pictures[random.integers(len(pictures))], int(random.integers(1, 3))
    side = SIDE * factor
    left, top = (int(random.integers(length - side + 1)) for length in picture.size)
    large = picture.crop((left, top, left + side, top + side)).reduce(factor)
    if random.random() < 0.5:
        large = ImageOps.mirror(large)
    return as_array(large.reduce(2)), as_array(large)


def as_array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float32).transpose(2, 0, 1) / 255


def measure(pictures: list[Image.Image]) -> None:
    """Prints how near both come to pictures that were made a quarter as large."""
    ways: dict[str, Callable[[Image.Image, int], np.ndarray]] = {
        "Lanczos": lambda small, times: np.asarray(
            small.resize((small.width * times, small.height * times), Image.Resampling.LANCZOS)
        ),
        "network": lambda small, times: enlarged(np.asarray(small), None, times)[0],
    }
    for times in (2, 4):
        for name, enlarge in ways.items():
            errors = []
            for picture in pictures:
                wanted = picture.reduce(4 // times)
                found = enlarge(picture.reduce(4), times).astype(np.float32)
                errors.append(np.square(found - np.asarray(wanted, np.float32)).mean())
            psnr = np.mean([20 * math.log10(255) - 10 * math.log10(error) for error in errors])
            print(f"{times} times, {name}: {psnr:.2f} dB over {len(pictures)} pictures")


if __name__ == "__main__":
    main()
