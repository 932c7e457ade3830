"""What the tab *Explore* shows beside Gradio's own components, as HTML. `page.js` tells the server what is done there.

Plain elements in few components look the same under every Gradio, and appear when the tab is first opened.
"""

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from html import escape

from PIL import Image

from l4f_plugin.exploring import LARGEST_STRENGTH, RANGES, key

from .exploration import LARGEST_VARIETY, Exploration
from .texts import text

SHOWN = 8  # directions of a range that have a slider
END = 2.0  # standard deviations of the thumbnails at the two ends of a direction
LIVE_SIDE, THUMBNAIL_SIDE = 640, 96
_boards = itertools.count()


def address(picture: Image.Image, side: int = THUMBNAIL_SIDE) -> str:
    """A picture, at most `side` pixels wide and high, as the address of an image."""
    if max(picture.size) > side:
        picture = picture.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    picture.save(written, "WEBP", quality=90, method=0)
    return "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode()


def live(picture: Image.Image) -> str:
    about = escape(text("explore.result"))
    return (
        f'<div class="l4f-live" style="--l4f-shape: {picture.width / picture.height:g}">'
        f'<img decoding="sync" alt="{about}" src="{address(picture, LIVE_SIDE)}"></div>'
    )


def _slider(name: str, value: float, least: float, most: float, step: float, label: str, digits: int) -> str:
    """Two digits or one stand beside it; none where it has no place for a number."""
    return (
        f'<input type="range" data-key="{name}" data-digits="{digits}" min="{least:g}" max="{most:g}" step="{step:g}"'
        f' value="{value:g}" aria-label="{escape(label)}">'
    )


def board(explored: Exploration, shown: str, renames: bool) -> str:
    """Variety, and a slider for each direction of each range, of which `shown` is seen."""
    variety, words = explored.look.variety, text("explore.variety")
    slider = _slider("variety", variety, 0, LARGEST_VARIETY, 0.05, words, 2)
    choices = "".join(
        f'<label><input type="radio" name="l4f_explore_range" value="{name}"{" checked" * (name == shown)}>'
        f"<span>{escape(text(f'range.{name}'))}</span></label>"
        for name in RANGES
    )
    about = escape(text("explore.directions_info" if renames else "explore.directions_info_only"))
    directions = ""
    for name in RANGES:
        rows = (_row(explored, key(name, number), renames) for number in range(min(SHOWN, len(explored.directions))))
        directions += f'<div class="l4f-directions l4f-of-{name}">{"".join(rows)}</div>'
    # Gradio shows no board anew that is as the last one, although a hand has moved its sliders since.
    return (
        f'<div class="l4f-board" data-number="{next(_boards)}">'
        f'<div class="l4f-variety"><strong>{escape(words)}</strong>{slider}<output>{variety:.2f}</output>'
        f"<small>{escape(text('explore.variety_info'))}</small></div>"
        f'<fieldset><legend>{escape(text("explore.directions"))}</legend><div class="l4f-choices">{choices}</div>'
        f"<small>{about}</small></fieldset>{directions}</div>"
    )


def _row(explored: Exploration, written: str, renames: bool) -> str:
    number = int(written.partition("-")[2]) + 1
    name = explored.directions.names.get(written) or text("explore.direction", number=number)
    strength, label = explored.look.strengths.get(written, 0), escape(name)
    fixed = "" if renames else " readonly"
    about = escape(text("explore.name_of", name=name))
    ends = [
        f'<button type="button" class="l4f-end" data-do="end" data-key="{written}" data-to="{to:g}"'
        f' aria-label="{escape(text("explore.end_of", name=name, strength=f"{to:+g}"))}"></button>'
        for to in (-END, END)
    ]
    slider = _slider(written, strength, -LARGEST_STRENGTH, LARGEST_STRENGTH, 0.1, name, 1)
    return (
        f'<div class="l4f-direction">{ends[0]}<div><input class="l4f-name" value="{label}" maxlength="40"'
        f' data-name="{written}" aria-label="{about}"{fixed}>{slider}</div>{ends[1]}</div>'
    )


def ends_sheet(pictures: Mapping[str, Sequence[Image.Image]]) -> str:
    """The thumbnails of ranges, lower and upper end of each direction in turn, as a sheet: the board stays as it is."""
    rules = [
        f'.l4f .l4f-end[data-key="{key(name, number // 2)}"][data-to="{END if number % 2 else -END:g}"]'
        f" {{ background-image: url({address(picture)}) !important; }}"
        for name, ends in pictures.items()
        for number, picture in enumerate(ends)
    ]
    return f"<style>{' '.join(rules)}</style>"


def grid(heading: str, pictures: Sequence[tuple[Image.Image, str]]) -> str:
    """Subjects that may be gone on with, (picture, words) each."""
    cells = "".join(
        f'<button type="button" data-do="take" data-at="{number}" title="{escape(words)}">'
        f'<img alt="{escape(words)}" src="{address(picture, 192)}"></button>'
        for number, (picture, words) in enumerate(pictures)
    )
    return f'<div class="l4f-grid"><h3>{escape(heading)}</h3><div>{cells}</div></div>'


def shelf(explored: Exploration) -> str:
    """The subjects that were put aside, and with two of them chosen the slider between these."""
    about = text("explore.shelf_info" if explored.shelf else "explore.empty_shelf")
    inner = f"<h3>{escape(text('explore.shelf'))}</h3><p>{escape(about)}</p>"
    inner += f"<div>{''.join(_kept(explored, at) for at in range(len(explored.shelf)))}</div>"
    if len(explored.chosen) == 2:
        slider = _slider("between", 0.5, 0, 1, 0.01, text("explore.between"), 2)
        inner += f'<div class="l4f-between"><b>A</b>{slider}<b>B</b></div>'
    return f'<div class="l4f-shelf">{inner}</div>'


def _kept(explored: Exploration, at: int) -> str:
    letter = chr(ord("A") + explored.chosen.index(at)) if at in explored.chosen else ""
    about = escape(text("explore.on_shelf", number=at + 1))
    pressed = "true" if letter else "false"
    parts = [
        f'<button type="button" data-do="choose" data-at="{at}" aria-pressed="{pressed}">'
        f'<img alt="{about}" src="{explored.shelf[at].picture}"><b>{letter}</b></button>'
    ]
    for verb, sign in (("go_on", "↗"), ("drop", "×")):
        words = escape(text(f"shelf.{verb}"))
        parts.append(
            f'<button type="button" data-do="{verb}" data-at="{at}" title="{words}"'
            f' aria-label="{words}">{sign}</button>'
        )
    return f'<div class="l4f-kept">{"".join(parts)}</div>'
