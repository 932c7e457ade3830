"""What is on this computer: looked over file by file, and removed. The list itself is `catalogue.classes`."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..hub.download import by_hand_path, lock_file, original_of
from ..hub.hub_cache import Source, cached, forget, partial_of
from ..hub.hub_errors import stand_in
from ..jobs import CancelToken, Progress
from . import records
from .catalogue import entry
from .catalogue_file import REPOSITORY_ID, CatalogueClass, read_catalogue
from .config import CLASS_NAME, CONFIG_NAME, read_summary
from .files import remove as delete
from .files import storage_error
from .folders import masks_folder, models_folder, photographs_folder
from .locks import lock


def verify(name: str | Path, *, progress: Progress | None = None, cancel: CancelToken | None = None) -> Path:
    """Compares size and hash of every file of a class with what its config says; the folder of the bundle.

    `name` is a class in the list, or the folder of a bundle. Needs no network and, for a class in the list, is
    remembered. Raises `UserError` about the first file that is not right, `Cancelled` between files.
    """
    from .bundle import verify_file

    if isinstance(name, Path) or (Path(name) / CONFIG_NAME).is_file():
        folder, listed = Path(name), None
    else:
        found = entry(name)
        if not found.installed:
            raise UserError(found.problem or f"{name} is not on this computer; fetch it with: l4f download {name}.")
        folder, listed = Path(found.location), name
    files = read_summary(folder).files
    if not files:
        raise UserError(f"{folder} lists no weight files; fetch or make the bundle again.")
    # A bundle from the Hub may have been fetched without what only training needs.
    present = [file for file in files if file != "discriminator.safetensors" or (folder / file).exists()]
    for number, file in enumerate(present):
        (cancel or CancelToken()).check()
        if progress is not None:
            progress(number, len(present), f"Checking {file} of {name}")
        verify_file(folder / file, files[file])
    if listed is not None:
        records.mark_checked(listed, folder)
    return folder


@dataclass(frozen=True)
class Removal:
    """What `remove` will delete: paths, and how many bytes they take."""

    name: str
    paths: tuple[Path, ...]
    bytes: int


def removal(name: str) -> Removal:
    """What belongs to a class on this computer: its bundle, what is left of its download, an unfinished learning.

    Raises `UserError` where there is nothing to remove, or the class is a part of Labels4Free.
    """
    if not CLASS_NAME.fullmatch(_plain(name)):
        entry(name)  # complains: a path is never a name
    paths = [folder for folder in (models_folder() / _plain(name),) if (folder / CONFIG_NAME).is_file()]
    paths += sorted(_runs(name))
    found = entry(name) if not paths else None
    for source, files in _in_hub_cache(name):
        paths += [path for file in files if (path := cached(source, file))]
    described = read_catalogue().get(name)
    if described is not None and described.sha256:
        partial = partial_of(original_of(described).cache() / "blobs" / described.sha256)
        paths += [partial] if partial.exists() else []
    if not paths and found is not None and found.shipped:
        raise UserError(f"{name} is a part of Labels4Free and stays; classes that you added can be removed.")
    if not paths:
        kept = by_hand_path(described) if described is not None and described.file else None
        where = f", but for {kept}, which you put there" if kept is not None and kept.is_file() else ""
        raise UserError(f"Nothing of {name} is on this computer{where}; there is nothing to remove.")
    return Removal(name, tuple(paths), sum(map(_size, paths)))


def remove(name: str) -> Removal:
    """Deletes what `removal` says, each bundle in one step. Raises `UserError` as it does."""
    planned = removal(name)
    with lock(
        lock_file(_plain(name)),
        refusal=f"{name} is in use by another program that installs or trains it; wait for that, then try again.",
    ):
        for path in planned.paths:
            try:
                if path.parent in (models_folder(), masks_folder(), photographs_folder()):
                    hidden = path.with_name(f".{path.name}.removed-{uuid.uuid4().hex[:12]}")
                    os.rename(path, hidden)  # nobody meets half of a bundle
                    delete(hidden)
            except OSError as error:
                raise storage_error(error, path) from error
        for source, files in _in_hub_cache(name):
            for file in files:
                if (path := cached(source, file)) is not None:
                    forget(source, path)
        for path in planned.paths:
            delete(path)  # what is left of downloads
        records.drop(name)
    return planned


def _plain(name: str) -> str:
    return stand_in(name) if REPOSITORY_ID.fullmatch(name) else name


def _runs(name: str) -> list[Path]:
    return [run for runs in (masks_folder(), photographs_folder()) for run in runs.glob(f"{_plain(name)}.*")]


def _in_hub_cache(name: str) -> list[tuple[Source, list[str]]]:
    """What of the class lies in huggingface_hub's cache, by what was asked for."""
    described: CatalogueClass | None = read_catalogue().get(name)
    record, places = records.recall(name), []
    if described is not None and described.file:
        places.append((original_of(described), [described.file]))
    if record is not None and record.repository and record.file is None:
        folder = Path(record.folder)
        files = [item.name for item in folder.iterdir()] if folder.is_dir() else []
        places.append((Source(record.repository, record.revision, cache_dir=record.cache_dir), files))
    return places


def _size(path: Path) -> int:
    try:
        items = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
        return sum(item.stat().st_size for item in items)
    except OSError:
        return 0
