"""The model card of a published class: what the bundle's own card says, and what the Hub needs on top."""

import re

from ... import __version__
from ...bundles.config import ObjectClass
from ...bundles.model_card import USE, metadata, write_model_card
from .terms import ATTRIBUTION_FILE, LICENCE_FILE, Terms

LIBRARY = "labels4free-plugin"
SAMPLES_NAME = "samples.png"
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_OURS = re.compile(r"\n*<!-- l4f:(\w+) -->.*?<!-- /l4f:\1 -->\n*", re.DOTALL)
_HEADING = re.compile(r"^# .*$", re.MULTILINE)


def published_card(
    config: ObjectClass,
    terms: Terms,
    repository: str,
    *,
    card: str | None = None,
    measured: str | None = None,
    samples: str | None = None,
) -> str:
    """The Markdown of `repository`'s README.

    `card` is the bundle's own, of which all but the metadata stays; `measured` a Markdown section with metrics;
    `samples` says in words what the sheet of pictures shows, None where there is none. Publishing again
    replaces what an earlier publication added.
    """
    body = _FRONT_MATTER.sub("", card or write_model_card(config)).strip()
    body = _OURS.sub("\n\n", body).replace(USE, "").strip()  # the section below says it with the repository's name
    body = re.sub(r"\n{3,}", "\n\n", body)
    if not _HEADING.search(body):
        body = f"# {config.title}\n\n{body}"
    if samples:
        body = _after_heading(body, _section("samples", f"![{samples}]({SAMPLES_NAME})\n\n{samples}"))
    masks = ["image-segmentation"] if "alpha.safetensors" in config.files else []
    tags = [f"- {tag}" for tag in ("labels4free", "stylegan2", *masks, *terms.tags)]
    purpose = "pipeline_tag: unconditional-image-generation"
    parts = [front_matter(terms, f"library_name: {LIBRARY}", purpose, "tags:", *tags), body]
    if measured and measured.strip():
        parts.append(_section("measured", measured.strip()))
    use = (
        "## Use\n\nWith the Labels4Free plug-in, which is on no package index:\n\n"
        f"```\nl4f generate {repository} --seeds 0-7 --out pictures\n```\n\n"
        "```python\nfrom l4f_plugin import Labels4FreePipeline\n\n"
        f'pipeline = Labels4FreePipeline.from_pretrained("{repository}")\n'
        'sample = pipeline.generate([7])[0]\nsample.picture().save("picture.png")\n```'
    )
    licence = ["## Licence", "", f"These weights are under {terms.licence}."]
    if terms.restricted:
        licence.append("They may be used non-commercially only.")
    if LICENCE_FILE in terms.files:
        licence.append(f"The text of the licence is in [{LICENCE_FILE}]({LICENCE_FILE}) and stays with the weights.")
    if ATTRIBUTION_FILE in terms.files:
        licence.append(f"Attribution: see [{ATTRIBUTION_FILE}]({ATTRIBUTION_FILE}).")
    origin = ["## Provenance", "", f"- Source of the weights: {config.source}"]
    origins = {"learned": "learned without labels by this program", "imported": "imported"}
    if config.alpha_origin and masks:
        origin.append(f"- Masks: {origins[config.alpha_origin]}")
    origin += [f"- Published with Labels4Free {__version__}", "", "|file|bytes|SHA-256|", "|---|---|---|"]
    origin += [f"|{name}|{file.bytes:,}|`{file.sha256}`|" for name, file in sorted(config.files.items())]
    parts += [_section("use", use), _section("terms", "\n".join(licence)), _section("provenance", "\n".join(origin))]
    return "\n\n".join(parts) + "\n"


def trained_card(config: ObjectClass, samples: str, about: str, diary: str) -> str:
    """The Markdown of a class that was trained here; what it tells of the use here, a publication replaces."""
    folded = f"<details><summary>Diary of the training</summary>\n\n```\n{diary}\n```\n\n</details>"
    use = _section("use", USE.replace("FOLDER_OR_REPOSITORY", config.name))
    card = write_model_card(config, f"{about}\n\n{folded}").replace(USE, use)
    return _after_heading(card, _section("samples", f"![{samples}]({SAMPLES_NAME})\n\n{samples}")) + "\n"


def front_matter(terms: Terms, *lines: str) -> str:
    """What the Hub reads on top of a page: the licence of the weights, and `lines` of YAML."""
    return metadata(terms.licence, *lines, link=LICENCE_FILE if LICENCE_FILE in terms.files else None)


def _section(name: str, text: str) -> str:
    return f"<!-- l4f:{name} -->\n{text}\n<!-- /l4f:{name} -->"


def _after_heading(body: str, section: str) -> str:
    end = _HEADING.search(body).end()
    return f"{body[:end]}\n\n{section}\n\n{body[end:].strip()}"
