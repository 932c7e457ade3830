"""Puts the shards of a set together: what tells about all of them, the card, the checksums."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..bundles.files import remove, sha256_of, write_atomically, write_text
from ..bundles.locks import lock
from ..errors import UserError
from .dataset_card import CARD_NAME, Totals, dataset_card
from .export_plan import STATE_FOLDER, Plan
from .formats import format_module
from .shards import records

CHECKSUMS_NAME = "SHA256SUMS"


def is_complete(folder: Path, plan: Plan) -> bool:
    """Whether the set has been put together: the checksums are written last."""
    return (folder / CHECKSUMS_NAME).is_file() and (folder / CARD_NAME).is_file()


def complete(plan: Plan, folder: Path) -> None:
    """Writes annotations, card and checksums of a set whose shards are all there.

    Two processes that do so at a time write the same bytes. Raises `UserError` where the system refuses.
    """
    with lock(folder / STATE_FOLDER / "finish.lock"):
        for place in (folder, folder / STATE_FOLDER / "shards"):
            for leftover in place.glob(".*.partial"):  # of runs that were killed
                remove(leftover)
        module = format_module(plan.settings.format)
        written = module.finish(folder, plan)
        card = dataset_card(plan, totals(plan, folder), module.USE)
        _check_card(folder / CARD_NAME)
        write_atomically(folder / CARD_NAME, lambda path: write_text(path, card))
        write_atomically(folder / CHECKSUMS_NAME, lambda path: _write_checksums(path, folder, plan, written))


def _check_card(path: Path) -> None:
    """Raises `UserError` where a user has put a card of their own into the folder."""
    try:
        ours = not path.is_symlink() and (not path.exists() or "drawn by the object class `" in path.read_text("utf-8"))
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise UserError(
            f"{path} is not of this program and is left alone; move it away and give the same command "
            "again, which then only writes the card."
        )


def totals(plan: Plan, folder: Path) -> Totals:
    """What the card says in numbers, over all shards."""
    splits, dropped, tried, size, unreadable = Counter(), Counter(), 0, 0, set()
    for record in records(folder, plan):
        tried += record.tried
        dropped.update(record.dropped)
        splits.update(picture["split"] for picture in record.pictures)
        size += sum(note.bytes for note in record.files)
        unreadable.update(record.unreadable)
    return Totals(dict(splits), dict(dropped), tried, size, sorted(unreadable))


def _write_checksums(path: Path, folder: Path, plan: Plan, written: list[str]) -> None:
    """In the manner of sha256sum, which checks them with -c."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for record in records(folder, plan):
            file.writelines(f"{note.sha256}  {note.path}\n" for note in record.files)
        file.writelines(f"{sha256_of(folder / name)}  {name}\n" for name in (*written, CARD_NAME))
