"""The object classes on offer and where their bundles lie. Imports no torch, so that lists are quick.

Three places, the first that has a class wins: the models folder of the user, the `weights` folder of this
repository, the Hugging Face Hub. `weights/catalogue.json` names classes; each has

    title, resolution, licence      what a list shows
    folder                          its bundle in `weights`, or
    repository, revision            its bundle on the Hub
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .config import CLASS_NAME, CONFIG_NAME, read_summary
from .pickle_reader import printable

WEIGHTS_FOLDER = Path(__file__).resolve().parents[2] / "weights"
CATALOGUE_NAME = "catalogue.json"
SCHEMA_VERSION = 1
REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class ClassEntry:
    """One line of the list of classes.

    `location` says where the bundle is or comes from; `installed` that it needs no download. `problem` is a
    sentence where a bundle is there but cannot be used.
    """

    name: str
    title: str
    resolution: int
    licence: str
    location: str
    installed: bool
    problem: str | None = None


def cache_folder() -> Path:
    """Where everything lies that can be made or fetched again: `~/.cache/labels4free` (XDG_CACHE_HOME)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "labels4free"


def models_folder() -> Path:
    """Where bundles of the user lie, one folder each: LABELS4FREE_MODELS or `models` of the cache folder."""
    chosen = os.environ.get("LABELS4FREE_MODELS")
    return Path(chosen).expanduser().absolute() if chosen else cache_folder() / "models"


def classes() -> list[ClassEntry]:
    """Every class of the catalogue and every bundle in the models folder, by name.

    A bundle of the user stands before one of the catalogue with the same name. Raises `UserError` when the
    catalogue itself is damaged.
    """
    entries = {name: _catalogue_entry(name, described) for name, described in _catalogue().items()}
    for folder in _user_bundles():
        entries[folder.name] = _bundle_entry(folder)
    return [entries[name] for name in sorted(entries)]


def resolve(name: str | Path, *, with_discriminator: bool = False, **hub_options: Any) -> Path:
    """The folder of a bundle, given a class name, an existing folder or a Hub repository id.

    A plain name is looked for among the classes first, so that a folder of that name in the working
    directory does not hide a class. What is not on this computer is downloaded; `hub_options` are the
    keywords of `download.download_bundle`. Raises `UserError`.
    """
    text = str(name)
    if CLASS_NAME.fullmatch(text):
        if (models_folder() / text / CONFIG_NAME).is_file():
            return models_folder() / text
        described = _catalogue().get(text)
        if described is not None:
            return _catalogue_bundle(text, described, with_discriminator, hub_options)
    path = Path(text).expanduser()
    if text and path.is_dir():
        return path.resolve()
    if text and path.is_file():
        raise UserError(f"{printable(path)} is a file; turn it into a bundle with: l4f convert FILE FOLDER.")
    if not isinstance(name, Path) and REPOSITORY_ID.fullmatch(text):
        from .download import download_bundle

        return download_bundle(text, with_discriminator=with_discriminator, **hub_options)
    known = ", ".join(sorted({*_catalogue(), *(folder.name for folder in _user_bundles())}))
    raise UserError(f"{printable(text)!r} is no class, no folder and no Hub repository; "
                    f"the classes are: {known or 'none'}.")


def _user_bundles() -> list[Path]:
    try:
        return [folder for folder in models_folder().iterdir()
                if CLASS_NAME.fullmatch(folder.name) and (folder / CONFIG_NAME).is_file()]
    except OSError:
        return []


def _bundle_entry(folder: Path) -> ClassEntry:
    try:
        summary = read_summary(folder)
    except UserError as error:
        return ClassEntry(folder.name, folder.name, 0, "", str(folder), False, str(error))
    return ClassEntry(folder.name, summary.title, summary.resolution, summary.licence, str(folder), True)


def _catalogue_entry(name: str, described: Mapping[str, Any]) -> ClassEntry:
    if "repository" in described:
        location, installed = f"hub: {described['repository']}", False
    else:
        location, installed = str(WEIGHTS_FOLDER / described["folder"]), _shipped(described) is not None
    return ClassEntry(name, described["title"], described["resolution"], described["licence"], location,
                      installed)


def _shipped(described: Mapping[str, Any]) -> Path | None:
    folder = WEIGHTS_FOLDER / described["folder"]
    return folder if (folder / CONFIG_NAME).is_file() else None


def _catalogue_bundle(name: str, described: Mapping[str, Any], with_discriminator: bool,
                      hub_options: Mapping[str, Any]) -> Path:
    if "repository" in described:
        from .download import download_bundle

        options = {**hub_options, "revision": hub_options.get("revision") or described.get("revision")}
        return download_bundle(described["repository"], with_discriminator=with_discriminator, **options)
    folder = _shipped(described)
    if folder is None:
        raise UserError(f"The weights of {name} are missing from {WEIGHTS_FOLDER}; fetch Labels4Free again, "
                        f"or put a bundle at {models_folder() / name}.")
    return folder


def _catalogue() -> dict[str, dict[str, Any]]:
    """The checked entries of `weights/catalogue.json`; none where there is no such file."""
    path = WEIGHTS_FOLDER / CATALOGUE_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema_version"] != SCHEMA_VERSION or not all(map(_is_entry, data["classes"].items())):
            raise ValueError("an entry is not as it should be")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged; fetch Labels4Free again.") from error
    return data["classes"]


def _is_entry(item: tuple[str, Any]) -> bool:
    name, described = item
    if not CLASS_NAME.fullmatch(name) or type(described["resolution"]) is not int:
        return False
    if not isinstance(described["title"], str) or not isinstance(described["licence"], str):
        return False
    if "repository" in described:
        return bool(REPOSITORY_ID.fullmatch(described["repository"]))
    return bool(CLASS_NAME.fullmatch(described["folder"]))
