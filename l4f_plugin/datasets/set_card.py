"""What tells a person about an exported set: its README, and a sheet of its first pictures with their masks."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from ..bundles.model_card import metadata
from ..images import png_bytes, sheet_of
from ..provenance import sheet_text
from .curation import REASONS
from .export_plan import SPLITS, ExportPlan
from .shard_records import ShardRecord

CARD_NAME, SHEET_NAME = "README.md", "sheet.png"
SHEET_TILES = 48  # 24 pictures with their masks
_SHEET_COLUMNS, _TILE_SIDE = 8, 128
_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (0, "1M<n<10M"))
_NAMED = 50  # unreadable files
_BEHIND = {
    "own": "as drawn, behind the subject",
    "seeds": "the background of another seed",
    "colours": "a plain colour",
    "pictures": "pictures of whoever made this set, whose licence is theirs to state",
}


def dataset_card(plan: ExportPlan, shards: Iterable[ShardRecord], use: str) -> str:
    """Markdown with the Hub's metadata on top; `use` says how the format is read."""
    source, settings, splits, dropped = plan.source, plan.settings, Counter(), Counter()
    tried, written, unreadable = 0, 0, set()
    for shard in shards:
        tried += shard.tried
        written += sum(note.bytes for note in shard.files)
        splits.update(picture["split"] for picture in shard.pictures)
        dropped.update(shard.dropped)
        unreadable.update(shard.unreadable)
    width, height = plan.picture_size
    size = next(words for most, words in _SIZES if settings.count < most or not most)
    kinds = ["task_categories:", "- image-segmentation", "size_categories:", f"- {size}"]
    table = ["| split | pictures |", "|---|---|"]
    table += [f"| {split} | {splits[split]:,} |" for split in SPLITS if splits[split]]
    sections = [
        metadata(source.licence, *kinds, "tags:", "- synthetic", "- labels4free"),
        f"# {source.title}: {settings.count:,} generated pictures with masks",
        f"{width} x {height} px, drawn by the object class `{source.name}` with Labels4Free {plan.version}; the masks "
        "were learned without labels and are as exact as that class's card says. No picture shows anything real.",
        f"![The first pictures with their soft masks]({SHEET_NAME})",
        f"## Licence\n\n- Weights of the class: {source.licence}\n- Source: {source.source}\n\nThe pictures are made "
        "by these weights: respect their licence, and name what it asks to be named, wherever you pass this set on.",
        "## Contents\n\n" + "\n".join(table),
        "A seed is always in the same split, whatever else is exported with it. "
        f"{written / 1e6:,.1f} MB of pictures and masks.",
        "## Reading it\n\n" + use,
        "## Labels\n\n" + _labels(plan, sorted(unreadable)),
        "## Curation\n\n" + _curation(plan, dropped, tried),
        f"## Making it again\n\n```\n{settings.command(source.name)}\n```\n\nWeights `{source.fingerprint}`, precision "
        f"{plan.dtype}. On the same machine, with as many threads, it writes the same bytes, and elsewhere the same "
        "pictures but for the last bits. `sha256sum -c SHA256SUMS` checks every file.",
    ]
    return "\n\n".join(sections) + "\n"


def _labels(plan: ExportPlan, unreadable: Sequence[str]) -> str:
    behind = "; ".join(f"`{kind}`: {_BEHIND[kind]}" for kind in plan.settings.backgrounds)
    lines = [
        f"- `mask`: soft, 8-bit grey; `hard_mask`: 255 where that is above {plan.source.alpha_threshold:g}, else 0.",
        "- `box`: left, top, width, height of the hard mask in pixels; `area` and `soft_area` in pixels.",
        "- `uncertainty`: sum of min(a, 1 - a) by the sum of a; `largest_piece`: share of the hard mask.",
        "- `seed` and `truncation_psi` draw the picture again.",
        f"- `background`: what is behind the subject, chosen at random for each picture ({behind}).",
    ]
    if unreadable:
        named = ", ".join(json.dumps(name, ensure_ascii=False) for name in unreadable[:_NAMED])
        more = f" and {len(unreadable) - _NAMED:,} more" if len(unreadable) > _NAMED else ""
        lines.append(
            f"- {len(unreadable):,} background pictures could not be read and were passed over: {named}{more}."
        )
    return "\n".join(lines)


def _curation(plan: ExportPlan, dropped: Counter[str], tried: int) -> str:
    chosen = plan.settings.curation
    if chosen is None:
        return f"None: all {tried:,} pictures are in the set, whatever their masks are like."
    gone = sum(dropped.values())
    share = gone / max(tried, 1)
    limits = (
        f"covers less than {chosen.min_area:.1%}",
        f"covers more than {chosen.max_area:.1%}",
        f"uncertainty above {chosen.max_uncertainty:g}",
        f"largest piece below {chosen.min_largest_piece:.0%} of the mask",
    )
    said = (
        f"Of {tried:,} pictures drawn {gone:,} ({share:.1%}) were dropped for their masks. Limits that nobody "
        "set follow from the class: three times the distance between the quartiles of its first pictures, beyond them."
    )
    rows = [f"| {reason} | {limit} | {dropped[reason]:,} |" for reason, limit in zip(REASONS, limits, strict=True)]
    return "\n".join([said, "", "| reason | limit | dropped |", "|---|---|---|", *rows])


def sheet_tiles(image: np.ndarray, mask: np.ndarray) -> list[Image.Image]:
    """A picture uint8 `[H, W, 3]` and its soft mask uint8 `[H, W]`, the longer side at most 128 pixels."""
    tiles = [Image.fromarray(part) for part in (image, mask)]
    for tile in tiles:
        tile.thumbnail((_TILE_SIDE, _TILE_SIDE), Image.Resampling.BOX)
    return tiles


def sheet_file(tiles: Sequence[Image.Image]) -> bytes:
    """The sheet of such tiles as a PNG file; what is not filled is white."""
    return png_bytes(sheet_of(tiles, _SHEET_COLUMNS), sheet_text("pictures of a set"))
