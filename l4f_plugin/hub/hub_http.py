"""HTTP as the Hub speaks it: what it says of a file, and the file's bytes from a position on.

huggingface_hub 0.25 to 2.4 supplies the address, the login and the session (proxies and certificates as it
is set up in this process). Its own transfers are not used, because none of these releases refuses to follow
an address from https to http, 1.x follows a circle of addresses for ever, and 2.x throws away what had
arrived when a download is interrupted (huggingface_hub issue 4196).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..errors import UserError
from .hub_errors import is_of_the_network, of_the_way_there

MOST_REDIRECTS = 10
_PIECE_BYTES = 1 << 16
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class RemoteFile:
    """What the Hub says of a file: the commit, a name for exactly these bytes, and where they are.

    `etag` is the sha256 of files in large file storage and Git's sha1 of others; `size` may be unknown.
    """

    commit: str
    etag: str
    size: int | None
    location: str
    headers: Mapping[str, str]


class Refused(Exception):
    """An answer that is not a file. `code` is the Hub's own word for it, `wait` the seconds it asks for."""

    def __init__(self, status: int, code: str | None = None, wait: str | None = None):
        super().__init__(status)
        self.status, self.code = status, code
        self.wait = min(int(wait), 60) if wait and wait.isdecimal() else None

    @property
    def may_pass(self) -> bool:
        """Whether asking again soon makes sense."""
        return self.status == 429 or self.status >= 500


class Cut(Exception):
    """The connection ended before the file did."""


def honour_certificates() -> None:
    """Makes the certificates that one of three variables names count, whichever HTTP library there is.

    `requests` reads REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, `httpx` and its heirs SSL_CERT_FILE, and people set one of
    them. Raises `UserError` where the file is not there.
    """
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    given = {name: path for name in names if (path := os.environ.get(name))}
    for name, path in given.items():
        if not os.path.exists(path):
            raise UserError(
                f"{name} names {path}, which is not there; name the file of your network's certificates, or unset it."
            )
    for path in list(given.values())[:1]:
        os.environ.setdefault("SSL_CERT_DIR" if os.path.isdir(path) else "SSL_CERT_FILE", path)
        os.environ.setdefault("REQUESTS_CA_BUNDLE", path)


def look_up(repository: str, filename: str, revision: str | None, token: str | bool | None) -> RemoteFile:
    """Asks the Hub for a file's commit, name and place. Raises `Refused`, `UserError`, or the library's errors."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository, filename, revision=revision, endpoint=constants.ENDPOINT)
    headers = {**build_hf_headers(token=token, library_name="labels4free"), "Accept-Encoding": "identity"}
    start = url
    for _ in range(MOST_REDIRECTS):
        with _open("HEAD", url, _for(url, start, headers), constants.HF_HUB_ETAG_TIMEOUT) as response:
            found, target = dict(_lower(response.headers)), _target(response, url)
            status = response.status_code
        if target is None and status != 200:
            raise Refused(status, found.get("x-error-code"), found.get("retry-after"))
        if "x-repo-commit" in found and (target is None or _origin(target) != _origin(url)):
            # The Hub itself answers, and the bytes are here or on a host that only stores them.
            return _remote_file(found, target or url, _for(target or url, start, headers), target is None)
        if target is None:
            break
        url = target
    else:
        raise UserError(
            f"The Hub sends {filename} of {repository} round in a circle of addresses; check HF_ENDPOINT "
            "and the proxy, or try again later."
        )
    raise _no_hub()


def _remote_file(found: Mapping[str, str], location: str, headers: Mapping[str, str], own: bool) -> RemoteFile:
    etag = (found.get("x-linked-etag") or found.get("etag") or "").removeprefix("W/").strip('"')
    size = found.get("x-linked-size") or (found.get("content-length") if own else None)
    # Both become names of files in the cache.
    if not _COMMIT.fullmatch(found["x-repo-commit"]) or not _ETAG.fullmatch(etag):
        raise _no_hub()
    return RemoteFile(found["x-repo-commit"], etag, int(size) if size and size.isdecimal() else None, location, headers)


def _no_hub() -> UserError:
    from huggingface_hub import constants

    return UserError(
        f"{constants.ENDPOINT} does not answer as the Hub does; check HF_ENDPOINT, the proxy and the firewall."
    )


@contextmanager
def open_from(file: RemoteFile, position: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The bytes of a file from `position` on, or from 0 where the server sends all: (position, pieces).

    Raises `Cut` when the connection does not come about, or ends early; `Refused` and `UserError` as `look_up`.
    """
    from huggingface_hub import constants

    url, headers = file.location, dict(file.headers)
    if position:
        headers["Range"] = f"bytes={position}-"
    for _ in range(MOST_REDIRECTS):
        with ExitStack() as opened:
            try:
                response = opened.enter_context(
                    _open("GET", url, _for(url, file.location, headers), constants.HF_HUB_DOWNLOAD_TIMEOUT)
                )
            except Exception as error:
                if sentence := of_the_way_there(error):
                    raise UserError(sentence) from error
                if not is_of_the_network(error):
                    raise
                raise Cut from error
            target = _target(response, url)
            if target is None:
                found = dict(_lower(response.headers))
                if response.status_code not in (200, 206):
                    raise Refused(response.status_code, found.get("x-error-code"), found.get("retry-after"))
                partial = response.status_code == 206
                if partial and not found.get("content-range", "").startswith(f"bytes {position}-"):
                    raise Refused(416)
                yield position if partial else 0, _pieces(response)
                return
        url = target
    raise UserError(
        "The server sends the download round in a circle of addresses; try again later, or check "
        "HF_ENDPOINT and the proxy."
    )


def _pieces(response: Any) -> Iterator[bytes]:
    httpx_like = hasattr(response, "iter_bytes")
    pieces = response.iter_bytes() if httpx_like else response.iter_content(_PIECE_BYTES)
    while True:
        try:
            piece = next(pieces, None)
        except Exception as error:
            if not is_of_the_network(error):
                raise
            raise Cut from error
        if piece is None:
            return
        yield piece


@contextmanager
def _open(method: str, url: str, headers: Mapping[str, str], timeout: float) -> Iterator[Any]:
    """One request that follows nothing; `requests` below huggingface_hub 1.0, `httpx` and its heirs from there."""
    from huggingface_hub.utils import get_session

    honour_certificates()
    session = get_session()
    if callable(getattr(session, "stream", None)):
        with session.stream(method, url, headers=headers, timeout=timeout, follow_redirects=False) as response:
            yield response
        return
    answer = session.request(method, url, headers=headers, timeout=timeout, allow_redirects=False, stream=True)
    with closing(answer) as response:
        yield response


def _target(response: Any, url: str) -> str | None:
    """Where a redirect leads; None for another answer. Raises `UserError` where it gives up encryption."""
    location = dict(_lower(response.headers)).get("location")
    if response.status_code // 100 != 3 or not location:
        return None
    try:
        target = urljoin(url, location)
        scheme = _origin(target)[0]
    except ValueError:  # no address at all
        scheme = ""
    if scheme not in _PORTS or (scheme == "http" and urlsplit(url).scheme == "https"):
        raise UserError(
            f"The download was led from https to {scheme or 'nowhere'}, where anyone on the way could "
            "change it, and was refused; check HF_ENDPOINT, the proxy and the network you are in."
        )
    return target


def _for(url: str, start: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers for `url`: the login stays with the host that was asked first."""
    if _origin(url) == _origin(start):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _lower(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name.lower(), value) for name, value in headers.items())
