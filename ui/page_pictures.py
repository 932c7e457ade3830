"""Large pictures at a size that a page shows at once; their files keep the size of the photograph."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from l4f_plugin.bundles.files import fitted
from l4f_plugin.images import has_more_frames, load_picture, write_png

SHOWN_SIDE = 1600  # pixels


def reduced(file: Path, folder: Path) -> Path:
    """A PNG of the picture below `folder`, made where it is not there yet. What lies in `folder` is a file of ours, and
    is shown itself where it moves.

    Raises `UserError` for what is no picture.
    """
    state = file.stat()
    if file.parent == folder and has_more_frames(file):
        return file
    target = folder / "shown" / fitted(file.stem, f"-{state.st_mtime_ns:x}-{state.st_size:x}.png")
    if not target.exists():
        with Image.open(file) as opened:
            ours = opened.mode in ("L", "RGBA") and file.parent == folder
            picture = opened.copy() if ours else Image.fromarray(load_picture(file))
        picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
        write_png(target, picture)
    return target
