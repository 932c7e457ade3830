"""A sheet of sample pictures for the card: what the class draws, its masks, its cut-outs."""

from pathlib import Path

import numpy as np
from PIL import Image

from .bundles.bundle import Bundle
from .images import sheet_of, write_png
from .pipeline import Labels4FreePipeline
from .provenance import sheet_text
from .subject import Subject

SEEDS = range(8)
LARGEST_TILE = 192
_GAP = 4
_LIGHT, _DARK, _SQUARE = 238, 204, 8


def draw_samples(bundle: Bundle, path: Path, *, device: str | None = None) -> str:
    """Writes a sheet of pictures and, where the class has them, masks and cut-outs; says in words what it shows."""
    samples = Labels4FreePipeline(bundle, device=device).generate(list(SEEDS), with_background=False)
    rows = [[sample.picture() for sample in samples]]
    if bundle.alpha is not None:
        rows += [[sample.mask().convert("RGB") for sample in samples], [_on_checkerboard(sample) for sample in samples]]
    tiles = [picture.copy() for row in rows for picture in row]
    for tile in tiles:
        tile.thumbnail((LARGEST_TILE, LARGEST_TILE), Image.Resampling.LANCZOS)
    write_png(path, sheet_of(tiles, len(samples), _GAP), sheet_text("samples of a class"))
    shown = "pictures, masks and cut-outs" if bundle.alpha is not None else "pictures"
    return f"Seeds {SEEDS[0]} to {SEEDS[-1]} at psi {bundle.config.truncation_psi:g}: {shown}, not chosen by hand"


def _on_checkerboard(sample: Subject) -> Image.Image:
    cutout = sample.cutout()
    across, down = (np.arange(length) // _SQUARE % 2 for length in cutout.size)
    board = Image.fromarray(np.where(down[:, None] ^ across[None, :], _DARK, _LIGHT).astype(np.uint8)).convert("RGB")
    board.paste(cutout, (0, 0), cutout)
    return board
