"""Transparent pictures that move, as files: animated WebP, APNG, and WebM where ffmpeg is there."""

import errno
import functools
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from PIL import Image, PngImagePlugin

from .arguments import check_integer
from .bundles.files import storage_error, write_atomically
from .errors import UserError
from .images import DESCRIPTION, INFOTEXT_KEY, Timing

FORMATS = ("webp", "apng", "webm")
_ENDINGS = {".webp": "webp", ".png": "apng", ".apng": "apng", ".webm": "webm"}
FASTEST = 60
MOST_FRAMES = 3600
MOST_PIXELS_IN_MEMORY = 250_000_000  # of all frames: a gigabyte. WebM is written frame by frame
_SIGNAL_FILE_TOO_LARGE = -25

Frames = Iterable[Image.Image]


def format_of(path: Path, wanted: str | None = None) -> str:
    """The format for a file of that name. Raises `UserError` where its ending fits none, or not the one `wanted`."""
    meant = _ENDINGS.get(path.suffix.lower())
    if meant is None or wanted not in (None, meant):
        fitting = [ending for ending, name in _ENDINGS.items() if name == wanted] or list(_ENDINGS)
        raise UserError(f"{path.name} needs another ending: {' or '.join(fitting)}.")
    return meant


def check_animation(format_name: str, frames: int, fps: int, size: tuple[int, int] | None = None) -> None:
    """Raises `UserError` for numbers out of bounds, more than fits into memory, or WebM without ffmpeg."""
    check_integer("The number of frames", frames, 2, MOST_FRAMES)
    check_integer("The number of frames a second", fps, 1, FASTEST)
    if format_name == "webm" and shutil.which("ffmpeg") is None:
        raise UserError("WebM needs ffmpeg, which is not there; install it, or choose webp or apng.")
    if size and format_name != "webm" and frames * size[0] * size[1] > MOST_PIXELS_IN_MEMORY:
        most = MOST_PIXELS_IN_MEMORY // (size[0] * size[1])
        raise UserError(f"At most {most} frames of {size[0]} x {size[1]} go into a {format_name} file; ask for fewer.")


def write_animation(
    path: Path, frames: Frames, format_name: str, pace: int | Timing, infotext: str | None = None
) -> None:
    """Writes frames of one size and mode, in one step, with `infotext` in them.

    `pace` is the frames a second, then repeated without end where the format says so; or the timing, but not for WebM.
    WebP and WebM want RGBA. The alpha of WebP and APNG is exact; WebM compresses it like the colours. Raises
    `UserError` where the system or ffmpeg refuses.
    """
    write = _webm if format_name == "webm" else functools.partial(_by_pillow, format_name)
    write_atomically(Path(path), lambda target: write(target, frames, pace, infotext or ""))


def _by_pillow(format_name: str, path: Path, frames: Frames, pace: int | Timing, infotext: str) -> None:
    first, *rest = frames
    if not isinstance(pace, Timing):  # whole milliseconds whose sums keep to the speed
        ends = [round(1000 * number / pace) for number in range(len(rest) + 2)]
        pace = Timing(tuple(later - earlier for earlier, later in itertools.pairwise(ends)))
    options = {"save_all": True, "append_images": rest, "duration": list(pace.durations), "loop": pace.loop}
    if format_name == "webp":
        exif = Image.Exif()
        if infotext:
            exif[DESCRIPTION] = infotext
        # exact: colours under full transparency stay, so that scaling draws no dark seam.
        first.save(path, "WEBP", lossless=True, exact=True, quality=40, exif=exif.tobytes(), **options)
    else:
        information = PngImagePlugin.PngInfo()
        if infotext:
            information.add_text(INFOTEXT_KEY, infotext)
        # blend 0: each frame replaces what it covers, transparency included.
        first.save(path, "PNG", blend=0, disposal=0, pnginfo=information, **options)


def _webm(path: Path, frames: Frames, fps: int, infotext: str) -> None:
    """VP9 with alpha, through a pipe: no frame is kept."""
    frames = iter(frames)
    first = next(frames)
    command = [
        *("ffmpeg", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgba"),
        *("-video_size", f"{first.width}x{first.height}", "-framerate", str(fps), "-i", "-"),
        # Alternate reference frames and alpha exclude each other.
        *("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", "-crf", "18", "-b:v", "0"),
        *("-metadata", f"comment={infotext}", "-f", "webm", str(path)),
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        try:
            # An encoder that has gone tells by its exit code why.
            with suppress(BrokenPipeError), process.stdin as pipe:
                for frame in itertools.chain([first], frames):
                    pipe.write(frame.tobytes())
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        said.seek(0)
        words = said.read(1 << 16).decode(errors="replace").strip().splitlines()
    if code := process.returncode:
        last = words[-1].strip() if words else f"exit code {code}"
        if code == _SIGNAL_FILE_TOO_LARGE or any("No space left" in word for word in words):
            raise storage_error(OSError(errno.ENOSPC, last), path)
        raise UserError(f"ffmpeg could not write {path.name} ({last:.200}); choose webp or apng instead.")
