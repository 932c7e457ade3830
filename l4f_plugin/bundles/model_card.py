"""The README of a bundle: a model card as the Hub reads it, with licence and provenance."""

from __future__ import annotations

import json
from pathlib import Path

from .config import ObjectClass
from .files import open_plain

CARD_NAME = "README.md"
MAXIMUM_CARD_BYTES = 1 << 20
USE = "```\nl4f generate FOLDER_OR_REPOSITORY --seeds 0-7 --out pictures\n```"
HUB_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"}


def write_model_card(config: ObjectClass, notes: str = "") -> str:
    """Markdown with the Hub's metadata on top.

    `notes` (Markdown) tells what the class was trained on, how, and what was measured.
    """
    licence = config.licence.lower()
    known = licence in HUB_LICENCES
    metadata = {"license": licence if known else "other"}
    if not known:
        metadata["license_name"] = config.licence
    # JSON strings are YAML strings, whatever the text holds.
    lines = [f"{key}: {json.dumps(value)}" for key, value in metadata.items()]
    size = config.generator.resolution
    sections = [
        "\n".join(
            [
                "---",
                *lines,
                "library_name: labels4free",
                "pipeline_tag: unconditional-image-generation",
                "tags:",
                "- labels4free",
                "- stylegan2",
                "- image-segmentation",
                "---",
            ]
        ),
        f"# {config.title}",
        f"A StyleGAN2 generator of {size} x {size} px pictures and, where the folder holds one, the alpha "
        "network of Labels4Free, which gives each picture a soft foreground mask.",
        f"- Licence of these weights: {config.licence}\n- Source: {config.source}\n"
        f"- Defaults: truncation psi {config.truncation_psi:g}, mask threshold {config.alpha_threshold:g}",
        USE,
    ]
    return "\n\n".join([*sections, *([notes.strip()] if notes.strip() else [])]) + "\n"


def read_model_card(folder: Path) -> str | None:
    """The text of a bundle's README; None where it has none that can be read."""
    try:
        with open_plain(Path(folder) / CARD_NAME) as file:
            return file.read(MAXIMUM_CARD_BYTES).decode("utf-8").replace("\r\n", "\n") or None
    except (OSError, UnicodeDecodeError):
        return None
