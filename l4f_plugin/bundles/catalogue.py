"""The object classes on offer and on this computer: listed, looked up, checked. Imports no torch.

`catalogue.json` in `weights` says which classes there are and where each comes from. A user's own,
LABELS4FREE_CATALOGUE or `catalogue.json` in the models folder, is merged over it: a class of the same name takes its
fields from there, and all that says where the weights come from as soon as one field of those is given. Each class has

    title, resolution, licence              what a list shows
    folder                                  its bundle, in the folder of the catalogue file; or
    repository, revision                    its bundle on the Hub; or
    repository, revision, file              a published checkpoint on the Hub, converted once into a bundle,
        bytes, sha256                       pinned by size and hash where these are known
    alpha                                   whether masks come with it
    truncation_psi, alpha_threshold, crop   defaults of a converted bundle
    terms, licence_url                      what must be accepted before a download, and where to read it
    source                                  whose work it is, for the model card
"""

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..architecture import GeneratorConfig, published_channels
from ..errors import UserError, printable
from ..jobs import NEVER, CancelToken, Progress, unseen
from . import fields, licences, records
from .config import ObjectClass, read_config, stand_in
from .fields import CLASS_NAME, REPOSITORY_ID, REVISION, SHA256, Invalid
from .files import CONFIG_NAME, DISCRIMINATOR_FILE, read_json
from .folders import WEIGHTS_FOLDER, models_folder

CATALOGUE_NAME = "catalogue.json"
SCHEMA_VERSION = 1
LARGEST_CATALOGUE = 1 << 20
_PLACE = ("folder", "repository", "revision", "file", "bytes", "sha256", "alpha")
# What a bundle on this computer does not say itself.
_OFFER = "repository fetched_revision file download_bytes sha256 brings_masks conditions licence_url"


def classes() -> list[ObjectClass]:
    """Every class of the catalogue, bundle in the models folder and bundle fetched from the Hub, by name.

    A bundle of the user stands before one of the catalogue with the same name. Raises `UserError` when the
    catalogue itself is damaged.
    """
    offered = read_catalogue()
    found = {}
    for name, described in offered.items():
        terms = None if licences.is_accepted(described) else described.licence_in_words
        found[name] = _fetched(described) or replace(described, terms=terms)
    for config in models_folder().glob(f"*/{CONFIG_NAME}"):
        name = config.parent.name
        if CLASS_NAME.fullmatch(name) and config.is_file():
            found[name] = _here(offered.get(name, ObjectClass(name, brings_masks=True)), config.parent)
    for name in filter(REPOSITORY_ID.fullmatch, records.names()):
        here = _fetched(ObjectClass(name, repository=name, brings_masks=True))
        if here is not None and stand_in(name) not in found:
            found[name] = here
    return [found[name] for name in sorted(found)]


def look_up(name: str) -> ObjectClass:
    """The class of that name. Raises `UserError` for a name that is not in the list."""
    listed = {item.name: item for item in classes()}
    if name not in listed:
        raise UserError(f"{printable(name)!r} is not in the list of classes; it has: {', '.join(listed) or 'none'}.")
    return listed[name]


def installed(name: str) -> ObjectClass:
    """The class of that name, which is on this computer. Raises `UserError` as `look_up` does, and where it is not."""
    found = look_up(name)
    if not found.installed:
        raise UserError(found.problem or f"{name} is not on this computer; fetch it with: l4f download {name}.")
    return found


def verify(name: str | Path, *, progress: Progress = unseen, cancel: CancelToken = NEVER) -> Path:
    """Compares size and hash of every file of a class with what its config says; the folder of the bundle.

    `name` is a class in the list, or else the folder of a bundle. Needs no network and, for a class in the list, is
    remembered. Raises `UserError` about the first file that is not right, `Cancelled` between files.
    """
    listed = name in {item.name for item in classes()}
    if not listed and (isinstance(name, Path) or (Path(name) / CONFIG_NAME).is_file()):
        folder = Path(name)
    else:
        folder = installed(str(name)).folder
    files = read_config(folder).files
    if not files:
        raise UserError(f"{folder} lists no weight files; fetch or make the bundle again.")
    # A bundle from the Hub may have been fetched without what only training needs.
    present = [file for file in files if file != DISCRIMINATOR_FILE or (folder / file).exists()]
    for number, file in enumerate(present):
        cancel.check()
        progress(number, len(present), f"Checking {file} of {name}")
        records.verify_file(folder / file, files[file])
    if listed:
        records.remember(name, folder)
    return folder


def _here(offered: ObjectClass, folder: Path) -> ObjectClass:
    """The class with what its bundle in `folder` says."""
    name = offered.name
    try:
        config = read_config(folder)
        size = sum(item.stat().st_size for item in folder.iterdir() if item.is_file())
    except (UserError, OSError) as error:
        problem = f"{folder} cannot be read ({error.strerror})." if isinstance(error, OSError) else str(error)
        return ObjectClass(name, name, folder=folder, problem=problem)
    record = records.recall(name, folder)
    checked = record.get("checked")
    return replace(
        config,
        name=name,
        **{field: getattr(offered, field) for field in _OFFER.split()},
        folder=folder,
        installed=True,
        bytes_on_disk=size,
        revision=record.get("revision"),
        verified=bool(checked) and checked == records.present(folder),
        shipped=folder.parent == WEIGHTS_FOLDER,
    )


def _fetched(offered: ObjectClass) -> ObjectClass | None:
    """A class whose bundle is not in the models folder: in its own folder, or where it was fetched to."""
    folder = offered.folder
    if folder is None:
        record = records.recall(offered.name)
        if offered.file is not None or record.get("repository") != offered.repository:
            return None
        folder = Path(record["folder"])
    return _here(offered, folder) if (folder / CONFIG_NAME).is_file() else None


# The file


def read_catalogue() -> dict[str, ObjectClass]:
    """Every class on offer by name, ours and the user's. Raises `UserError` that names the file which is damaged."""
    chosen = os.environ.get("LABELS4FREE_CATALOGUE")
    theirs = Path(chosen).expanduser().absolute() if chosen else models_folder() / CATALOGUE_NAME
    ours = WEIGHTS_FOLDER / CATALOGUE_NAME
    table = {name: (ours.parent, given) for name, given in _read(ours, "fetch Labels4Free again").items()}
    for name, given in _read(theirs, "mend or remove that file").items():
        folder, known = table.get(name, (theirs.parent, {}))
        if set(given) & set(_PLACE):
            folder, known = theirs.parent, {key: known[key] for key in known if key not in _PLACE}
        table[name] = (folder, {**known, **given})
    remedy = f"mend it in {theirs}" if theirs.is_file() else "fetch Labels4Free again"
    found = {}
    for name, (folder, given) in table.items():
        try:
            found[name] = _parse(name, given, folder)
        except ValueError as error:
            label = name if CLASS_NAME.fullmatch(name) else ascii(name[:64])
            raise UserError(f"The catalogue's class {label} is damaged: {error}; {remedy}.") from error
    return found


def _read(path: Path, remedy: str) -> dict[str, dict[str, Any]]:
    try:
        data = read_json(path, LARGEST_CATALOGUE)
        if data["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version is not {SCHEMA_VERSION}")
        if not all(isinstance(given, dict) for given in data["classes"].values()):
            raise ValueError("a class is not an object")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"The catalogue {path} is damaged; {remedy}.") from error
    return data["classes"]


def _parse(name: str, given: dict[str, Any], catalogue: Path) -> ObjectClass:
    """A class of the catalogue file in the folder `catalogue`. Raises `ValueError`."""
    given = {**given, "name": name}
    if (given.get("folder") is None) == (given.get("repository") is None):
        raise Invalid("either 'folder' or 'repository' must be given")
    resolution, file = fields.resolution(given), fields.optional(fields.text, given, "file")
    parts = PurePosixPath(file or "a").parts
    if not parts or ".." in parts or "\\" in (file or "") or parts[0] == "/":
        raise Invalid("'file' must be a path within the repository")
    folder = fields.optional(fields.text, given, "folder", 2000, CLASS_NAME if catalogue == WEIGHTS_FOLDER else None)
    parsed = dict(
        name=fields.text(given, "name", 64, CLASS_NAME),
        title=fields.text(given, "title"),
        licence=fields.text(given, "licence"),
        source=fields.optional(fields.text, given, "source"),
        generator=GeneratorConfig(resolution, published_channels(resolution)),
        crop=fields.optional(fields.crop, given, "crop", resolution),
        truncation_psi=fields.optional(fields.number, given, "truncation_psi", -2.0, 2.0),
        alpha_threshold=fields.optional(fields.number, given, "alpha_threshold", 0.0, 1.0),
        repository=fields.optional(fields.text, given, "repository", 2000, REPOSITORY_ID),
        fetched_revision=fields.optional(fields.text, given, "revision", 2000, REVISION),
        file=file,
        download_bytes=fields.optional(fields.integer, given, "bytes", 1, 1 << 40),
        sha256=fields.optional(fields.text, given, "sha256", 64, SHA256),
        brings_masks=bool(given.get("alpha", file is None)),
        conditions=fields.optional(fields.text, given, "terms"),
        licence_url=fields.optional(fields.text, given, "licence_url"),
        folder=None if folder is None else (catalogue / Path(folder).expanduser()).absolute(),
    )
    return ObjectClass(**{name: value for name, value in parsed.items() if value is not None})
