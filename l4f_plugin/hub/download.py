"""Object classes from the Hub: a bundle as it is, a published checkpoint once converted into one.

A bundle stays in huggingface_hub's cache, a converted one lies in the models folder. Either is found again
without asking the Hub, and nobody sees one before all of it is there and right.
"""

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from tqdm import tqdm

from ..bundles import licences, records
from ..bundles.catalogue import classes, read_catalogue
from ..bundles.config import ObjectClass, WeightFile, move_bundle, read_config, stand_in
from ..bundles.fields import CLASS_NAME, REPOSITORY_ID
from ..bundles.files import (
    CARD_NAME,
    CONFIG_NAME,
    MAXIMUM_CONFIG_BYTES,
    NETWORKS,
    is_bundle_of_ours,
    remove,
    sha256_of,
    writing,
)
from ..bundles.folders import models_folder
from ..bundles.locks import lock
from ..bundles.model_card import MAXIMUM_CARD_BYTES
from ..errors import UserError, printable
from ..jobs import NEVER, CancelToken, Progress
from .hub_errors import MissingFile, offline, put_by_hand
from .repository import LargeFile, Source, cached, demand_space, fetch, forget, is_right, set_reference, short
from .resumable import arrived, fetch_resumable

LARGEST_FILE = 4 << 30  # of weights; the largest published checkpoint, with all its optimisers, has a quarter


@dataclass(frozen=True)
class Options:
    """What to download, and how. What has no comment is huggingface_hub's."""

    with_discriminator: bool = False
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    force_download: bool = False  # asks the Hub although the class is here
    local_files_only: bool = False
    accept_licence: bool = False  # the user has read and accepts it
    keep_original: bool = False  # a converted checkpoint stays in the cache, as LABELS4FREE_KEEP_ORIGINALS=1 asks too
    progress: Progress | None = None
    cancel: CancelToken = NEVER

    def shown(self) -> AbstractContextManager[Progress]:
        """Where progress goes: to the caller, else to the terminal."""
        return _on_terminal() if self.progress is None else nullcontext(self.progress)


@contextmanager
def _on_terminal() -> Iterator[Progress]:
    """A `Progress` of bytes: a bar on a terminal's stderr, elsewhere one line a step."""
    with ExitStack() as bars:
        step = bar = None

        def show(done: int, total: int, message: str) -> None:
            nonlocal step, bar
            if (message, total) != step:
                bars.close()
                step, bar = (message, total), None
                if total and sys.stderr.isatty():
                    size = shutil.get_terminal_size()  # some terminals say 0 x 0, in which tqdm would show nothing
                    shape = {"ncols": size.columns, "nrows": size.lines, "unit": "B", "unit_scale": True}
                    # Speed and time left count what arrives now, not what was there before.
                    bar = tqdm(total=total, initial=done, desc=message, file=sys.stderr, **shape)
                    bars.callback(bar.close)
                else:
                    size = f" ({total / 1e6:,.1f} MB)" if total else ""
                    print(f"{message}{size}", file=sys.stderr, flush=True)
            if bar is not None:
                bar.update(done - bar.n)

        yield show


def resolve(name: str | Path, **options: Any) -> Path:
    """The folder of a bundle, given a class name, an existing folder or a Hub repository id.

    The first place that has a class wins: the models folder of the user, the `weights` folder of this repository, the
    Hub. A plain name is looked for among the classes first, so that a folder of that name in the working directory
    does not hide a class. What is not on this computer is downloaded; `options` are the fields of `Options`. Raises
    `UserError`, or `Cancelled`.
    """
    chosen, text = Options(**options), str(name)
    own = models_folder() / stand_in(text)
    if CLASS_NAME.fullmatch(text):
        described = read_catalogue().get(text) if chosen.force_download or not is_bundle(own) else None
        if described is not None and (described.repository or not is_bundle(own)):
            return _from_catalogue(described, chosen)
        if is_bundle(own):
            return own
    path = Path(text).expanduser()
    if text and path.is_dir():
        return path.resolve()
    if text and path.is_file():
        raise UserError(f"{printable(path)} is a file; turn it into a bundle with: l4f convert FILE FOLDER.")
    if not isinstance(name, Path) and REPOSITORY_ID.fullmatch(text):
        if is_bundle(own) and not (chosen.force_download or chosen.revision):
            return own
        return fetch_bundle(text, chosen)
    known = ", ".join(item.name for item in classes())
    raise UserError(
        f"{printable(text)!r} is no class, no folder and no Hub repository; the classes are: {known or 'none'}."
    )


def _from_catalogue(described: ObjectClass, options: Options) -> Path:
    if described.file is not None:
        return install(described, options)
    if described.repository is not None:
        pinned = replace(options, revision=options.revision or described.fetched_revision)
        return fetch_bundle(described.repository, pinned, described)
    if is_bundle(described.folder):
        return described.folder
    raise UserError(
        f"The weights of {described.name} are missing from {described.folder.parent}; fetch Labels4Free "
        f"again, or put a bundle at {models_folder() / described.name}."
    )


def fetch_bundle(repository: str, options: Options, offered: ObjectClass | None = None) -> Path:
    """The folder in huggingface_hub's cache that holds the bundle of `repository`.

    `offered` is the class as the catalogue has it; without it the repository's id is the name, and the bundle says
    which licence it has. Raises `UserError` with what to do, or `Cancelled`.
    """
    name = offered.name if offered else repository
    source = Source(repository, options.revision, options.token, options.cache_dir)
    if not options.force_download and (found := find_bundle(source, options)):
        return found
    if options.local_files_only:
        raise UserError(offline(repository, put_by_hand(repository), "nothing may be fetched"))
    with options.shown() as progress:
        config = fetch(source, CONFIG_NAME, most=MAXIMUM_CONFIG_BYTES, cancel=options.cancel)
        folder, pinned = config.parent, replace(source, revision=config.parent.name)
        summary = read_config(folder)
        asked = replace(summary, name=name, conditions=licences.restriction(summary.licence))
        licences.demand(offered or asked, options.accept_licence)
        wanted = _wanted(summary, options)
        if "generator.safetensors" not in wanted:
            raise UserError(f"{repository} holds no generator that a bundle needs; choose another repository.")
        absent = [file.bytes for name, file in wanted.items() if cached(pinned, name) is None]
        demand_space({source.cache(): sum(absent)}, repository)
        for filename, expected in wanted.items():
            fetch(pinned, filename, expected, most=LARGEST_FILE, progress=progress, cancel=options.cancel)
        with suppress(MissingFile, LargeFile):  # a bundle works without a model card
            fetch(pinned, CARD_NAME, most=MAXIMUM_CARD_BYTES, cancel=options.cancel)
    set_reference(source, pinned.revision)
    cache = None if options.cache_dir is None else str(Path(options.cache_dir).expanduser().absolute())
    records.remember(name, folder, {"repository": repository, "revision": pinned.revision, "cache_dir": cache})
    return folder


def find_bundle(source: Source, options: Options) -> Path | None:
    """The bundle in huggingface_hub's cache, if all of it is there; asks nobody."""
    config = cached(source, CONFIG_NAME)
    if config is None:
        return None
    try:
        wanted = _wanted(read_config(config.parent), options)
        sizes = {name: (config.parent / name).stat().st_size for name in wanted}
    except (UserError, OSError):
        return None
    complete = "generator.safetensors" in wanted and all(sizes[name] == file.bytes for name, file in wanted.items())
    return config.parent if complete else None


def _wanted(summary: ObjectClass, options: Options) -> dict[str, WeightFile]:
    names = [f"{name}.safetensors" for name in NETWORKS if options.with_discriminator or name != "discriminator"]
    return {name: summary.files[name] for name in names if name in summary.files}


def is_bundle(folder: Path) -> bool:
    return (folder / CONFIG_NAME).is_file()


def install(entry: ObjectClass, options: Options) -> Path:
    """The folder in the models folder with the bundle of a class that is published as a checkpoint.

    Fetches the checkpoint, checks size and hash, converts it, puts the bundle in place in one step, and drops
    the checkpoint unless it is to be kept or was there before. Processes that ask for the same class take
    turns, and the later ones find it done. Raises `UserError` with what to do, or `Cancelled`.
    """
    folder = models_folder() / entry.name
    if is_bundle(folder) and not options.force_download:
        return folder
    licences.demand(entry, options.accept_licence)
    waiting = f"Waiting for another program that is installing {entry.name}"
    with (
        options.shown() as progress,
        lock(lock_file(entry.name), cancel=options.cancel, on_wait=lambda: progress(0, 0, waiting)),
    ):
        if not is_bundle(folder) or options.force_download:
            _install(entry, folder, options, progress)
    return folder


def lock_file(name: str) -> Path:
    """The lock that whoever changes a class in the models folder holds."""
    return models_folder() / f".{name}.lock"


def held(name: str) -> AbstractContextManager[None]:
    """That lock, held. Raises `UserError` where another program has it."""
    said = f"{name} is in use by another program that installs or trains it; wait for that, then try again."
    return lock(lock_file(name), refusal=said)


def original_of(entry: ObjectClass, options: Options = Options()) -> Source:
    """Where the published checkpoint of a class is, on the Hub and in huggingface_hub's cache."""
    by_hand = (
        f"get {entry.file} from {constants.ENDPOINT}/{entry.repository} on another computer and put it at "
        f"{by_hand_path(entry)}"
    )
    revision = options.revision or entry.fetched_revision
    return Source(entry.repository or "", revision, options.token, options.cache_dir, by_hand)


def by_hand_path(entry: ObjectClass) -> Path:
    """Where a checkpoint that a person has brought along is looked for."""
    return models_folder() / short(entry.file or "")


def _install(entry: ObjectClass, folder: Path, options: Options, progress: Progress) -> None:
    _refuse_to_lose(folder, entry)
    for leftover in folder.parent.glob(f"*.{entry.name}.installing-*"):
        remove(leftover)  # of a process that was killed: the lock says that none is at it
    source = original_of(entry, options)
    expected = WeightFile(entry.download_bytes, entry.sha256) if entry.download_bytes and entry.sha256 else None
    original, size = _local_original(entry, source, expected), entry.download_bytes or 0
    was_here = original is not None
    if original is None:
        if options.local_files_only:
            raise UserError(offline(short(entry.file), source.by_hand, "nothing may be fetched"))
        # A bundle has no more bytes than the checkpoint: some networks, and the optimisers, stay behind.
        demand_space({source.cache(): size - arrived(source, entry.sha256), folder.parent: size}, entry.name)
        get = fetch_resumable if expected else fetch
        original = get(source, entry.file, expected, most=LARGEST_FILE, progress=progress, cancel=options.cancel)
    commit = None if original == by_hand_path(entry) else original.relative_to(source.cache() / "snapshots").parts[0]
    staging = folder.with_name(f".{entry.name}.installing-{uuid.uuid4().hex[:12]}")
    try:
        digest = entry.sha256 or sha256_of(original)
        origin = f"{entry.file} of {entry.repository}{f' at {commit}' if commit else ''}, sha256 {digest}"
        origin += f"; licence: {entry.licence_url}" if entry.licence_url else ""
        _convert(entry, original, staging, origin, options, progress)
        move_bundle(staging, folder)
    finally:
        remove(staging)
    came_from = {"repository": entry.repository, "revision": commit, "file": entry.file, "sha256": digest}
    records.remember(entry.name, folder, came_from)
    said = os.environ.get("LABELS4FREE_KEEP_ORIGINALS", "0").strip().lower() not in ("", "0", "no", "false")
    if not (was_here or said or options.keep_original):
        forget(source, original)
    elif commit:
        set_reference(source, commit)


def _refuse_to_lose(folder: Path, entry: ObjectClass) -> None:
    """Raises `UserError` before anything is fetched where the class could not be put in place afterwards."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        occupied = folder.is_dir() and any(folder.iterdir())
    if occupied and not is_bundle_of_ours(folder):
        raise UserError(f"{folder} holds other files and was left alone; move them away and try again.")
    if occupied and not entry.brings_masks and "alpha.safetensors" in read_config(folder).files:
        raise UserError(
            f"{entry.name} has masks that came after the download and would be lost; remove the class "
            f"first if that is meant, with: l4f remove {entry.name}."
        )


def _local_original(entry: ObjectClass, source: Source, expected: WeightFile | None) -> Path | None:
    """The published checkpoint, where it is on this computer: brought by hand, or kept in the cache."""
    by_hand = by_hand_path(entry)
    if by_hand.is_file():
        if expected and not is_right(by_hand, expected):
            raise UserError(
                f"{by_hand} is not {short(entry.file)} as it was published (size or sha256 differs); copy it "
                "again, or remove it to have it downloaded."
            )
        return by_hand
    kept = cached(source, entry.file)
    return kept if kept and expected and is_right(kept, expected) else None


def _convert(
    entry: ObjectClass, original: Path, staging: Path, origin: str, options: Options, progress: Progress
) -> None:
    """Makes the bundle `staging` of the checkpoint `original`; `origin` says where that is from."""
    from ..convert.child_process import convert_in_child

    cancel = options.cancel

    def report(_message: str) -> None:
        cancel.check()
        progress(0, 0, f"Converting {short(entry.file)}")

    fields = ("name", "title", "licence", "truncation_psi", "alpha_threshold", "crop")
    described = {field: getattr(entry, field) for field in fields} | {
        "source": "; ".join(filter(None, (entry.source, origin)))
    }
    convert_in_child(original, staging, report=report, cancel=cancel, described=described)
    made = read_config(staging)
    if made.resolution != entry.resolution:
        raise UserError(
            f"{short(entry.file)} holds a generator of {made.resolution} px where the catalogue says "
            f"{entry.resolution}; correct the catalogue or choose another file."
        )
    cancel.check()
