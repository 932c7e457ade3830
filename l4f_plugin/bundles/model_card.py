"""The README of a bundle: a model card as the Hub reads it, with licence and provenance."""

import json
import re
from pathlib import Path

from .config import ObjectClass
from .files import CARD_NAME, open_plain

MAXIMUM_CARD_BYTES = 1 << 20
USE = "```\nl4f generate FOLDER_OR_REPOSITORY --seeds 0-7 --out pictures\n```"
HUB_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"}


def metadata(licence: str, *lines: str, link: str | None = None) -> str:
    """What the Hub reads on top of a card (YAML): the licence, a `link` to one that it has no name for, and `lines`."""
    known = licence.lower() in HUB_LICENCES
    name = re.sub(r"[^a-z0-9.-]+", "-", licence.lower()).strip("-.") or "other"
    terms = [f"license: {name}"] if known else ["license: other", f"license_name: {json.dumps(name)}"]
    terms += [f"license_link: {link}"] if link and not known else []
    return "\n".join(["---", *terms, *lines, "---"])


def write_model_card(config: ObjectClass, notes: str = "") -> str:
    """Markdown with the Hub's metadata on top; `notes` (Markdown) tell of the training and of what was measured."""
    tags = ["tags:", "- labels4free", "- stylegan2", "- image-segmentation"]
    size = config.generator.resolution
    card = f"""\
{metadata(config.licence, "library_name: labels4free", "pipeline_tag: unconditional-image-generation", *tags)}

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
