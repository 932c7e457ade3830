"""The object classes on offer and where their bundles lie. Imports no torch, so that lists are quick.

The first place that has a class wins: the models folder of the user, the `weights` folder of this repository,
the Hugging Face Hub. See `catalogue_file` for what the Hub has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, printable
from ..hub.hub_errors import stand_in
from . import licences, records
from .catalogue_file import REPOSITORY_ID, CatalogueClass, read_catalogue
from .config import CLASS_NAME, CONFIG_NAME, read_summary
from .folders import WEIGHTS_FOLDER, models_folder
from .licences import Licence
from .memory import memory_needed, published_channels

if TYPE_CHECKING:
    from ..hub.download import Options

_ALPHA = "alpha.safetensors"
_STUDENT = "student.safetensors"


@dataclass(frozen=True)
class ClassEntry:
    """One line of the list of classes.

    `location` says where the bundle is or comes from; `installed` that it needs no download. `problem` is a
    sentence where a bundle is there but cannot be used. `masks` says whether an alpha network comes with it, `photos`
    whether a segmenter of photographs does.
    `terms` is what a download asks the user to accept, None where there is nothing to accept (any more).
    Sizes are in bytes: of the download, of the files on this computer, and of the memory that drawing one
    picture at a time takes (an estimate). `revision` is the commit it came from; `verified` that every file
    had the right hash when last looked at, and has not been touched since.
    """

    name: str
    title: str
    resolution: int
    licence: str
    location: str
    installed: bool
    problem: str | None = None
    masks: bool = False
    photos: bool = False
    terms: str | None = None
    download_bytes: int | None = None
    bytes_on_disk: int = 0
    memory_bytes: int = 0
    revision: str | None = None
    verified: bool = False
    shipped: bool = False


def classes() -> list[ClassEntry]:
    """Every class of the catalogue, bundle in the models folder and bundle fetched from the Hub, by name.

    A bundle of the user stands before one of the catalogue with the same name. Raises `UserError` when the
    catalogue itself is damaged.
    """
    known = read_catalogue()
    entries = {name: _catalogue_entry(described) for name, described in known.items()}
    for folder in user_bundles():
        entries[folder.name] = _bundle_entry(folder.name, folder, known.get(folder.name))
    for name in records.names():
        record = records.recall(name)
        if REPOSITORY_ID.fullmatch(name) and record and stand_in(name) not in entries:
            folder = Path(record.folder)
            if (folder / CONFIG_NAME).is_file():
                entries[name] = _bundle_entry(name, folder)
    return [entries[name] for name in sorted(entries)]


def resolve(name: str | Path, *, with_discriminator: bool = False, **options: Any) -> Path:
    """The folder of a bundle, given a class name, an existing folder or a Hub repository id.

    A plain name is looked for among the classes first, so that a folder of that name in the working
    directory does not hide a class. What is not on this computer is downloaded; `options` are the fields of
    `download.Options`. Raises `UserError`, or `Cancelled`.
    """
    from ..hub.download import Options, fetch_bundle

    chosen, text = Options(**options), str(name)
    if CLASS_NAME.fullmatch(text):
        own = _own_bundle(text)
        described = read_catalogue().get(text) if own is None or chosen.force_download else None
        if described is not None and (own is None or described.repository):
            return _from_catalogue(described, with_discriminator, chosen)
        if own is not None:
            return own
    path = Path(text).expanduser()
    if text and path.is_dir():
        return path.resolve()
    if text and path.is_file():
        raise UserError(f"{printable(path)} is a file; turn it into a bundle with: l4f convert FILE FOLDER.")
    if not isinstance(name, Path) and REPOSITORY_ID.fullmatch(text):
        own = None if chosen.force_download or chosen.revision else _own_bundle(stand_in(text))
        return own or fetch_bundle(text, chosen, with_discriminator=with_discriminator)
    known = ", ".join(item.name for item in classes())
    raise UserError(
        f"{printable(text)!r} is no class, no folder and no Hub repository; the classes are: {known or 'none'}."
    )


def entry(name: str) -> ClassEntry:
    """The line of the list with that name. Raises `UserError` for a name that is not in it."""
    listed = {item.name: item for item in classes()}
    if name not in listed:
        raise UserError(f"{printable(name)!r} is not in the list of classes; it has: {', '.join(listed) or 'none'}.")
    return listed[name]


def user_bundles() -> list[Path]:
    """The folders of the bundles in the models folder."""
    try:
        return [
            folder
            for folder in models_folder().iterdir()
            if CLASS_NAME.fullmatch(folder.name) and (folder / CONFIG_NAME).is_file()
        ]
    except OSError:
        return []


def _own_bundle(name: str) -> Path | None:
    folder = models_folder() / name
    return folder if (folder / CONFIG_NAME).is_file() else None


def _bundle_entry(name: str, folder: Path, described: CatalogueClass | None = None) -> ClassEntry:
    try:
        summary = read_summary(folder)
        size = sum(item.stat().st_size for item in folder.iterdir() if item.is_file())
    except UserError as error:
        return ClassEntry(name, name, 0, "", str(folder), False, str(error))
    except OSError as error:
        return ClassEntry(name, name, 0, "", str(folder), False, f"{folder} cannot be read ({error.strerror}).")
    record = records.recall(name, folder)
    return ClassEntry(
        name,
        summary.title,
        summary.resolution,
        summary.licence,
        str(folder),
        True,
        masks=_ALPHA in summary.files,
        photos=_STUDENT in summary.files,
        download_bytes=described.bytes if described else None,
        bytes_on_disk=size,
        memory_bytes=memory_needed(summary.resolution, summary.channels),
        revision=record.revision if record else None,
        verified=records.is_checked(name, folder),
        shipped=folder.parent == WEIGHTS_FOLDER,
    )


def _catalogue_entry(described: CatalogueClass) -> ClassEntry:
    if described.folder is not None and (described.folder / CONFIG_NAME).is_file():
        return _bundle_entry(described.name, described.folder)
    record = records.recall(described.name)
    if (
        described.file is None
        and record
        and record.repository == described.repository
        and (Path(record.folder) / CONFIG_NAME).is_file()
    ):
        return _bundle_entry(described.name, Path(record.folder), described)
    licence = Licence(described.licence, described.terms, described.licence_url)
    return ClassEntry(
        described.name,
        described.title,
        described.resolution,
        described.licence,
        f"hub: {described.repository}" if described.repository else str(described.folder),
        False,
        masks=described.alpha,
        terms=None if licences.is_accepted(described.name, licence) else licence.in_words(),
        download_bytes=described.bytes,
        memory_bytes=memory_needed(described.resolution, published_channels(described.resolution)),
    )


def _from_catalogue(described: CatalogueClass, with_discriminator: bool, options: Options) -> Path:
    from ..hub.download import fetch_bundle, install

    if described.file is not None:
        return install(described, options)
    if described.repository is not None:
        pinned = replace(options, revision=options.revision or described.revision)
        return fetch_bundle(
            described.repository,
            pinned,
            with_discriminator=with_discriminator,
            name=described.name,
            licence=Licence(described.licence, described.terms, described.licence_url),
        )
    if (described.folder / CONFIG_NAME).is_file():
        return described.folder
    raise UserError(
        f"The weights of {described.name} are missing from {described.folder.parent}; fetch Labels4Free "
        f"again, or put a bundle at {models_folder() / described.name}."
    )
