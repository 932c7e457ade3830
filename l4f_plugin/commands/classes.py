"""``l4f classes``: the object classes on offer."""

from __future__ import annotations

import argparse

from . import add_json_argument, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """List the classes: what each is and where it is."""
    from ..bundles import catalogue

    entries = catalogue.classes()
    if args.json:
        print_json([entry.listed() for entry in entries])
        return 0
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        first, *others = _about(entry)
        print(f"{entry.name:{width}}  {first}")
        for line in others:
            print(f"{'':{width}}  {line}")
    print(f"Bundles put into {catalogue.models_folder()} are found by their folder's name.")
    return 0


def _about(entry) -> list[str]:
    """A class in lines of text."""
    from ..hub.transfer import megabytes

    if entry.problem:
        return [entry.problem, entry.location]
    masks = "with masks" if entry.masks else "no masks yet"
    lines = [f"{entry.title}, {entry.resolution} px, {entry.licence}, {masks}"]
    memory = f"{megabytes(entry.memory_bytes)} of memory"
    if entry.installed:
        state = "shipped" if entry.shipped else "installed"
        checked = "verified" if entry.verified else "not verified"
        lines.append(f"{state}, {checked}, {megabytes(entry.bytes_on_disk)} on disk, {memory}")
        lines.append(entry.location + (f" (revision {entry.revision})" if entry.revision else ""))
        if not entry.masks:
            lines.append(f"learn masks with: l4f learn-masks {entry.name}")
        return lines
    size = f", {megabytes(entry.download_bytes)} to download" if entry.download_bytes else ""
    lines.append(f"not installed{size}, {memory}")
    lines.append(entry.location)
    if entry.terms:
        lines.append(f"asks you to accept {entry.terms}")
    return lines
