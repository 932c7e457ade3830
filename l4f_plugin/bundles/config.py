"""An object class, and `config.json` of its bundle: read with types and bounds, written with the same names.

Imports no torch, so that a list of classes is quick.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..architecture import OBJECT_SWITCHES, DiscriminatorConfig, GeneratorConfig, StudentConfig
from ..errors import UserError
from . import fields
from .fields import CLASS_NAME, REPOSITORY_ID, SHA256, Invalid
from .files import CONFIG_NAME, MAXIMUM_CONFIG_BYTES, read_json, replace_bundle, unreadable
from .likeness import Likeness

SCHEMA_VERSION = 1
MOST_EXAMPLES = 6
MOST_READY = 8
ALPHA_ORIGINS = ("learned", "imported")
WEIGHT_FILE = re.compile(r"[a-z][a-z0-9_]{0,63}\.safetensors")
_STORED = (
    "title licence source generator discriminator latent_avg truncation_psi alpha_threshold crop "
    "alpha_hidden_channels alpha_origin masks_follow_colours masks_follow_student student likeness files"
)
_LISTED = (
    "name title resolution licence location installed problem masks photos terms download_bytes bytes_on_disk "
    "memory_bytes revision verified shipped"
)


@dataclass(frozen=True)
class WeightFile:
    """What a weight file must be: its size in bytes and its SHA-256 as hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class ObjectClass:
    """An object class, on disk or on offer: everything about it that is not a weight."""

    name: str  # a short plain name, or the id of a repository that was fetched
    title: str = ""  # what people call it
    licence: str = ""  # under which the weights stand
    source: str = ""  # where the weights come from, in words
    generator: GeneratorConfig | None = None  # None where a bundle is too damaged to tell
    discriminator: DiscriminatorConfig | None = None
    student: StudentConfig | None = None
    latent_avg: tuple[float, ...] = ()  # the mean of w, `style_dim` numbers
    truncation_psi: float = 0.7  # the class's own default
    alpha_threshold: float = 0.5  # the class's own default
    crop: tuple[int, int, int, int] | None = None  # top, bottom, left, right of what is kept of a picture
    alpha_hidden_channels: int = 3
    alpha_origin: str | None = None  # "learned" here, "imported", which is not passed on, or not noted
    masks_follow_colours: bool = False  # colours of a drawn picture correct its mask, see `drawing.finished_masks`
    masks_follow_student: bool = False  # and so does the photo segmenter, which learned from these masks
    likeness: Likeness | None = None  # what tells photographs of something else
    files: Mapping[str, WeightFile] = field(default_factory=dict, hash=False)  # the bundle's weight files by name
    # on offer
    repository: str | None = None  # where the Hub has it
    fetched_revision: str | None = None  # the branch, tag or commit that is fetched
    file: str | None = None  # a published checkpoint in that repository, which is converted once
    download_bytes: int | None = None  # of that checkpoint
    sha256: str | None = None  # of that checkpoint
    brings_masks: bool = False  # with the download
    conditions: str | None = None  # what must be accepted before a download
    licence_url: str | None = None  # where to read that
    # on this computer
    folder: Path | None = None  # where its bundle is, or would be looked for
    installed: bool = False  # it needs no download
    problem: str | None = None  # a sentence where a bundle is there but cannot be used
    terms: str | None = None  # what a download asks to accept; None where there is nothing to accept (any more)
    bytes_on_disk: int = 0  # of all files in `folder`
    revision: str | None = None  # the commit that the files came from
    verified: bool = False  # every file had the right hash when last looked at, and has not been touched since
    shipped: bool = False  # its bundle is a part of Labels4Free

    @property
    def resolution(self) -> int:
        """The side of its pictures; 0 where that is not known."""
        return self.generator.resolution if self.generator else 0

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of its pictures, without bars beside them; 0 where that is not known."""
        top, bottom, left, right = crop_of(self)
        return right - left, bottom - top

    @property
    def memory_bytes(self) -> int:
        """About the memory that drawing one picture at a time takes."""
        return self.generator.memory_bytes if self.generator else 0

    @property
    def masks(self) -> bool:
        """Whether it draws with masks, at once or once it is fetched."""
        return "alpha.safetensors" in self.files if self.installed else self.brings_masks

    @property
    def masks_came_later(self) -> bool:
        """Whether it has masks that fetching it again would lose."""
        return self.installed and self.masks and not self.brings_masks

    @property
    def photos(self) -> bool:
        return "student.safetensors" in self.files

    @property
    def examples(self) -> list[Path]:
        """Photographs to try it with: JPEG files in the folder `examples` of the bundle, at most six of 100 kB each."""
        found = [] if self.folder is None else sorted((self.folder / "examples").glob("*.jpg"))
        return [file for file in found if file.is_file() and file.stat().st_size <= 100_000][:MOST_EXAMPLES]

    @property
    def ready(self) -> list[tuple[Path, int, float]]:
        """Pictures that it has drawn, with seeds and truncation psi: small WebP files in the folder `ready` of the
        bundle, whose transparency is the mask, such as `seed0007_psi0.70.webp`."""
        files = [] if self.folder is None else sorted((self.folder / "ready").glob("seed*_psi*.webp"))[:MOST_READY]
        named = [(file, re.fullmatch(r"seed(\d{1,10})_psi(\d\.\d\d)", file.stem)) for file in files]
        return [(file, int(name[1]), float(name[2])) for file, name in named if name and file.stat().st_size <= 100_000]

    @property
    def location(self) -> str:
        """Where the bundle is or comes from, in words."""
        return f"hub: {self.repository}" if self.folder is None else str(self.folder)

    @property
    def licence_in_words(self) -> str:
        """Name, conditions and where to read them, as a part of a sentence."""
        words = self.licence + (f": {self.conditions}" if self.conditions else "")
        return f"{words} ({self.licence_url})" if self.licence_url else words

    def listed(self) -> dict[str, Any]:
        """What programs read of the list of classes."""
        return {name: getattr(self, name) for name in _LISTED.split()}

    def to_json(self) -> str:
        """The text of `config.json`. Raises `UserError` where a field is not one that could be read back."""
        kept = asdict(self)
        stored = {"schema_version": SCHEMA_VERSION, "class_name": self.name}
        stored |= {key: kept[key] for key in _STORED.split()}
        try:
            text = json.dumps(stored, indent=1, sort_keys=True, allow_nan=False) + "\n"
            _parse(json.loads(text))
        except ValueError as error:
            raise UserError(f"The class cannot be saved: {error}; correct that and try again.") from error
        return text


def plain_class_name(text: str) -> str:
    """Any text as a class name: small letters, digits, - and _ are kept, the rest becomes -."""
    kept = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:64]
    return kept or "class"


def stand_in(repository: str) -> str:
    """The name under which a bundle in the models folder takes the place of a Hub repository; other names stay."""
    return plain_class_name(repository.replace("/", "--")) if REPOSITORY_ID.fullmatch(repository) else repository


def move_bundle(made: Path, folder: Path) -> None:
    """Puts the finished bundle `made`, on the same disk, in place of the one in `folder`, see `replace_bundle`."""

    def move(target: Path) -> None:
        for item in made.iterdir():
            os.rename(item, target / item.name)

    replace_bundle(folder, move)


def crop_of(config: ObjectClass) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is kept of the generator's pictures."""
    return config.crop or (0, config.resolution, 0, config.resolution)


def read_config(folder: Path) -> ObjectClass:
    """Reads `config.json` of a bundle. Raises `UserError` saying which field is wrong."""
    path = Path(folder) / CONFIG_NAME
    try:
        data = read_json(path, MAXIMUM_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} holds no {CONFIG_NAME}; give the folder of an object class.") from None
    except OSError as error:
        raise unreadable(error, path) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged, it is not JSON; fetch the bundle again.") from error
    try:
        if not isinstance(data, dict):
            raise Invalid("it is not an object")
        if fields.is_integer(version := data.get("schema_version"), SCHEMA_VERSION + 1, 1 << 31):
            other = f"a newer version of Labels4Free (schema {version}, this one reads {SCHEMA_VERSION})"
            raise UserError(f"{path} was made by {other}; update Labels4Free.")
        fields.integer(data, "schema_version", SCHEMA_VERSION, SCHEMA_VERSION)
        return _parse(data)
    except ValueError as error:
        raise UserError(f"{path} is not valid: {error}; fetch the bundle again or mend the file.") from error


def _parse(data: dict[str, Any]) -> ObjectClass:
    """Checks the decoded JSON and builds the class. Entries that are not known are passed over."""
    described = fields.table(data, "generator")
    generator = GeneratorConfig(
        resolution=fields.resolution(described),
        channels=fields.channels(described),
        latent_dim=fields.integer(described, "latent_dim", 1, 8192),
        style_dim=fields.integer(described, "style_dim", 1, 8192),
        mapping_layers=fields.integer(described, "mapping_layers", 1, 64),
        object_switch=fields.choice(described, "object_switch", OBJECT_SWITCHES),
        conv_clamp=fields.optional(fields.number, described, "conv_clamp", 1e-6, 1e6),
    )
    discriminator = student = None
    if (described := fields.optional(fields.table, data, "discriminator")) is not None:
        discriminator = DiscriminatorConfig(
            resolution=fields.resolution(described),
            channels=fields.channels(described),
            conv_clamp=fields.optional(fields.number, described, "conv_clamp", 1e-6, 1e6),
        )
        if discriminator.resolution != generator.resolution:
            raise Invalid("generator and discriminator differ in resolution")
    if (described := fields.optional(fields.table, data, "student")) is not None:
        channels = fields.value(described, "channels")
        if not isinstance(channels, list) or not 2 <= len(channels) <= 8:
            raise Invalid("the 'channels' of the student must be 2 to 8 numbers")
        if not all(fields.is_integer(count, 1, 512) for count in channels):
            raise Invalid("the 'channels' of the student must be whole numbers from 1 to 512")
        student = StudentConfig(tuple(channels), fields.integer(described, "resolution", 32, 1024))
    files = {}
    for name, entry in fields.table(data, "files").items():
        if not WEIGHT_FILE.fullmatch(name):
            raise Invalid("'files' may name plain .safetensors files only")
        if not isinstance(entry, dict):
            raise Invalid(f"'files' must say size and sha256 of {name}")
        size, digest = fields.integer(entry, "bytes", 1, 1 << 40), fields.text(entry, "sha256", 64, SHA256)
        files[name] = WeightFile(size, digest)
    _check_sizes(files, generator, discriminator)
    latent_avg = fields.value(data, "latent_avg")
    if not isinstance(latent_avg, list) or len(latent_avg) != generator.style_dim:
        raise Invalid(f"'latent_avg' must hold {generator.style_dim} numbers")
    if not all(type(item) in (int, float) and -1e30 <= item <= 1e30 for item in latent_avg):
        raise Invalid("'latent_avg' must hold finite numbers")
    return ObjectClass(
        name=fields.text(data, "class_name", 64, CLASS_NAME),
        title=fields.text(data, "title", 200),
        licence=fields.text(data, "licence", 200),
        source=fields.text(data, "source"),
        generator=generator,
        discriminator=discriminator,
        student=student,
        latent_avg=tuple(map(float, latent_avg)),
        truncation_psi=fields.number(data, "truncation_psi", -2.0, 2.0),
        alpha_threshold=fields.number(data, "alpha_threshold", 0.0, 1.0),
        crop=fields.optional(fields.crop, data, "crop", generator.resolution),
        alpha_hidden_channels=fields.integer(data, "alpha_hidden_channels", 1, 64),
        alpha_origin=fields.optional(fields.choice, data, "alpha_origin", ALPHA_ORIGINS),
        masks_follow_colours=fields.optional(fields.flag, data, "masks_follow_colours") or False,
        masks_follow_student=fields.optional(fields.flag, data, "masks_follow_student") or False,
        likeness=fields.optional(Likeness.parse, data, "likeness"),
        files=files,
    )


def _check_sizes(
    files: Mapping[str, WeightFile], generator: GeneratorConfig, discriminator: DiscriminatorConfig | None
) -> None:
    """Refuses tables that ask for more memory than the weight files could fill, before any is taken."""
    mapping = generator.style_dim * (generator.latent_dim + (generator.mapping_layers - 1) * generator.style_dim)
    for name, network, weights in (("generator", generator, mapping), ("discriminator", discriminator, 0)):
        counts = [network.channels[size] for size in network.resolutions] if network else []
        # Both networks have two 3x3 convolutions a resolution: fine to fine, and between coarse and fine.
        weights += sum(9 * fine * (coarse + fine) for coarse, fine in pairwise(counts))
        file = files.get(f"{name}.safetensors")
        if file is not None and file.bytes < 2 * weights:
            raise Invalid(f"'{name}' describes more weights than {name}.safetensors holds")
