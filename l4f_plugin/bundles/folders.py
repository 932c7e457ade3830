"""Where things lie on disk. Imports nothing but the standard library."""

import os
from pathlib import Path

WEIGHTS_FOLDER = Path(__file__).resolve().parents[2] / "weights"
WORST_MASKS = "worst_masks.png"  # beside a bundle whose masks were learned here


def cache_folder() -> Path:
    """Where work under way lies, and what can be fetched again: LABELS4FREE_CACHE, or `labels4free` in
    XDG_CACHE_HOME or `~/.cache`."""
    if chosen := os.environ.get("LABELS4FREE_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache").absolute() / "labels4free"


def models_folder() -> Path:
    """Where bundles of the user lie, one folder each: LABELS4FREE_MODELS or `models` of the cache folder."""
    chosen = os.environ.get("LABELS4FREE_MODELS")
    return Path(chosen).expanduser().absolute() if chosen else cache_folder() / "models"


def masks_folder() -> Path:
    """Where the learning of masks keeps its state until it is done: one folder a run, `CLASS.DIGEST`."""
    return cache_folder() / "masks"


def photographs_folder() -> Path:
    """As `masks_folder`, for the learning of photographs."""
    return cache_folder() / "photographs"


def trainings_folder() -> Path:
    """Where trainings from folders of pictures keep all their work: one folder a class."""
    return cache_folder() / "trainings"


def existing_parent(path: Path) -> Path:
    """The nearest folder above (or at) `path` that is there, to ask for free space."""
    return next((place for place in (path, *path.parents) if place.exists()), Path(path.anchor))
