"""Every word that the pages show is in `locales/en.json`: a translation is a second file with the same keys."""

import json
from pathlib import Path

ENGLISH: dict[str, str] = json.loads((Path(__file__).parent / "locales" / "en.json").read_text(encoding="utf-8"))

_table = ENGLISH


def use_table(table: dict[str, str]) -> None:
    """Shows the words of `table` from now on; what it lacks stays English. Call it before building a page."""
    global _table
    _table = {**ENGLISH, **table}


def has(key: str) -> bool:
    return key in _table


def text(key: str, /, **values: object) -> str:
    """The words for `key`, with `values` filled in. Raises `KeyError` for a key that no table has."""
    words = _table[key]
    return words.format(**values) if values else words
