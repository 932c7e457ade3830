"""What the page *Models* shows of the classes: the table of all, whose clicks `page.js` tells, and the card of one."""

from collections.abc import Iterable
from html import escape

from l4f_plugin.bundles.config import ObjectClass

from .texts import text
from .words import size, without_paths

COLUMNS = ("class", "state", "masks", "size", "memory", "verified", "licence", "source")


def state(entry: ObjectClass, damaged: bool) -> str:
    """Where a class is, in a word or two."""
    if damaged:
        return text("state.damaged")
    if entry.shipped:
        return text("state.shipped")
    return text("state.here" if entry.installed else "state.offered")


def table(entries: Iterable[ObjectClass], selected: str | None, damaged: set[str], changes: bool) -> str:
    """All classes, a row each; a click on a row picks it. `changes`: whether the page may change them."""
    about = f"{text('models.first')} {text('models.changes' if changes else 'models.read_only')}"
    head = "".join(f'<th scope="col">{escape(text(f"column.{name}"))}</th>' for name in COLUMNS)
    rows = "".join(_row(entry, entry.name == selected, entry.name in damaged) for entry in entries)
    caption = escape(text("models.caption"))
    return (
        f'<p class="l4f-aside">{escape(about)}</p>'
        f'<div class="l4f-table-place"><table class="l4f-table"><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(entry: ObjectClass, selected: bool, damaged: bool) -> str:
    about = f"{entry.name} {_picture_size(entry)}" if entry.resolution else entry.name
    known, pressed = not entry.problem, "true" if selected else "false"
    kind = "bad" if damaged else "good" if entry.installed else "plain"
    cells = {
        "class": f'<button type="button" class="l4f-row-name" aria-pressed="{pressed}">'
        f"{escape(entry.title)}</button><small>{escape(about)}</small>",
        "state": f'<span class="l4f-badge l4f-{kind}">{escape(state(entry, damaged))}</span>',
        "masks": escape(text("masks.yes" if entry.masks else "masks.no")) if known else "",
        "size": escape(_size(entry)),
        "memory": escape(size(entry.memory_bytes)) if entry.memory_bytes else "",
        "verified": _verified(entry, damaged),
        "licence": escape(entry.licence),
        "source": escape(_source(entry)),
    }
    inner = "".join(f'<td data-column="{escape(text(f"column.{key}"))}">{cell}</td>' for key, cell in cells.items())
    return f'<tr data-name="{escape(entry.name)}" class="{"l4f-selected" if selected else ""}">{inner}</tr>'


def _verified(entry: ObjectClass, damaged: bool) -> str:
    """Whether the files were compared with their hashes; a class that came with the program was not fetched."""
    if not entry.installed or (entry.shipped and not damaged):
        return "–"
    return escape(text("verified.yes" if entry.verified and not damaged else "verified.no"))


def _picture_size(entry: ObjectClass) -> str:
    width, height = entry.picture_size
    return text("models.picture", width=width, height=height)


def _size(entry: ObjectClass) -> str:
    if entry.installed:
        return text("models.on_disk", size=size(entry.bytes_on_disk))
    return text("models.to_fetch", size=size(entry.download_bytes)) if entry.download_bytes else "–"


def _source(entry: ObjectClass) -> str:
    if entry.revision:
        return text("models.revision", revision=entry.revision[:10])
    if entry.location.startswith("hub: "):
        return entry.location.removeprefix("hub: ")
    return text("origin.shipped" if entry.shipped else "origin.own")


def card(entry: ObjectClass, damaged: bool) -> str:
    if entry.problem:
        return (
            f'<div class="l4f-card"><h3>{escape(entry.title)}</h3><p class="l4f-problem">'
            f"{escape(without_paths(entry.problem))}</p></div>"
        )
    repository = entry.location.partition("hub: ")[2]
    facts = {
        "state": state(entry, damaged),
        "picture": _picture_size(entry),
        "masks": text("masks.yes" if entry.masks else "masks.later"),
        "photographs": text("masks.yes" if entry.photos else "masks.later") if entry.masks else "",
        "size": _size(entry),
        "memory": text("models.memory", size=size(entry.memory_bytes)),
        "licence": entry.licence,
        "where": "" if entry.shipped else repository or without_paths(entry.location),
        "revision": entry.revision or "",
    }
    told = [(text(f"fact.{key}"), words) for key, words in facts.items() if words]
    lines = "".join(f"<dt>{escape(label)}</dt><dd>{escape(words)}</dd>" for label, words in told)
    return f'<div class="l4f-card"><h3>{escape(entry.title)}</h3><dl>{lines}</dl></div>'
