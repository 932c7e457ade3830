"""Pictures as files: whatever PIL finds in the wild becomes RGB, results become PNG files with infotext."""

import io
import json
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from .bundles.files import write_atomically
from .errors import UserError

MAX_PIXELS = 64_000_000
LARGE_PIXELS = 4_000_000  # from here on writing a PNG small takes longer than anything else
# What cameras, scanners, browsers and editors write. Left out on purpose: EPS and PDF, for which PIL starts
# Ghostscript, formats that are no pictures but containers of numbers, and those of programs long gone. HEIF is read
# where the package pillow-heif is installed.
FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF", "JPEG2000",
    "PPM", "ICO", "TGA", "DIB", "PCX", "SGI", "DDS", "ICNS", "QOI",
)  # fmt: skip
MOVING = ("GIF", "WEBP", "PNG", "AVIF")
MOST_FRAMES = 1000
SHORTEST, USUAL = 20, 100  # milliseconds: browsers show what claims less than the one for as long as the other
INFOTEXT_KEY = "parameters"  # the key under which the web UIs keep and look for it
DESCRIPTION = 0x010E  # the tag of EXIF data that holds it in files that have no such keys
LARGEST_JPEG = 65_500  # pixels of a side that libjpeg takes
JPEG_QUALITY = 92
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_opening = threading.Lock()

Source = str | Path | bytes | IO[bytes] | Image.Image


def load_picture(source: Source) -> np.ndarray:
    """A picture as uint8 RGB `[H, W, 3]`.

    The first frame of an animation, turned as its EXIF orientation says, in sRGB where it carries a colour
    profile; transparent parts become white. The size is read from the header: pictures over 64 megapixels are refused
    before they are decoded.

    Grey of more than 8 bits (PIL's modes I, I;16 and F) is scaled by the range of its data, since no file tells which
    value is white: 255 for whole numbers up to 255, 4095 for what 12-bit cameras write, 65535 for 16 bits; 1, 255 or
    65535 for floats, and 0 for what is not a number. What fits none of these, or is negative, is stretched from its
    least to its largest value. PNG and PGM say themselves that 65535 is white, so only an almost black one is taken for
    8 bits.

    Raises UserError for whatever is missing, damaged, too large or not a picture.
    """
    return _read(source, on_white=True)[0]


def load_layers(source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """As `load_picture`, but straight colours and, if it has one, transparency float32 `[H, W]` in [0, 1] apart."""
    return _read(source, on_white=False)


def _read(source: Source, on_white: bool) -> tuple[np.ndarray, np.ndarray | None]:
    name = _name_of(source)
    with nullcontext(source) if isinstance(source, Image.Image) else open_picture(source) as picture:
        _check_size(picture, name)
        try:
            picture.seek(0)
            picture.load()
            colours, transparency = _apart(_to_eight_bits(_turned(picture), picture.format))
            if transparency is None:
                return np.array(colours), None
            if not on_white:
                return np.array(colours), np.asarray(transparency, np.float32) / 255
            colours.putalpha(transparency)
            behind = Image.new("RGBA", colours.size, "white")
            return np.array(Image.alpha_composite(behind, colours).convert("RGB")), None
        except MemoryError as error:
            raise UserError(f"{name} does not fit into memory; make it smaller and try again.") from error
        except Exception as error:  # decoders fail in many ways on damaged data
            raise UserError(_damaged(name)) from error


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
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (width, height), Image.Resampling.LANCZOS))


# Frames and pages


@dataclass(frozen=True)
class Timing:
    """How long each frame is shown, in milliseconds, and how often all of them are; 0 is without end."""

    durations: tuple[int, ...]
    loop: int = 0


def has_more_frames(source: Source) -> bool:
    """Whether the file has more than one frame or page: GIF, WebP, APNG, AVIF or TIFF.

    What a camera puts beside its picture (MPO) and the sizes of an icon are no frames. Errors as in `load_picture`.
    """
    if isinstance(source, Image.Image):
        return False
    with open_picture(source) as picture:
        return _seek(picture, 1)


def first_frame_only(source: Source, name: str) -> str | None:
    """The sentence that only the first of several frames is used, None for a file with one. Errors as above."""
    return f"{name} has several frames or pages, of which only the first is used." if has_more_frames(source) else None


def timing_of(source: Source) -> Timing | None:
    """The timing of an animation.

    None for any other picture and where its frames are too many to be held in memory: more than 1000, or more than 64
    megapixels in all. Errors as above.
    """
    if isinstance(source, Image.Image):
        return None
    with open_picture(source) as picture:
        if picture.format not in MOVING or not _seek(picture, 1):
            return None
        # Looked at one by one, as some formats tell their number only after all of them.
        most = min(MOST_FRAMES, MAX_PIXELS // (picture.width * picture.height))
        durations: list[int] = []
        try:
            while _seek(picture, _first_of(picture) + len(durations)):
                if len(durations) == most:
                    return None
                picture.load()  # WebP tells the time of a frame once it is decoded
                shown = round(float(picture.info.get("duration") or 0))
                durations.append(shown if shown >= SHORTEST else USUAL)
        except Exception:  # damaged: the first frame is sound, or its reader will say what is wrong
            return None
        return Timing(tuple(durations), int(picture.info.get("loop", 1)))


def frames(source: Source, count: int) -> Iterator[Image.Image]:
    """The first `count` frames as they are shown, each as a picture of its own. Errors as above."""
    with open_picture(source) as picture:
        first = _first_of(picture)
        for number in range(first, first + count):
            picture.seek(number)
            yield picture.copy()


def _first_of(picture: Image.Image) -> int:
    """The number of the first frame: an APNG may begin with a picture for programs that show no animations."""
    return int(getattr(picture, "default_image", False))


def _seek(picture: Image.Image, number: int) -> bool:
    """Goes to that frame; False where there is none, or it cannot be found."""
    if picture.format not in (*MOVING, "TIFF"):
        return number == 0
    with suppress(Exception):  # EOFError at the end, others for damage
        picture.seek(number)
        return True
    return False


# Writing, and the text within


def write_png(path: str | Path, picture: np.ndarray | Image.Image, infotext: str | None = None) -> None:
    """Writes a PNG in one step: whatever happens, `path` holds its old bytes or the whole new picture.

    `picture` is uint8 `[H, W]` (grey), `[H, W, 3]` (RGB), `[H, W, 4]` (RGBA, straight alpha, colours of
    transparent pixels kept) or a PIL image. `infotext` is kept under the key "parameters", where the web
    UIs look for it. Folders are made as needed; a file of that name is replaced, a link by a file.

    Raises UserError where the system refuses: a full disk, a path below a file, a folder of that name.
    """
    encoded = png_bytes(picture, infotext)
    write_atomically(Path(path), lambda target: target.write_bytes(encoded))


def write_jpeg(path: str | Path, picture: Image.Image, infotext: str) -> None:
    """Writes an RGB picture as `write_png` does, but as a JPEG."""
    encoded = jpeg_bytes(picture, infotext)
    write_atomically(Path(path), lambda target: target.write_bytes(encoded))


def jpeg_bytes(picture: Image.Image, infotext: str) -> bytes:
    """The content of the file that `write_jpeg` writes: an RGB or grey picture; `infotext` is its EXIF description.

    Raises `UserError` for a picture that is too wide or too high for the format.
    """
    if max(picture.size) > LARGEST_JPEG:
        raise UserError(f"A JPEG has at most {LARGEST_JPEG:,} pixels a side, not {max(picture.size):,}; write a PNG.")
    exif, encoded = Image.Exif(), io.BytesIO()
    exif[DESCRIPTION] = infotext
    picture.save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0, exif=exif)
    return encoded.getvalue()


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


def sheet_of(tiles: Sequence[Image.Image], columns: int, gap: int = 0) -> Image.Image:
    """Pictures of one size in rows on white, `gap` pixels apart."""
    width, height = (side + gap for side in tiles[0].size)
    sheet = Image.new("RGB", (columns * width - gap, -(-len(tiles) // columns) * height - gap), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * width, number // columns * height))
    return sheet


def infotext(title: str, fields: Mapping[str, object]) -> str:
    """A line of title and a line of "Name: value" pairs, as the web UIs write and parse them."""

    def quoted(value: str) -> str:
        return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value

    return title + "\n" + ", ".join(f"{name}: {quoted(str(value))}" for name, value in fields.items())


def parse_infotext(text: str) -> dict[str, str]:
    """The "Name: value" pairs of the last line; empty where there are none."""
    fields = {}
    last = text.strip().split("\n")[-1]
    for name, value in re.findall(r'\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)', last):
        fields[name] = value.strip()
        if value.startswith('"'):
            with suppress(ValueError):
                fields[name] = str(json.loads(fields[name]))
    return fields


def read_infotext(source: Source) -> str | None:
    """The infotext of a PNG, None where it has none. Errors as in `load_picture`."""
    with nullcontext(source) if isinstance(source, Image.Image) else open_picture(source) as picture:
        text = picture.info.get(INFOTEXT_KEY)
    return text if isinstance(text, str) else None


# Opening and decoding


def picture_size(source: str | Path | bytes | IO[bytes]) -> tuple[int, int]:
    """Width and height in pixels, as the header says. Errors as in `load_picture`."""
    with open_picture(source) as picture:
        return picture.size


def open_picture(source: str | Path | bytes | IO[bytes]) -> Image.Image:
    """The picture with its header read and its pixels not, to be closed. Errors as in `load_picture`."""
    name = _name_of(source)
    # Checked first: opening a pipe or a device would wait for ever.
    if isinstance(source, str | Path) and not os.path.isfile(source):
        raise UserError(f"{name} is not a file; check the path of the picture.")
    know_formats()
    try:
        # PIL warns about large pictures; we refuse them ourselves. The lock: warning filters are global.
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            stream = io.BytesIO(source) if isinstance(source, bytes) else source
            picture = Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise UserError(_no_picture(source, name)) from None
    except Image.DecompressionBombError:
        raise UserError(_too_large(name, "too many")) from None
    except Exception as error:  # decoders fail in many ways on damaged headers
        if reason := getattr(error, "strerror", None):  # the system, not the picture
            raise UserError(f"{name} could not be read ({reason}); check the file.") from error
        raise UserError(_damaged(name)) from error
    try:
        _check_size(picture, name)
    except UserError:
        picture.close()
        raise
    return picture


@lru_cache(maxsize=1)
def know_formats() -> None:
    """Loads what PIL reads pictures with, and pillow-heif where it is installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def bytes_of(source: str | Path | bytes | IO[bytes], most: int = -1) -> bytes:
    """The first `most` bytes of a source that is no picture yet, or all of them. Raises `OSError`."""
    if isinstance(source, bytes):
        return source if most < 0 else source[:most]
    with open(source, "rb") if isinstance(source, str | Path) else nullcontext(source) as file:
        file.seek(0)
        return file.read(most)


def _name_of(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else "The picture"


def _turned(picture: Image.Image) -> Image.Image:
    with suppress(Exception):  # damaged EXIF: the picture itself is sound
        return ImageOps.exif_transpose(picture)
    return picture


def _to_eight_bits(picture: Image.Image, file_format: str | None) -> Image.Image:
    """Grey of 16 or 32 bits or floats to 8 bits, whose range PIL's own conversion would cut off at 255."""
    if not picture.mode.startswith("I") and picture.mode != "F":
        return picture
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32), posinf=0, neginf=0)
    values, white = with_white(values, picture.mode, file_format)
    return Image.fromarray(np.rint(values * (255.0 / white)).astype(np.uint8))


def _apart(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Straight colours as RGB, and the transparency as 8-bit grey."""
    if picture.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in picture.info:
        return _to_srgb(picture), None
    picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    return _to_srgb(picture.convert("RGB")), picture.getchannel("A")


def _to_srgb(picture: Image.Image) -> Image.Image:
    """RGB; through the colour profile where the picture has a usable one that is not sRGB."""
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        with suppress(Exception):  # a damaged profile, or one for another kind of picture
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                target = ImageCms.createProfile("sRGB")
                return ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
    return picture.convert("RGB")


def _check_size(picture: Image.Image, name: str) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise UserError(_too_large(name, f"{picture.width} x {picture.height}"))


def _too_large(name: str, how_many: str) -> str:
    most = MAX_PIXELS // 1_000_000
    return f"{name} has {how_many} pixels; at most {most} megapixels are read, so scale it down first."


def _damaged(name: str) -> str:
    return f"{name} is damaged or cut short and could not be read; save or fetch it again."


def _no_picture(source: str | Path | bytes | IO[bytes], name: str) -> str:
    start = b""
    with suppress(OSError, ValueError):
        start = bytes_of(source, 1024)
    if not start:
        return f"{name} is empty; choose or save it again."
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC:
        return f"{name} is a HEIC picture; install the package pillow-heif to read it, or save it as JPEG."
    if b"<svg" in start.lower():
        return f"{name} is an SVG drawing; export it as PNG first."
    return f"{name} is not a picture of a known format; save it as PNG, JPEG or WebP."
