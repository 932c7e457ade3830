"""Which requests of browsers are let in, by headers that no page can forge. Knows neither Gradio nor the API.

Two things are kept out: pages of other sites, which make a browser send requests with its cookies, and DNS rebinding,
where a stranger's name is made to point at this computer so that the browser takes both for one site.
"""

import ipaddress
import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache
from urllib.parse import urlsplit

HOSTS_VARIABLE = "LABELS4FREE_ALLOWED_HOSTS"
"""Further names of this server, with commas between; `*.example.org` stands for all names that end so."""
_LOCAL_ENDINGS = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


class Visitors:
    """Judges requests by their Host, Origin and Fetch Metadata headers.

    Where nobody has to log in, the server must be asked under an address, a name of the local network or one of
    `names`: at these no stranger can point a name. With a `login` any name will do, as browsers send cookies and
    passwords only where they were given; so it will for `programs`, told by headers that no page can leave out.
    """

    def __init__(self, names: Collection[str] = (), login: bool = False, programs: bool = False):
        further = os.environ.get(HOSTS_VARIABLE, "").split(",")
        self._given = {name.strip().lower() for name in (*names, *further)} - {""}
        self._own = _own_names()
        self._login, self._programs = login, programs

    def complaint(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why such a request is refused, as the key of a sentence; None where it is let in.

        The names of `headers` are in small letters.
        """
        any_name = self._login or (self._programs and not _from_browser(headers))
        if not any_name and not self._is_known(_host_name(headers.get("host", ""))):
            return "http.unknown_host"
        return "http.other_site" if self._is_of_another_site(method, headers) else None

    def _is_known(self, name: str) -> bool:
        if not name or "." not in name or name in self._own or self._is_given(name):
            return bool(name)
        return _is_address(name) or name.endswith(_LOCAL_ENDINGS)

    def _is_given(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._given)

    def _is_of_another_site(self, method: str, headers: Mapping[str, str]) -> bool:
        if method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate":
            return False  # a link that a person has followed
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if site in ("same-origin", "none") or (site is None and origin is None):
            return False  # older browsers name the origin of whatever could change something
        origin = (origin or "").lower().partition("://")[2]
        if site is None and any(_is_same(origin, host) for host in _hosts(headers)):
            return False
        return not self._is_given(_host_name(origin))


@cache
def _own_names() -> frozenset[str]:
    """What this computer calls itself; to find it out may take a while."""
    return frozenset((socket.gethostname().lower(), socket.getfqdn().lower()))


def _from_browser(headers: Mapping[str, str]) -> bool:
    told = any(name in headers for name in ("origin", "sec-fetch-site", "accept-language"))
    return told or "mozilla" in headers.get("user-agent", "").lower()


def _hosts(headers: Mapping[str, str]) -> list[str]:
    """What the server was asked as: by the browser itself, and by the proxy that it asked."""
    # Another site cannot set the second: for that the browser would first ask whether it may.
    return [headers.get(name, "").split(",")[0].strip().lower() for name in ("host", "x-forwarded-host")]


def _is_same(origin: str, host: str) -> bool:
    """Some proxies pass the host on without its port."""
    return bool(host) and (origin == host or (":" not in host and _host_name(origin) == host))


def _host_name(host: str) -> str:
    """The name in a Host header, without port; empty where it is none."""
    with suppress(ValueError):
        return (urlsplit("//" + host).hostname or "").rstrip(".")
    return ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False
