"""Deletes a class from this computer: its bundle, what is left of its download, an unfinished learning.

It stands here and not beside the list of classes, since a class may lie in huggingface_hub's cache.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ..bundles import records
from ..bundles.catalogue import look_up, read_catalogue
from ..bundles.config import stand_in
from ..bundles.fields import CLASS_NAME
from ..bundles.files import CONFIG_NAME, bytes_in, partial_name, writing
from ..bundles.files import remove as delete
from ..bundles.folders import masks_folder, models_folder, photographs_folder
from ..errors import UserError
from .download import by_hand_path, held, original_of
from .repository import Source, cached, forget
from .resumable import partial_of


@dataclass(frozen=True)
class Removal:
    """What `remove` will delete: paths, and how many bytes they take."""

    name: str
    paths: tuple[Path, ...]
    bytes: int


def removal(name: str) -> Removal:
    """What belongs to a class on this computer. Raises `UserError` for nothing, and for a part of Labels4Free."""
    if not CLASS_NAME.fullmatch(stand_in(name)):
        look_up(name)  # complains: a path is never a name
    paths = [folder for folder in (models_folder() / stand_in(name),) if (folder / CONFIG_NAME).is_file()]
    paths += sorted(run for runs in (masks_folder(), photographs_folder()) for run in runs.glob(f"{stand_in(name)}.*"))
    found = look_up(name) if not paths else None
    paths += [path for _, path in _in_hub_cache(name)]
    described = read_catalogue().get(name)
    if described is not None and described.sha256:
        partial = partial_of(original_of(described), described.sha256)
        paths += [partial] if partial.exists() else []
    if not paths and found is not None and found.shipped:
        raise UserError(f"{name} is a part of Labels4Free and stays; classes that you added can be removed.")
    if not paths:
        kept = by_hand_path(described) if described is not None and described.file else None
        where = f", but for {kept}, which you put there" if kept is not None and kept.is_file() else ""
        raise UserError(f"Nothing of {name} is on this computer{where}; there is nothing to remove.")
    return Removal(name, tuple(paths), sum(map(bytes_in, paths)))


def remove(name: str) -> Removal:
    """Deletes what `removal` says, each bundle in one step. Raises `UserError` as it does."""
    planned = removal(name)
    with held(stand_in(name)):
        for path in planned.paths:
            if path.parent in (models_folder(), masks_folder(), photographs_folder()):
                hidden = partial_name(path)
                with writing(path):
                    os.rename(path, hidden)  # nobody meets half of a bundle
                    delete(hidden)
        for source, path in _in_hub_cache(name):
            forget(source, path)
        for path in planned.paths:
            delete(path)  # what is left of downloads
        records.drop(name)
    return planned


def _in_hub_cache(name: str) -> list[tuple[Source, Path]]:
    """What of the class lies in huggingface_hub's cache, with what was asked for."""
    described = read_catalogue().get(name)
    record, places = records.recall(name), []
    if described is not None and described.file:
        places.append((original_of(described), [described.file]))
    if record.get("repository") and not record.get("file"):
        folder = Path(record["folder"])
        files = [item.name for item in folder.iterdir()] if folder.is_dir() else []
        places.append((Source(record["repository"], record.get("revision"), cache_dir=record.get("cache_dir")), files))
    return [(source, path) for source, files in places for file in files if (path := cached(source, file))]
