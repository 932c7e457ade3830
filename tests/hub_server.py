"""A Hub on the loopback, for tests: real HTTP, the answers the Hub gives, and the faults it may have.

    with Hub(tmp_path / "hub") as hub:
        hub.put("someone/dogs", {"config.json": b"..."})
        ... HF_ENDPOINT=hub.address ...

It serves `/{repository}/resolve/{revision}/{path}` (HEAD, GET, ranges, ETag, X-Repo-Commit, X-Linked-Size,
X-Linked-Etag, X-Error-Code), `/api/models/{repository}[/revision/...]` and `/api/models/{repository}/tree/...`.
Large files are redirected to another address of the same computer, as the Hub does with those it only stores.
`hub.fault` makes it misbehave; `hub.requests` remembers who asked for what.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import shell

TENSORFLOW = Path(__file__).parent / "data/goldens/stylegan2_tf_tiny.pkl"
LARGE = (".safetensors", ".pt", ".pkl")  # stored elsewhere, and their etag is the sha256


class Request(NamedTuple):
    """One request as it came in."""

    method: str
    host: str
    path: str
    position: int
    token: str | None


@dataclass
class Repository:
    """Files of one commit; `private` and `gated` ones want the token `hub.token`. The rest is of published ones."""

    files: dict[str, bytes]
    private: bool = False
    gated: bool = False
    kind: str = "model"
    sdk: str | None = None
    commits: list[str] = field(default_factory=list)

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()


@dataclass
class Fault:
    """What goes wrong with large files, and how many times (None: always).

    `kind`: a number is an HTTP status; "cut" ends the connection after half of what was asked for, "reset"
    does so with a TCP reset, "wrong bytes" flips a bit, "longer" and "shorter" change the size, "circle" sends
    round for ever, "downgrade" redirects from https to http, "other hash" names other content, "no hub" leaves
    out the Hub's headers.
    """

    kind: int | str
    times: int | None = None
    methods: tuple[str, ...] = ("GET", "HEAD")
    headers: dict[str, str] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """Clients that go away in the middle are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        hub: Hub = self.server.hub
        # Data sets and Spaces are repositories like models here, under one name.
        asked = unquote(urlsplit(self.path).path)
        path = re.sub("^/(api/)?(?:datasets|spaces)/", lambda kind: "/api/models/" if kind[1] else "/", asked)
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        position = int(found[1]) if found else 0
        hub.requests.append(Request(self.command, self.headers.get("Host", ""), path, position, token))
        if path.startswith("/circle/"):
            self._send(302, {"Location": f"/circle/{time.monotonic_ns()}"})
        elif match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            self._bytes(hub.repositories[match[1]].files[match[2]])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(/.*)?)?", path):
            self._api(match[1], match[2], token)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3], token)
        else:
            self._send(404)

    do_HEAD = do_GET

    def _repository(self, name: str, revision: str | None, token: str | None) -> Repository | None:
        """The repository, where it may be read; otherwise the refusal has been sent."""
        hub: Hub = self.server.hub
        if token is not None and token != hub.token:
            self._send(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
            return None
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and token is None):
            # The Hub does not tell strangers which of the two it is.
            self._send(404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        elif repository.gated and token is None:
            self._send(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif revision not in (None, "main", repository.commit):
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _api(self, name: str, kind: str | None, token: str | None) -> None:
        repository = self._repository(name, None, token)
        if repository is None:
            return
        if kind == "tree":
            answer = [_tree_entry(path, content) for path, content in sorted(repository.files.items())]
        else:
            answer = {"id": name, "modelId": name, "sha": repository.commit, "private": repository.private, "tags": []}
            answer["siblings"] = [{"rfilename": path} for path in sorted(repository.files)]
        body = json.dumps(answer).encode()
        self._send(200, {"Content-Type": "application/json"}, body)

    def _resolve(self, name: str, revision: str, path: str, token: str | None) -> None:
        hub: Hub = self.server.hub
        repository = self._repository(name, revision, token)
        if repository is None:
            return
        content = repository.files.get(path)
        headers = {"X-Repo-Commit": repository.commit}
        if content is None:
            self._send(404, {**headers, "X-Error-Code": "EntryNotFound"})
            return
        large = path.endswith(LARGE)
        fault = hub.take_fault("HEAD") if large and self.command == "HEAD" else None
        if self._refused(fault):
            return
        if not large:
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._bytes(content, {**headers, "ETag": f'"{etag}"'})
            return
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
        if fault is not None and fault.kind in ("longer", "shorter"):
            size += 7 if fault.kind == "longer" else -7
        if fault is not None and fault.kind == "other hash":
            digest = "0" * 64
        storage = hub.storage.replace("https", "http") if fault and fault.kind == "downgrade" else hub.storage
        linked = {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{digest}"'}
        self._send(302, {**headers, **linked, "Location": f"{storage}/storage/{name}/{path}"})

    def _refused(self, fault: Fault | None) -> bool:
        """Whether the fault is all that is answered."""
        if fault is None or not (isinstance(fault.kind, int) or fault.kind in ("circle", "no hub")):
            return False
        if isinstance(fault.kind, int):
            self._send(fault.kind, fault.headers)
        elif fault.kind == "circle":
            self._send(302, {"Location": "/circle/start"})
        else:
            self._send(200, {"ETag": '"x"'})
        return True

    def _bytes(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        hub: Hub = self.server.hub
        fault = hub.take_fault("GET") if headers is None else None
        if self._refused(fault):
            return
        if fault is not None and fault.kind == "downgrade":
            self._send(302, {"Location": f"{hub.storage.replace('https', 'http')}{self.path}"})
            return
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        position, size = int(found[1]) if found else 0, len(content)
        if found and position >= size:
            self._send(416, {"Content-Range": f"bytes */{size}"})
            return
        if fault is not None and fault.kind == "wrong bytes":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if fault is not None and fault.kind == "longer":
            content += b"and more"
        about = {**(headers or {}), "Accept-Ranges": "bytes"}
        if found:
            about["Content-Range"] = f"bytes {position}-{size - 1}/{size}"
        self._send(206 if found else 200, about, content[position:], fault)

    def _send(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.kind in ("cut", "reset"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if fault.kind == "reset":
                # closing without lingering resets the connection
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        pause = self.server.hub.pause
        for start in range(0, len(body), 1024) if pause else (0,):
            self.wfile.write(body[start : start + 1024] if pause else body)
            time.sleep(pause)


class Hub:
    """The server, while the context lasts; the storage of large files is the same one under another name."""

    token = "hf_right"
    handler: type[BaseHTTPRequestHandler] = _Handler

    def __init__(self, certificate: str | None = None):
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.fault: Fault | None = None
        self.pause = 0.0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self.handler)
        self._server.hub = self
        port, scheme = self._server.server_address[1], "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.address = f"{scheme}://127.0.0.1:{port}"
        self.storage = f"{scheme}://localhost:{port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, repository: str, files: dict[str, bytes], **described) -> None:
        """Makes a repository, or a new commit of it, with these files."""
        self.repositories[repository] = Repository(dict(files), **described)

    def put_folder(self, repository: str, folder, **access: bool) -> None:
        """As `put`, with the files of a folder."""
        self.put(repository, {path.name: path.read_bytes() for path in folder.iterdir()}, **access)

    def asked(self) -> list[Request]:
        """The requests so far for the bytes of files."""
        return [request for request in self.requests if request.method == "GET"]

    def take_fault(self, method: str) -> Fault | None:
        """The fault that this answer is to have, counted."""
        with self._lock:
            fault = self.fault
            if fault is None or method not in fault.methods or fault.times == 0:
                return None
            if fault.times is not None:
                fault.times -= 1
            return fault


def stored(hub: Hub) -> list[Request]:
    """The requests for the bytes of large files."""
    return [request for request in hub.asked() if request.path.startswith("/storage/")]


def _tree_entry(path: str, content: bytes) -> dict:
    entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


def point_at(hub: Hub, monkeypatch, home) -> None:
    """Makes this process use the server and folders under `home` only, and not wait between attempts."""
    import huggingface_hub.file_download
    import huggingface_hub.utils._http
    from huggingface_hub import constants

    from l4f_plugin.hub import resumable

    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hf/hub"))
    for module in (constants, huggingface_hub.file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("LABELS4FREE_MODELS", str(home / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    for name in ("HF_TOKEN", "LABELS4FREE_CATALOGUE", "LABELS4FREE_KEEP_ORIGINALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(resumable, "WAITS", (0.0,) * 4)
    at_once = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    for module in (huggingface_hub.file_download, huggingface_hub.utils._http):
        monkeypatch.setattr(module, "time", at_once, raising=False)


def environment(hub: Hub, home, **more: str) -> dict[str, str]:
    """The same for other processes."""
    places = {"HF_HOME": "hf", "LABELS4FREE_MODELS": "models", "XDG_CACHE_HOME": "cache"}
    asked = {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_TELEMETRY": "1"}
    return shell.environment(**{**asked, **{name: str(home / place) for name, place in places.items()}, **more})


def catalogue_entry(content: bytes, file: str, **fields) -> dict:
    """A class of a user's catalogue that is published as the file `content` of someone/checkpoints."""
    told = {"title": "A class", "resolution": 32, "licence": "CC0-1.0", "repository": "someone/checkpoints"}
    pinned = {"file": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {**told, **pinned, **fields}


def offer_things(hub: Hub, home, **described) -> None:
    """Publishes NVIDIA's golden pickle, which a user's catalogue calls "things" and describes so."""
    content = TENSORFLOW.read_bytes()
    hub.put("someone/checkpoints", {"things.pkl": content})
    write_catalogue(home, things=catalogue_entry(content, "things.pkl", **described))


def write_catalogue(home, **classes: dict) -> None:
    """A user's catalogue with these classes."""
    (home / "models").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema_version": 1, "classes": classes})
    (home / "models/catalogue.json").write_text(text, encoding="utf-8")
