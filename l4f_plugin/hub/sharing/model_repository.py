"""A model repository on the Hub made of a bundle: the folder as it would be uploaded, and the upload."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...bundles.bundle import Bundle, load_bundle, save_bundle
from ...bundles.config import read_config
from ...bundles.files import CARD_NAME, open_plain, write_text, writing
from ...errors import UserError
from ...jobs import Report
from ..download import resolve
from .card import SAMPLES_NAME, published_card
from .terms import Declared, Terms, terms_of
from .upload import check_name, upload

Draw = Callable[[Bundle, Path], str]
"""Draws a sheet of sample pictures into a file and says in words what it shows: the networks' pipeline is above."""
_MOST_MEASURED = 1 << 18


@dataclass(frozen=True)
class Publication:
    declared: Declared = field(default_factory=Declared)  # what the person says of the weights
    private: bool = False  # makes a new repository private
    measured: Path | None = None  # a file of Markdown with metrics, for the card
    draw: Draw | None = None  # draws the card's sample pictures; without it the card has none
    copy: bool = False  # whether a Space gets weights of a repository copied in; else it pins their revision
    dry: Path | None = None  # a new or empty folder that gets what would be uploaded; then nothing is uploaded


USUAL = Publication()


def prepare(
    name: str | Path,
    repository: str,
    folder: Path,
    publication: Publication = USUAL,
    report: Report = lambda message: None,
) -> Terms:
    """Writes into the new or empty `folder` what `publish` would upload. Raises `UserError` as it does."""
    check_name(repository)
    folder = new_folder(folder)
    source = resolve(name)
    terms = terms_of(read_config(source), source, publication.declared)  # before the weights are read
    measured = None
    if publication.measured is not None:
        try:
            with open_plain(publication.measured) as file:
                measured = file.read(_MOST_MEASURED).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            remedy = "make it with: l4f evaluate class CLASS --markdown"
            raise UserError(f"{publication.measured} cannot be read; {remedy}.") from error
    report(f"Reading {source}")
    bundle = load_bundle(source)
    if publication.declared.without_masks:
        bundle.alpha = bundle.background = bundle.student = None  # it was trained on those masks
    bundle.config = replace(bundle.config, licence=terms.licence)
    config, shown = save_bundle(bundle, folder, model_card="-\n"), None
    if publication.draw is not None:
        report("Drawing sample pictures")
        shown = publication.draw(bundle, folder / SAMPLES_NAME)
    card = published_card(config, terms, repository, card=bundle.model_card, measured=measured, samples=shown)
    with writing(folder):
        write_text(folder / CARD_NAME, card)
        for file, content in terms.files.items():
            (folder / file).write_bytes(content)
    return terms


def publish(
    name: str | Path,
    repository: str,
    publication: Publication = USUAL,
    report: Report = lambda message: None,
    *,
    prepare: Callable = prepare,
    kind: str = "model",
    replaced: Sequence[str] = ("*.safetensors", SAMPLES_NAME),
) -> str | None:
    """Creates or updates the repository OWNER/NAME with a class; the address of its page, None for a dry run.

    `name` is a class, the folder of a bundle or a repository. `prepare` fills the folder that is uploaded; of an
    earlier version, what matches `replaced` and is not in it goes. Raises `UserError` where the licence does not allow
    it, or the Hub refuses.
    """
    if publication.dry is not None:
        prepare(name, repository, publication.dry, publication, report)
        return None
    with tempfile.TemporaryDirectory(prefix="labels4free-") as place:
        folder = Path(place) / kind
        prepare(name, repository, folder, publication, report)
        report(f"Uploading to {repository}")
        return upload(folder, repository, kind, publication.private, replaced)


def new_folder(folder: Path) -> Path:
    """The folder as a full path. Raises `UserError` where something is in it already."""
    folder = Path(folder).expanduser().absolute()
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"{folder} is a link to nothing and was left alone; choose a new or empty folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty and was left alone; choose a new or empty folder.")
    return folder
