"""`l4f classes`, `download`, `verify`, `remove` and `convert`: the classes on this computer, and how they come here."""

import argparse
import json
import sys
from pathlib import Path

from ..bundles.files import megabytes
from ..errors import UserError
from . import Answer, add_json, agreed, complain, confirm, given, report, show_progress


def add_classes(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def classes(args: argparse.Namespace) -> Answer:
    from ..bundles import catalogue

    entries = catalogue.classes()
    width = max((len(entry.name) for entry in entries), default=0)
    lines = [
        f"{'' if number else entry.name:{width}}  {line}"
        for entry in entries
        for number, line in enumerate(_about(entry))
    ]
    lines.append(f"Bundles put into {catalogue.models_folder()} are found by their folder's name.")
    return Answer([entry.listed() for entry in entries], "\n".join(lines))


def _about(entry) -> list[str]:
    if entry.problem:
        return [entry.problem, entry.location]
    masks = "with masks" if entry.masks else "no masks yet"
    width, height = entry.picture_size
    first = f"{entry.title}, {width} x {height} px, licence {entry.licence}, {masks}"
    memory = f"{megabytes(entry.memory_bytes)} of memory"
    if not entry.installed:
        size = f", {megabytes(entry.download_bytes)} to download" if entry.download_bytes else ""
        asked = [f"asks you to accept {entry.terms}"] if entry.terms else []
        return [first, f"not installed{size}, {memory}", entry.location, *asked]
    state = "shipped" if entry.shipped else "installed"
    checked = "verified" if entry.verified else "not verified"
    place = entry.location + (f" (revision {entry.revision})" if entry.revision else "")
    learn = [] if entry.masks else [f"learn masks with: l4f learn-masks {entry.name}"]
    return [first, f"{state}, {checked}, {megabytes(entry.bytes_on_disk)} on disk, {memory}", place, *learn]


def add_download(parser: argparse.ArgumentParser) -> None:
    text = "a name that `l4f classes` lists, or a Hugging Face repository as owner/name"
    parser.add_argument("class_name", metavar="CLASS", help=text)
    text = "you have read the licence of the weights and accept it"
    parser.add_argument("--accept-licence", action="store_true", help=text)
    text = "keep the checkpoint that is converted (default: drop it, unless LABELS4FREE_KEEP_ORIGINALS=1)"
    parser.add_argument("--keep-original", action="store_true", help=text)
    parser.add_argument("--force", action="store_true", help="fetch it although it is here: for an update or a mend")
    parser.add_argument("--revision", help="branch, tag or commit of the repository")
    add_json(parser)


def download(args: argparse.Namespace) -> Answer:
    from ..bundles import catalogue, licences
    from ..hub.download import resolve

    chosen = {"keep_original": args.keep_original, "force_download": args.force, "revision": args.revision}
    try:
        folder = resolve(args.class_name, accept_licence=args.accept_licence, **chosen)
    except licences.NotAccepted as error:
        asked = f"{error.wanted.name} is under {error.wanted.licence_in_words}. Do you accept that?"
        if not sys.stdin.isatty() or not confirm(asked):
            raise
        folder = resolve(args.class_name, accept_licence=True, **chosen)
    about = next((entry.listed() for entry in catalogue.classes() if entry.location == str(folder)), None)
    return Answer({"folder": folder, "class": about}, f"{args.class_name} is in {folder}")


def add_verify(parser: argparse.ArgumentParser) -> None:
    text = "names that `l4f classes` lists, or folders of bundles (default: all that are installed)"
    parser.add_argument("class_names", metavar="CLASS", nargs="*", help=text)
    add_json(parser)


def verify(args: argparse.Namespace) -> Answer:
    """Checks sizes and hashes; 2 where a class is not whole."""
    from ..bundles import catalogue

    names = args.class_names or [entry.name for entry in catalogue.classes() if entry.installed or entry.problem]
    results, sentences = [], []
    for name in names:
        result = {"class": name, "verified": True, "folder": None, "problem": None}
        try:
            result["folder"] = catalogue.verify(name, progress=show_progress)
            sentences.append(f"{name}: verified")
        except UserError as error:
            result |= {"verified": False, "problem": str(error)}
            if not args.json:
                complain(f"{name}: {error}")
        results.append(result)
    if not results:
        sentences = ["No class is installed; `l4f classes` lists what there is."]
    return Answer(results, "\n".join(sentences), 0 if all(result["verified"] for result in results) else 2)


def add_remove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("class_name", metavar="CLASS", help="a name that `l4f classes` lists")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json(parser)


def remove(args: argparse.Namespace) -> Answer:
    from ..hub import removal

    planned = removal.removal(args.class_name)
    if not agreed(args, f"{megabytes(planned.bytes)} of {args.class_name}", planned.paths):
        return Answer(None, code=1)
    done = removal.remove(args.class_name)
    data = {"class": done.name, "bytes": done.bytes, "paths": list(done.paths)}
    return Answer(data, f"{done.name}: {megabytes(done.bytes)} deleted")


def add_convert(parser: argparse.ArgumentParser) -> None:
    text = "StyleGAN2 of rosinality's layout (.pt) or NVIDIA's (.pkl), or a bundle"
    parser.add_argument("checkpoint", metavar="source", type=Path, help=text)
    text = "folder of the bundle to write; FILE.pt writes a bundle's generator in rosinality's layout instead"
    parser.add_argument("destination", type=Path, help=text)
    parser.add_argument("--alpha", type=Path, metavar="FILE", help="Labels4Free alpha network (.pt)")
    parser.add_argument("--name", help="class name; the folder's by default")
    parser.add_argument("--title", help="name of the class for people")
    parser.add_argument("--licence", help="licence of the weights, such as CC-BY-4.0; unknown by default")
    parser.add_argument("--source-note", dest="source", metavar="TEXT", help="where the weights come from")
    parser.add_argument("--truncation-psi", type=float, metavar="PSI", help="default of the class, -2 to 2")
    parser.add_argument("--alpha-threshold", type=float, metavar="T", help="default of the class, 0 to 1")
    sides, text = ("TOP", "BOTTOM", "LEFT", "RIGHT"), "rows and columns to keep; published cars: 64 448 0 512"
    parser.add_argument("--crop", type=int, nargs=4, metavar=sides, help=text)
    parser.add_argument("--half", action="store_true", help="store float16: half the size, slightly rounded")
    add_json(parser)


def convert(args: argparse.Namespace) -> Answer:
    from ..bundles.config import ObjectClass

    args.crop = tuple(args.crop) if args.crop else None
    described = given(args, ObjectClass)
    if args.destination.suffix == ".pt":
        if described or args.alpha or args.half:
            raise UserError("A file in rosinality's layout holds a generator alone; leave the options out.")
        return _write_published(args.checkpoint, args.destination)

    import torch

    from ..convert.conversion import UNKNOWN_LICENCE
    from ..convert.conversion import convert as convert_checkpoint

    config = convert_checkpoint(
        args.checkpoint,
        args.destination,
        alpha=args.alpha,
        described=described,
        dtype=torch.float16 if args.half else torch.float32,
        report=report,
    )
    generator, files = config.generator, ", ".join(sorted(name.removesuffix(".safetensors") for name in config.files))
    words = (
        f"{args.destination}: {config.title}, {generator.resolution} px, latent {generator.latent_dim}, "
        f"style {generator.style_dim}, {generator.mapping_layers} mapping layers, holds {files}"
    )
    if config.licence == UNKNOWN_LICENCE:
        words += "\nThe licence is unknown; say which with --licence before you share this bundle."
    return Answer({"folder": args.destination.resolve(), "config": json.loads(config.to_json())}, words)


def _write_published(source: Path, file: Path) -> Answer:
    from ..bundles.bundle import load_bundle
    from ..convert.rosinality import write_rosinality
    from ..hub.download import resolve
    from ..provenance import check_may_write

    check_may_write(file)
    bundle = load_bundle(resolve(str(source), with_discriminator=True), with_discriminator=True)
    write_rosinality(bundle, file)
    return Answer({"file": file.resolve()}, f"{file}: the generator of {bundle.config.title} in rosinality's layout")
