"""`catalogue.json`: which object classes there are and where each comes from. Imports no torch.

Ours lies in `weights`. A user's own, LABELS4FREE_CATALOGUE or `catalogue.json` in the models folder, is merged
over it: a class of the same name takes its fields from there, and all that says where the weights come from
as soon as one field of those is given. Each class has

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

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError
from .config import CLASS_NAME, RESOLUTIONS
from .files import open_plain
from .folders import WEIGHTS_FOLDER, models_folder

CATALOGUE_NAME = "catalogue.json"
SCHEMA_VERSION = 1
LARGEST_CATALOGUE = 1 << 20
REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
_PLACE = ("folder", "repository", "revision", "file", "bytes", "sha256", "alpha")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CatalogueClass:
    """One object class of the catalogue; exactly one of `folder` and `repository` is set."""

    name: str
    title: str
    resolution: int
    licence: str
    folder: Path | None = None
    repository: str | None = None
    revision: str | None = None
    file: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    alpha: bool = False
    truncation_psi: float | None = None
    alpha_threshold: float | None = None
    crop: tuple[int, int, int, int] | None = None
    terms: str | None = None
    licence_url: str | None = None
    source: str | None = None

    @property
    def file_name(self) -> str:
        """The published checkpoint's name without folders."""
        return PurePosixPath(self.file or "").name


def read_catalogue() -> dict[str, CatalogueClass]:
    """Every class by name, ours and the user's. Raises `UserError` that names the file which is damaged."""
    ours = WEIGHTS_FOLDER / CATALOGUE_NAME
    table = {name: (ours.parent, fields) for name, fields in _read(ours, "fetch Labels4Free again").items()}
    theirs = user_catalogue()
    for name, fields in _read(theirs, "mend or remove that file").items():
        folder, known = table.get(name, (theirs.parent, {}))
        if set(fields) & set(_PLACE):
            folder, known = theirs.parent, {key: known[key] for key in known if key not in _PLACE}
        table[name] = (folder, {**known, **fields})
    return {name: _parse(name, fields, folder, theirs) for name, (folder, fields) in table.items()}


def is_revision(text: str) -> bool:
    """Whether a text can be a branch, a tag or a commit; they become paths in the cache."""
    return bool(_REVISION.fullmatch(text)) and ".." not in text and not text.endswith("/")


def user_catalogue() -> Path:
    """Where a user's own catalogue is looked for."""
    chosen = os.environ.get("LABELS4FREE_CATALOGUE")
    return Path(chosen).expanduser().absolute() if chosen else models_folder() / CATALOGUE_NAME


def _read(path: Path, remedy: str) -> dict[str, dict[str, Any]]:
    try:
        with open_plain(path) as file:
            data = json.loads(file.read(LARGEST_CATALOGUE))
        if data["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version is not {SCHEMA_VERSION}")
        if not all(isinstance(fields, dict) for fields in data["classes"].values()):
            raise ValueError("a class is not an object")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"The catalogue {path} is damaged; {remedy}.") from error
    return data["classes"]


def _parse(name: str, fields: dict[str, Any], folder: Path, theirs: Path) -> CatalogueClass:
    remedy = f"mend it in {theirs}" if theirs.is_file() else "fetch Labels4Free again"
    try:
        return _checked(name, fields, folder)
    except (_Wrong, LookupError, TypeError, ValueError, AttributeError) as error:
        said = str(error) if isinstance(error, _Wrong) else f"a field is missing or not as it should be ({error})"
        label = name if CLASS_NAME.fullmatch(name) else ascii(name[:64])
        raise UserError(f"The catalogue's class {label} is damaged: {said}; {remedy}.") from error


class _Wrong(Exception):
    """What is wrong with a class, in words."""


def _checked(name: str, fields: dict[str, Any], folder: Path) -> CatalogueClass:
    _demand(CLASS_NAME.fullmatch(name), "a name may hold small letters, digits, - and _ only")
    _demand(fields["resolution"] in RESOLUTIONS, "'resolution' must be a power of two from 32 to 1024")
    for key in ("title", "licence"):
        _demand(_is_line(fields[key]), f"'{key}' must be a line of text")
    for key in ("terms", "licence_url", "source"):
        _demand(fields.get(key) is None or _is_line(fields[key]), f"'{key}' must be a line of text")
    _demand(("folder" in fields) != ("repository" in fields), "either 'folder' or 'repository' must be given")
    known = {
        key: fields.get(key)
        for key in (
            "revision",
            "file",
            "bytes",
            "sha256",
            "terms",
            "licence_url",
            "source",
            "truncation_psi",
            "alpha_threshold",
        )
    }
    if "folder" in fields:
        known["folder"] = (folder / Path(fields["folder"]).expanduser()).absolute()
        _demand(folder != WEIGHTS_FOLDER or CLASS_NAME.fullmatch(fields["folder"]), "'folder' must be a plain name")
    else:
        known["repository"] = fields["repository"]
        _check_hub_fields(known)
    for key, least, most in (("truncation_psi", -2.0, 2.0), ("alpha_threshold", 0.0, 1.0)):
        value = known[key]
        _demand(
            value is None or (type(value) in (int, float) and least <= value <= most),
            f"'{key}' must be a number from {least:g} to {most:g}",
        )
    crop = fields.get("crop")
    if crop is not None:
        sides = range(fields["resolution"] + 1)
        _demand(
            len(crop) == 4
            and all(type(side) is int and side in sides for side in crop)
            and crop[0] < crop[1]
            and crop[2] < crop[3],
            "'crop' must be top, bottom, left, right in pixels",
        )
        known["crop"] = tuple(crop)
    return CatalogueClass(
        name,
        fields["title"],
        fields["resolution"],
        fields["licence"],
        alpha=bool(fields.get("alpha", "file" not in fields)),
        **known,
    )


def _check_hub_fields(known: dict[str, Any]) -> None:
    _demand(REPOSITORY_ID.fullmatch(known["repository"]), "'repository' must be OWNER/NAME")
    revision, file = known["revision"], known["file"]
    _demand(revision is None or is_revision(revision), "'revision' must be a branch, tag or commit")
    if file is not None:
        parts = PurePosixPath(file).parts
        _demand(
            _is_line(file) and "\\" not in file and not file.startswith("/") and parts and ".." not in parts,
            "'file' must be a path within the repository",
        )
    size, digest = known["bytes"], known["sha256"]
    _demand(size is None or (type(size) is int and 0 < size < 1 << 40), "'bytes' must be a size in bytes")
    _demand(digest is None or _SHA256.fullmatch(digest), "'sha256' must be 64 hexadecimal digits")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 2000 and value.isprintable()


def _demand(condition: Any, words: str) -> None:
    if not condition:
        raise _Wrong(words)
