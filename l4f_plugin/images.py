"""Pictures as files: whatever PIL finds in the wild becomes RGB, results become PNG files with infotext."""

from __future__ import annotations

import io
import json
import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from .errors import UserError

MAX_PIXELS = 64_000_000
LARGE_PIXELS = 4_000_000  # from here on writing a PNG small takes longer than anything else
# What cameras, scanners, browsers and editors write. Left out on purpose: EPS and PDF, for which PIL starts
# Ghostscript, formats that are no pictures but containers of numbers, and those of programs long gone. HEIF is read
# where the package pillow-heif is installed.
FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "WEBP",
    "AVIF",
    "HEIF",
    "GIF",
    "BMP",
    "TIFF",
    "JPEG2000",
    "PPM",
    "ICO",
    "TGA",
    "DIB",
    "PCX",
    "SGI",
    "DDS",
    "ICNS",
    "QOI",
)
INFOTEXT_KEY = "parameters"  # the key under which the web UIs keep and look for it
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_opening = threading.Lock()
_Finished = TypeVar("_Finished")

Source = str | Path | bytes | IO[bytes] | Image.Image


def load_picture(source: Source, *, matte: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """A picture as uint8 RGB `[H, W, 3]`.

    The first frame of an animation, turned as its EXIF orientation says, in sRGB where it carries a colour
    profile; transparent parts show `matte`. The size is read from the header: pictures over 64 megapixels are refused
    before they are decoded.

    Grey of more than 8 bits (PIL's modes I, I;16 and F) is scaled by the range of its data, since no file tells which
    value is white: 255 for whole numbers up to 255, 4095 for what 12-bit cameras write, 65535 for 16 bits; 1, 255 or
    65535 for floats, and 0 for what is not a number. What fits none of these, or is negative, is stretched from its
    least to its largest value. PNG and PGM say themselves that 65535 is white, so only an almost black one is taken for
    8 bits.

    Raises UserError for whatever is missing, damaged, too large or not a picture.
    """
    name = _name_of(source)
    if isinstance(source, Image.Image):
        return _decode(source, name, matte)
    with open_picture(source) as picture:
        return _decode(picture, name, matte)


def load_layers(source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """As `load_picture`, but colours uint8 RGB `[H, W, 3]` and transparency float32 `[H, W]` in [0, 1] apart.

    Colours are straight, not multiplied by the transparency, which is None where the picture has none.
    """
    name = _name_of(source)
    if isinstance(source, Image.Image):
        return _decoded(source, name, _layers)
    with open_picture(source) as picture:
        return _decoded(picture, name, _layers)


def with_white(values: np.ndarray, mode: str, file_format: str | None) -> tuple[np.ndarray, float]:
    """The float32 values of a picture of PIL's mode I, I;16 or F, from 0 on, and which is white, see `load_picture`."""
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 4095.0, 65535.0)
    if mode != "F" and file_format in ("PNG", "PPM"):
        usual = (255.0, 65535.0)
    white = next((limit for limit in usual if values.max() <= limit), None)
    if white is None or values.min() < 0:
        values = values - values.min()
        white = float(values.max()) or 1.0
    return values, white


def cover_fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 `[H, W, 3]` scaled until it covers `[height, width]`, centred, what stands out cut off."""
    image = Image.fromarray(picture)
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (
        max(left, 0.0),
        max(top, 0.0),
        min(left + width * scale, image.width),
        min(top + height * scale, image.height),
    )
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, box=box))


def write_png(path: str | Path, picture: np.ndarray | Image.Image, infotext: str | None = None) -> None:
    """Writes a PNG in one step: whatever happens, `path` holds its old bytes or the whole new picture.

    `picture` is uint8 `[H, W]` (grey), `[H, W, 3]` (RGB), `[H, W, 4]` (RGBA, straight alpha, colours of
    transparent pixels kept) or a PIL image. `infotext` is kept under the key "parameters", where the web
    UIs look for it. Folders are made as needed; a file of that name is replaced, a link by a file.

    Raises UserError where the system refuses: a full disk, a path below a file, a folder of that name.
    """
    from .bundles.files import write_atomically  # imports torch, which reading pictures does not need

    encoded = png_bytes(picture, infotext)
    write_atomically(Path(path), lambda target: _write_bytes(target, encoded))


def png_bytes(picture: np.ndarray | Image.Image, infotext: str | None = None) -> bytes:
    """The content of the file that `write_png` writes."""
    if isinstance(picture, np.ndarray) and picture.dtype != np.uint8:
        raise ValueError(f"a picture to write must be uint8, not {picture.dtype}")
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):  # what PNG can hold
        image = Image.fromarray(load_picture(image))
    information = PngImagePlugin.PngInfo()
    if infotext:
        information.add_text(INFOTEXT_KEY, infotext)
    encoded = io.BytesIO()
    quickly = 1 if image.width * image.height > LARGE_PIXELS else 6  # a third of the time, a tenth more bytes
    image.save(encoded, "PNG", pnginfo=information, compress_level=quickly)
    return encoded.getvalue()


def infotext(title: str, fields: Mapping[str, object]) -> str:
    """A line of title and a line of "Name: value" pairs, as the web UIs write and parse them."""
    return title + "\n" + ", ".join(f"{name}: {_quoted(str(value))}" for name, value in fields.items())


def parse_infotext(text: str) -> dict[str, str]:
    """The "Name: value" pairs of the last line; empty where there are none."""
    last = text.strip().split("\n")[-1]
    pairs = re.findall(r'\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)', last)
    return {name: _unquoted(value.strip()) for name, value in pairs}


def read_infotext(source: Source) -> str | None:
    """The infotext of a PNG, None where it has none. Errors as in `load_picture`."""
    if isinstance(source, Image.Image):
        text = source.info.get(INFOTEXT_KEY)
    else:
        with open_picture(source) as picture:
            text = picture.info.get(INFOTEXT_KEY)
    return text if isinstance(text, str) else None


def picture_size(source: str | Path | bytes | IO[bytes]) -> tuple[int, int]:
    """Width and height in pixels, as the header says. Errors as in `load_picture`."""
    with open_picture(source) as picture:
        return picture.size


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def _unquoted(value: str) -> str:
    if value[:1] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _write_bytes(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _name_of(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else "The picture"


def open_picture(source: str | Path | bytes | IO[bytes]) -> Image.Image:
    """The picture with its header read and its pixels not, to be closed. Errors as in `load_picture`."""
    name = _name_of(source)
    if isinstance(source, str | Path):
        # Checked first: opening a pipe or a device would wait for ever.
        if not os.path.isfile(source):
            raise UserError(f"{name} is not a file; check the path of the picture.")
        stream: IO[bytes] | str | Path = source
    else:
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
    know_formats()
    try:
        # PIL warns about large pictures; we refuse them ourselves. The lock: warning filters are global.
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise UserError(_no_picture(source, name)) from None
    except Image.DecompressionBombError:
        raise UserError(_too_large(name)) from None
    except Exception as error:  # decoders fail in many ways on damaged headers
        if reason := getattr(error, "strerror", None):  # the system, not the picture
            raise UserError(f"{name} could not be read ({reason}); check the file.") from error
        raise UserError(_damaged(name)) from error
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise UserError(_too_large(name, picture.width, picture.height))
    return picture


@lru_cache(maxsize=1)
def know_formats() -> None:
    """Loads what PIL reads pictures with, and pillow-heif where it is installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def _decode(picture: Image.Image, name: str, matte: tuple[int, int, int]) -> np.ndarray:
    return _decoded(picture, name, lambda upright: np.array(_flatten(upright, matte)))


def _decoded(picture: Image.Image, name: str, finish: Callable[[Image.Image], _Finished]) -> _Finished:
    """What `finish` makes of the picture, upright and of 8 bits; its failures put into words."""
    if picture.width * picture.height > MAX_PIXELS:
        raise UserError(_too_large(name, picture.width, picture.height))
    try:
        picture.seek(0)
        picture.load()
        return finish(_to_eight_bits(_turned(picture), picture.format))
    except MemoryError as error:
        raise UserError(f"{name} does not fit into memory; make it smaller and try again.") from error
    except Exception as error:  # decoders fail in many ways on damaged data
        raise UserError(_damaged(name)) from error


def _turned(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF: the picture itself is sound
        return picture


def _to_eight_bits(picture: Image.Image, file_format: str | None) -> Image.Image:
    """Grey of 16 or 32 bits or floats to 8 bits, whose range PIL's own conversion would cut off at 255."""
    if picture.mode not in (*_SIXTEEN_BIT, "I", "F"):
        return picture
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32), posinf=0, neginf=0)
    values, white = with_white(values, picture.mode, file_format)
    return Image.fromarray(np.rint(values * (255.0 / white)).astype(np.uint8))


def _flatten(picture: Image.Image, matte: tuple[int, int, int]) -> Image.Image:
    """RGB with transparent parts over `matte`."""
    colours, transparency = _apart(picture)
    if transparency is None:
        return colours
    colours.putalpha(transparency)
    return Image.alpha_composite(Image.new("RGBA", picture.size, (*matte, 255)), colours).convert("RGB")


def _layers(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    colours, transparency = _apart(picture)
    return np.array(colours), None if transparency is None else np.asarray(transparency, np.float32) / 255


def _apart(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Straight colours as RGB, and the transparency as 8-bit grey."""
    transparent = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    if not transparent:
        return _to_srgb(picture), None
    if picture.mode == "La":
        picture = picture.convert("LA")
    picture = picture.convert("RGBA")
    return _to_srgb(picture.convert("RGB")), picture.getchannel("A")


def _to_srgb(picture: Image.Image) -> Image.Image:
    """RGB; through the colour profile where the picture has a usable one that is not sRGB."""
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                target = ImageCms.createProfile("sRGB")
                return ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
        except Exception:  # a damaged profile, or one for another kind of picture
            return picture.convert("RGB")
    return picture.convert("RGB")


def _too_large(name: str, width: int = 0, height: int = 0) -> str:
    size = f"has {width} x {height} pixels" if width else "has too many pixels"
    return f"{name} {size}; at most {MAX_PIXELS // 1_000_000} megapixels are read, so scale it down first."


def _damaged(name: str) -> str:
    return f"{name} is damaged or cut short and could not be read; save or fetch it again."


def _no_picture(source: str | Path | bytes | IO[bytes], name: str) -> str:
    try:
        if isinstance(source, str | Path):
            with open(source, "rb") as file:
                start = file.read(1024)
        elif isinstance(source, bytes):
            start = source[:1024]
        else:
            source.seek(0)
            start = source.read(1024)
    except (OSError, ValueError):
        start = b""
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC:
        return f"{name} is a HEIC picture; install the package pillow-heif to read it, or save it as JPEG."
    if b"<svg" in start.lower():
        return f"{name} is an SVG drawing; export it as PNG first."
    return f"{name} is not a picture of a known format; save it as PNG, JPEG or WebP."
