"""A user's own checkpoints: a new class from a file, or published masks for a class that is here.

Files of unknown origin are read in a process of their own, by the reader that runs nothing. Whatever goes wrong,
the models folder is as it was before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..bundles import records
from ..bundles.catalogue import classes, installed
from ..bundles.config import move_bundle, stand_in
from ..bundles.fields import CLASS_NAME
from ..bundles.files import beside, bytes_in
from ..bundles.folders import models_folder
from ..convert.child_process import convert_in_child
from ..errors import UserError, printable
from ..jobs import NEVER, CancelToken
from .download import held, resolve
from .repository import demand_space


class NameTaken(UserError):
    """A new class must be called something else; with its file nothing is wrong."""


def demand_free_name(name: str) -> None:
    """Raises `UserError` unless a new class may be called that."""
    if not CLASS_NAME.fullmatch(name):
        raise UserError(f"{printable(name)!r} is no name for a class; use up to 64 small letters, digits, - and _.")
    if any(name in (entry.name, stand_in(entry.name)) for entry in classes()):
        raise NameTaken(f"There is a class {name} already; choose another name, or remove that class first.")
    folder = models_folder() / name
    if folder.exists() or folder.is_symlink():
        raise NameTaken(f"The models folder holds other files under the name {name}; choose another name.")


def import_checkpoint(
    source: Path, name: str, *, alpha: Path | None, described: dict[str, Any], cancel: CancelToken = NEVER
) -> Path:
    """Makes the class `name` from a checkpoint, and an alpha network where there is one; the bundle's folder.

    `source`, `alpha` and `described` are as `conversion.convert` takes them. Raises `UserError`, or `Cancelled`.
    """
    demand_free_name(name)
    folder, said = models_folder() / name, {**described, "name": name}
    with _converted(source, folder, alpha, said, cancel) as bundle, held(name):
        demand_free_name(name)  # somebody else may have been quicker
        move_bundle(bundle, folder)
    records.remember(name, folder)
    return folder


def import_masks(name: str, alpha: Path, *, cancel: CancelToken = NEVER) -> Path:
    """Gives an installed class the masks of a published alpha network; the bundle's folder.

    A class that is not in the models folder gets a bundle of its own there, which then stands before it. Raises
    `UserError`, or `Cancelled`.
    """
    installed(name)
    plain = stand_in(name)
    # What a bundle came with is kept in it, so what was fetched must be complete.
    source, folder = resolve(name, with_discriminator=True), models_folder() / plain
    with _converted(source, folder, alpha, {}, cancel) as bundle, held(plain):
        move_bundle(bundle, folder)
    records.remember(plain, folder, records.recall(name))
    return folder


@contextmanager
def _converted(
    source: Path, folder: Path, alpha: Path | None, said: dict[str, Any], cancel: CancelToken
) -> Iterator[Path]:
    """The finished bundle, in a place beside `folder` that is gone afterwards with all that was left there."""
    demand_space({folder.parent: bytes_in(source)}, folder.name)
    with beside(folder) as private:
        bundle = private / folder.name
        convert_in_child(source, bundle, alpha=alpha, described=said, cancel=cancel, always=True)
        cancel.check()
        yield bundle
