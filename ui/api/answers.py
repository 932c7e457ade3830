"""What comes back, as the client's Accept asks: JSON with pictures in base64, a ZIP of PNG files, or one picture."""

import asyncio
import base64
import io
import json
import re
import secrets
import time
import zipfile
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from l4f_plugin.images import jpeg_bytes, png_bytes

from ..operations import OperationResult
from ..refusals import Refusal
from ..texts import text
from .bounds import FAST, Held

JSON, ZIP, PNG, JPEG = "application/json", "application/zip", "image/png", "image/jpeg"
_FILE = secrets.token_hex(16)  # stands for a file in JSON as long as that is put together

_PIECE = 1 << 18
_PATIENCE, _GRACE = 60.0, 5.0  # seconds for one piece, and for all before slowness counts where others wait
_LOOK_AGAIN = 0.2


def wanted(accept: str | None) -> str:
    """The best of our media types for an Accept header; JSON where it has no wish. Raises `Refusal`."""
    offers = dict.fromkeys((JSON, ZIP, PNG, JPEG), 0.0)
    for part in (accept or "*/*")[:1000].split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = next((_number(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
        for offer in offers:
            if media in (offer, offer.split("/")[0] + "/*", "*/*"):
                offers[offer] = max(offers[offer], quality)
    best = max(offers, key=lambda offer: offers[offer])
    if not offers[best]:
        raise Refusal("not_acceptable", text("http.not_acceptable"))
    return best


def pictures(media: str, results: Sequence[OperationResult], kinds: Sequence[str], samples: bool = False) -> "Pieces":
    """The answer with one result, or in JSON a list of `samples`; a file is the first picture that was asked for."""
    if media == ZIP:
        return _zip(results, kinds)
    first, *others = results
    if media == JSON and not samples:
        return _json({**first.details, **_encoded(first, kinds)})
    if media == JSON:
        told = [{"seed": result.details["seed"], **_encoded(result, kinds)} for result in results]
        return _json({**{key: first.details[key] for key in ("class", "truncation_psi")}, "samples": told})
    if others:
        raise Refusal("not_acceptable", text("http.one_picture"))
    kind = next(iter(_present(first, kinds)), None)
    if kind is None:
        raise Refusal("not_acceptable", text("http.no_such_picture", kind=kinds[0]))
    name = first.file_name(kind)
    if media == PNG:
        return Pieces([_png(first, kind)], PNG, _named(name))
    picture = first.images[kind]()
    if picture.mode == "RGBA":
        raise Refusal("not_acceptable", text("http.transparent"))
    return Pieces([jpeg_bytes(picture, first.infotext)], JPEG, _named(name.removesuffix(".png") + ".jpg"))


def _json(content: dict[str, Any]) -> "Pieces":
    """JSON whose values of bytes are texts already, which nobody copies once more."""
    files: list[bytes] = []

    def kept(value: bytes) -> str:
        files.append(value)
        return _FILE

    written = json.dumps(content, allow_nan=False, separators=(",", ":"), default=kept)
    first, *others = (part.encode("ascii") for part in written.split(_FILE))
    return Pieces([first, *(piece for pair in zip(files, others, strict=True) for piece in pair)], JSON)


def _encoded(result: OperationResult, kinds: Sequence[str]) -> dict[str, Any]:
    images = {kind: base64.b64encode(_png(result, kind)) for kind in _present(result, kinds)}
    return {"images": images, "infotext": result.infotext}


def _zip(results: Sequence[OperationResult], kinds: Sequence[str]) -> "Pieces":
    # By name, as a seed that comes twice gives one file.
    files = {result.file_name(kind): (result, kind) for result in results for kind in _present(result, kinds)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for name, picture in files.items():
            archive.writestr(name, _png(*picture))
    return Pieces([packed.getvalue()], ZIP, _named(f"{results[0].stem}_{len(results)}.zip"))


def _present(result: OperationResult, kinds: Sequence[str]) -> list[str]:
    return [kind for kind in dict.fromkeys(kinds) if kind in result.images]


def _png(result: OperationResult, kind: str) -> bytes:
    return png_bytes(result.images[kind](), result.infotext)


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _number(written: str) -> float:
    return float(written) if re.fullmatch(r"[01](\.[0-9]{0,3})?", written) else 0.0


class Pieces(Response):
    """The bytes of `pieces`, one after another; `held` is the share of memory that they take, given back at the end."""

    held: Held | None = None

    def __init__(self, pieces: Sequence[bytes], media_type: str, headers: Mapping[str, str] | None = None):
        super().__init__(None, media_type=media_type, headers=dict(headers or {}))
        self._pieces, self.size = deque(pieces), sum(map(len, pieces))
        self.headers["content-length"] = str(self.size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all of it, or gives up on a client that takes nothing while others wait for the memory."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            began, sent = time.monotonic(), 0
            while self._pieces:
                piece = memoryview(self._pieces.popleft())
                for start in range(0, len(piece), _PIECE):
                    body = bytes(piece[start : start + _PIECE])
                    message = {"type": "http.response.body", "body": body, "more_body": True}
                    if not await self._is_taken(send, message, began, sent):
                        return
                    sent += len(body)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if self.held is not None:
                self.held.give_back()

    async def _is_taken(self, send: Send, message: Message, began: float, sent: int) -> bool:
        going, asked = asyncio.ensure_future(send(message)), time.monotonic()
        try:
            while not going.done():
                await asyncio.wait({going}, timeout=_LOOK_AGAIN)
                now = time.monotonic()
                is_slow = now - began > _GRACE and sent < FAST * (now - began)
                in_the_way = is_slow and self.held is not None and self.held.is_wanted
                if not going.done() and (in_the_way or now - asked > _PATIENCE):
                    return False
        finally:
            going.cancel()
        going.result()
        return True
