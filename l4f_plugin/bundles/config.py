"""`config.json` of a bundle: what it may say, read with types and bounds, written with the same names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UserError
from .files import open_plain, unreadable
from .likeness import Likeness

if TYPE_CHECKING:  # a list of classes is read without torch
    from ..networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig, StudentConfig

SCHEMA_VERSION = 1
CONFIG_NAME = "config.json"
MAXIMUM_CONFIG_BYTES = 1 << 22
RESOLUTIONS = (32, 64, 128, 256, 512, 1024)
CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
ALPHA_ORIGINS = ("learned", "imported")
NETWORKS = ("generator", "alpha", "background", "discriminator", "student")
NETWORK_FILES = tuple(f"{name}.safetensors" for name in NETWORKS)
WEIGHT_FILE = re.compile(r"[a-z][a-z0-9_]{0,63}\.safetensors")
_Parsed = TypeVar("_Parsed")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightFile:
    """What a weight file must be: its size in bytes and its SHA-256 as hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class BundleConfig:
    """Everything about an object class that is not a weight.

    `class_name` is a short plain name, `licence` and `source` say in words under which terms the weights
    stand and where they come from. `truncation_psi` and `alpha_threshold` (in [0, 1]) are the class's own
    defaults. `crop` (top, bottom, left, right) keeps rows top..bottom and columns left..right of a picture:
    cars are drawn letter-boxed and keep rows 64..448. `latent_avg [style_dim]` is the mean of w. `alpha_origin` tells
    whether the alpha network was "learned" by this program or "imported" from a published checkpoint, None where
    nobody noted it: an imported one is not passed on. `student` describes the segmenter of photographs, None where the
    class has none, and `likeness` what tells photographs of something else.
    """

    class_name: str
    title: str
    licence: str
    source: str
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig | None = None
    latent_avg: tuple[float, ...] = ()
    truncation_psi: float = 0.7
    alpha_threshold: float = 0.5
    crop: tuple[int, int, int, int] | None = None
    alpha_hidden_channels: int = 3
    alpha_origin: str | None = None
    student: StudentConfig | None = None
    likeness: Likeness | None = None
    files: Mapping[str, WeightFile] = field(default_factory=dict, hash=False)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def for_networks(
        cls, generator: Generator, discriminator: Discriminator | None = None, *, class_name: str, **described: Any
    ) -> BundleConfig:
        """The config of networks in memory; `class_name` may be any text, `described` are further fields."""
        return cls(
            class_name=plain_class_name(class_name),
            generator=generator.config,
            discriminator=discriminator.config if discriminator else None,
            latent_avg=tuple(generator.latent_avg.detach().float().tolist()),
            **described,
        )

    def to_json(self) -> str:
        """The text of `config.json`. Raises `UserError` where a field is not one that could be read back."""
        try:
            text = json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"
            _parse(json.loads(text))
        except (_Invalid, ValueError) as error:
            raise UserError(f"The class cannot be saved: {error}; correct that and try again.") from error
        return text


@dataclass(frozen=True)
class BundleSummary:
    """What a list of classes shows of a bundle, and what its files should be."""

    class_name: str
    title: str
    licence: str
    resolution: int
    channels: Mapping[int, int]
    files: Mapping[str, WeightFile]


def plain_class_name(text: str) -> str:
    """Any text as a class name: small letters, digits, - and _ are kept, the rest becomes -."""
    kept = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:64]
    return kept or "class"


class _Invalid(Exception):
    """A field that is not as it should be, in words."""


def read_config(folder: Path) -> BundleConfig:
    """Reads `config.json` of a bundle. Raises `UserError` saying which field is wrong."""
    return _read(folder, _parse)


def read_summary(folder: Path) -> BundleSummary:
    """Reads of `config.json` what a list of classes shows, without torch. Errors as in `read_config`."""
    return _read(folder, _summary)


def is_written_by_us(folder: Path) -> bool:
    """Whether `config.json` in `folder` is a bundle's, even a damaged one: other programs have files of that name."""
    try:
        with open(Path(folder) / CONFIG_NAME, "rb") as file:
            return b'"alpha_hidden_channels"' in file.read(MAXIMUM_CONFIG_BYTES)
    except OSError:
        return False


def _read(folder: Path, parse: Callable[[Any], _Parsed]) -> _Parsed:
    path = Path(folder) / CONFIG_NAME
    try:
        with open_plain(path) as file:
            content = file.read(MAXIMUM_CONFIG_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} holds no {CONFIG_NAME}; give the folder of an object class.") from None
    except OSError as error:
        raise unreadable(error, path) from error
    try:
        if len(content) > MAXIMUM_CONFIG_BYTES:
            raise _Invalid("it is too large")
        data = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, _Invalid) as error:
        raise UserError(f"{path} is damaged, it is not JSON; fetch the bundle again.") from error
    if isinstance(data, dict) and _is_integer(data.get("schema_version"), SCHEMA_VERSION + 1, 1 << 31):
        raise UserError(
            f"{path} was made by a newer version of Labels4Free (schema "
            f"{data['schema_version']}, this one reads {SCHEMA_VERSION}); update Labels4Free."
        )
    try:
        if not isinstance(data, dict):
            raise _Invalid("it is not an object")
        _integer(data, "schema_version", SCHEMA_VERSION, SCHEMA_VERSION)
        return parse(data)
    except (_Invalid, ValueError) as error:
        raise UserError(f"{path} is not valid: {error}; fetch the bundle again or mend the file.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _summary(data: dict[str, Any]) -> BundleSummary:
    generator = _object(data, "generator")
    return BundleSummary(
        _text(data, "class_name", 64, CLASS_NAME),
        _text(data, "title", 200),
        _text(data, "licence", 200),
        _resolution(generator),
        _channels(generator),
        _files(_object(data, "files")),
    )


def _parse(data: dict[str, Any]) -> BundleConfig:
    """Checks the decoded JSON and builds the config. Entries that are not known are passed over."""
    from ..networks import DiscriminatorConfig

    generator = _generator(_object(data, "generator"))
    resolution = generator.resolution
    discriminator = None
    if data.get("discriminator") is not None:
        described = _object(data, "discriminator")
        discriminator = DiscriminatorConfig(
            resolution=_resolution(described),
            channels=_channels(described),
            conv_clamp=_optional_number(described, "conv_clamp", 1e-6, 1e6),
        )
        if discriminator.resolution != resolution:
            raise _Invalid("generator and discriminator differ in resolution")
    files = _files(_object(data, "files"))
    _check_sizes(files, generator, discriminator)
    student = None if data.get("student") is None else _student(_object(data, "student"))
    return BundleConfig(
        class_name=_text(data, "class_name", 64, CLASS_NAME),
        title=_text(data, "title", 200),
        licence=_text(data, "licence", 200),
        source=_text(data, "source", 2000),
        generator=generator,
        discriminator=discriminator,
        latent_avg=_latent_avg(data, generator.style_dim),
        truncation_psi=_number(data, "truncation_psi", -2.0, 2.0),
        alpha_threshold=_number(data, "alpha_threshold", 0.0, 1.0),
        crop=_crop(data.get("crop"), resolution),
        alpha_hidden_channels=_integer(data, "alpha_hidden_channels", 1, 64),
        alpha_origin=_alpha_origin(data.get("alpha_origin")),
        student=student,
        likeness=Likeness.parse(data.get("likeness")),
        files=files,
    )


def _generator(data: dict[str, Any]) -> GeneratorConfig:
    from ..networks.generator import OBJECT_SWITCHES, GeneratorConfig

    switch = _text(data, "object_switch", 40)
    if switch not in OBJECT_SWITCHES:
        raise _Invalid(f"'object_switch' must be one of {', '.join(OBJECT_SWITCHES)}")
    return GeneratorConfig(
        resolution=_resolution(data),
        channels=_channels(data),
        latent_dim=_integer(data, "latent_dim", 1, 8192),
        style_dim=_integer(data, "style_dim", 1, 8192),
        mapping_layers=_integer(data, "mapping_layers", 1, 64),
        object_switch=switch,
        conv_clamp=_optional_number(data, "conv_clamp", 1e-6, 1e6),
    )


def _student(data: dict[str, Any]) -> StudentConfig:
    from ..networks import StudentConfig

    channels = _value(data, "channels")
    if (
        not isinstance(channels, list)
        or not 2 <= len(channels) <= 8
        or not all(_is_integer(count, 1, 512) for count in channels)
    ):
        raise _Invalid("the 'channels' of the student must be 2 to 8 whole numbers from 1 to 512")
    return StudentConfig(tuple(channels), _integer(data, "resolution", 32, 1024))


def _value(data: dict[str, Any], name: str) -> Any:
    if name not in data:
        raise _Invalid(f"'{name}' is missing")
    return data[name]


def _object(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = _value(data, name)
    if not isinstance(value, dict):
        raise _Invalid(f"'{name}' must be an object")
    return value


def _text(data: dict[str, Any], name: str, length: int, pattern: re.Pattern[str] | None = None) -> str:
    value = _value(data, name)
    if not isinstance(value, str) or not value or len(value) > length or not value.isprintable():
        raise _Invalid(f"'{name}' must be a line of 1 to {length} characters")
    if pattern and not pattern.fullmatch(value):
        raise _Invalid(f"'{name}' may hold small letters, digits, - and _ only")
    return value


def _is_integer(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _integer(data: dict[str, Any], name: str, least: int, most: int) -> int:
    value = _value(data, name)
    if not _is_integer(value, least, most):
        raise _Invalid(f"'{name}' must be a whole number from {least} to {most}")
    return value


def _is_number(value: Any, least: float, most: float) -> bool:
    return type(value) in (int, float) and least <= value <= most


def _number(data: dict[str, Any], name: str, least: float, most: float) -> float:
    value = _value(data, name)
    if not _is_number(value, least, most):
        raise _Invalid(f"'{name}' must be a number from {least:g} to {most:g}")
    return float(value)


def _optional_number(data: dict[str, Any], name: str, least: float, most: float) -> float | None:
    return None if data.get(name) is None else _number(data, name, least, most)


def _resolution(data: dict[str, Any]) -> int:
    value = _value(data, "resolution")
    if type(value) is not int or value not in RESOLUTIONS:
        raise _Invalid("'resolution' must be a power of two from 32 to 1024")
    return value


def _channels(data: dict[str, Any]) -> dict[int, int]:
    table, resolution = _object(data, "channels"), _resolution(data)
    expected = [4 << step for step in range(int(math.log2(resolution)) - 1)]
    if sorted(table) != sorted(map(str, expected)):
        raise _Invalid(f"'channels' must name the resolutions 4 to {resolution}")
    if not all(_is_integer(count, 1, 4096) for count in table.values()):
        raise _Invalid("'channels' must hold whole numbers from 1 to 4096")
    return {size: table[str(size)] for size in expected}


def _latent_avg(data: dict[str, Any], style_dim: int) -> tuple[float, ...]:
    value = _value(data, "latent_avg")
    if not isinstance(value, list) or len(value) != style_dim:
        raise _Invalid(f"'latent_avg' must hold {style_dim} numbers")
    if not all(_is_number(item, -1e30, 1e30) for item in value):
        raise _Invalid("'latent_avg' must hold finite numbers")
    return tuple(map(float, value))


def _crop(value: Any, resolution: int) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(_is_integer(item, 0, resolution) for item in value) or len(value) != 4:
        raise _Invalid(f"'crop' must be four whole numbers from 0 to {resolution}")
    top, bottom, left, right = value
    if top >= bottom or left >= right:
        raise _Invalid("'crop' leaves nothing of a picture")
    return top, bottom, left, right


def _alpha_origin(value: Any) -> str | None:
    if value is not None and value not in ALPHA_ORIGINS:
        raise _Invalid(f"'alpha_origin' must be one of {', '.join(ALPHA_ORIGINS)}, or null")
    return value


def _check_sizes(
    files: Mapping[str, WeightFile], generator: GeneratorConfig, discriminator: DiscriminatorConfig | None
) -> None:
    """Refuses tables that ask for more memory than the weight files could fill, before any is taken."""
    mapping = generator.style_dim * (generator.latent_dim + (generator.mapping_layers - 1) * generator.style_dim)
    for name, table, weights in (
        ("generator", generator.channels, mapping),
        ("discriminator", discriminator.channels if discriminator else {}, 0),
    ):
        counts = [table[size] for size in sorted(table)]
        # Both networks have two 3x3 convolutions a resolution: fine to fine, and between coarse and fine.
        weights += sum(9 * fine * (coarse + fine) for coarse, fine in pairwise(counts))
        file = files.get(f"{name}.safetensors")
        if file is not None and file.bytes < 2 * weights:
            raise _Invalid(f"'{name}' describes more weights than {name}.safetensors holds")


def _files(data: dict[str, Any]) -> dict[str, WeightFile]:
    files = {}
    for name, entry in data.items():
        if not WEIGHT_FILE.fullmatch(name):
            raise _Invalid("'files' may name plain .safetensors files only")
        if not isinstance(entry, dict):
            raise _Invalid(f"'files' must say size and sha256 of {name}")
        size, digest = _integer(entry, "bytes", 1, 1 << 40), _text(entry, "sha256", 64)
        if not _SHA256.fullmatch(digest):
            raise _Invalid(f"the sha256 of {name} must be 64 hexadecimal digits")
        files[name] = WeightFile(size, digest)
    return files
