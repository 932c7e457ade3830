"""The README of a bundle: a model card as the Hub reads it, with licence and provenance."""

from __future__ import annotations

import json
from pathlib import Path

from .config import CARD_NAME, ObjectClass
from .files import open_plain

MAXIMUM_CARD_BYTES = 1 << 20
USE = "```\nl4f generate FOLDER_OR_REPOSITORY --seeds 0-7 --out pictures\n```"
HUB_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"}


def write_model_card(config: ObjectClass, notes: str = "") -> str:
    """Markdown with the Hub's metadata on top.

    `notes` (Markdown) tells what the class was trained on, how, and what was measured.
    """
    known, size = config.licence.lower() in HUB_LICENCES, config.generator.resolution
    # JSON strings are YAML strings, whatever the text holds.
    licence = json.dumps(config.licence.lower() if known else "other")
    named = "" if known else f"license_name: {json.dumps(config.licence)}\n"
    card = f"""\
---
license: {licence}
{named}library_name: labels4free
pipeline_tag: unconditional-image-generation
tags:
- labels4free
- stylegan2
- image-segmentation
---

# {config.title}

A StyleGAN2 generator of {size} x {size} px pictures and, where the folder holds one, the alpha network of \
Labels4Free, which gives each picture a soft foreground mask.

- Licence of these weights: {config.licence}
- Source: {config.source}
- Defaults: truncation psi {config.truncation_psi:g}, mask threshold {config.alpha_threshold:g}

{USE}
"""
    return f"{card}\n{notes.strip()}\n" if notes.strip() else card


def read_model_card(folder: Path) -> str | None:
    """The text of a bundle's README; None where it has none that can be read."""
    try:
        with open_plain(Path(folder) / CARD_NAME) as file:
            return file.read(MAXIMUM_CARD_BYTES).decode("utf-8").replace("\r\n", "\n") or None
    except (OSError, UnicodeDecodeError):
        return None
