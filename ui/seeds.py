"""The seeds field: what one number alone stands for, and how many pictures a page draws."""

import re
from collections.abc import Sequence

from l4f_plugin.arguments import check_seeds, draw_seed, parse_seeds
from l4f_plugin.errors import UserError

from .texts import text

MOST_PICTURES = 64  # pictures in one run of the page; a browser tab is not the place for more

LONGEST_TEXT = 1000  # characters in a field of seeds; `MOST_PICTURES` of the largest fit


def wanted_seeds(written: str, count: int) -> list[int]:
    """The seeds meant by `written`, see `parse_seeds`.

    One number alone stands for `count` pictures: -1 draws that many, another seed counts up from there.
    Raises `UserError` for what is no seed and for more than `MOST_PICTURES`.
    """
    written = _plain(written)
    if re.fullmatch(r"-1|\d{1,10}", written):
        first = int(written)
        seeds = [draw_seed() for _ in range(count)] if first < 0 else check_seeds(range(first, first + count))
    else:
        seeds = parse_seeds(written)
    if len(seeds) > MOST_PICTURES:
        raise UserError(text("problem.too_many", count=len(seeds), limit=MOST_PICTURES))
    return seeds


def wanted_seed(written: str) -> int:
    """The seed in a field that wants exactly one; -1 draws one. Raises `UserError` otherwise."""
    seeds = parse_seeds(_plain(written))
    if len(seeds) != 1:
        raise UserError(text("problem.one_seed"))
    return seeds[0]


def as_text(seeds: Sequence[int]) -> str:
    """The shortest way of writing the seeds so that `parse_seeds` reads them back, as in `0-7,12`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _plain(written: str) -> str:
    """With the minus sign of keyboards; raises `UserError` for a field that is empty or longer than `LONGEST_TEXT`."""
    plain = written.replace("−", "-").strip()
    if not plain:
        raise UserError(text("problem.no_seeds"))
    if len(plain) > LONGEST_TEXT:
        raise UserError(text("problem.seeds_too_long", longest=LONGEST_TEXT))
    return plain
