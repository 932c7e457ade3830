"""The writing half of the Hub on the loopback: make a repository, preupload, large files, commit.

It speaks what huggingface_hub 0.25 to 2.4 ask of `/api/repos/create`, `/api/{models,spaces}/ID[/revision/main]`,
`.../tree/main`, `.../preupload/main`, `.../commit/main` and `/ID.git/info/lfs/objects/batch`. Xet transfers, which
the real Hub also offers, are not among them. `hub.files` shows what has been committed. What is sent must carry
the right token; `hub.refuse` answers a status instead, with the token it was sent in the body.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from hub_server import Handler, Loopback

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".png")


@dataclass
class Made:
    """A repository: how it was made, its files, and the summaries of its commits."""

    kind: str
    private: bool
    sdk: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class UploadHub(Loopback):
    """The server. `refuse` maps a piece of a path to the status that it gets."""

    token = "hf_secretsecretsecret"

    def __init__(self) -> None:
        self.made: dict[str, Made] = {}
        self.stored: dict[str, bytes] = {}
        self.refuse: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        super().__init__(_Handler)
        self.address = f"http://127.0.0.1:{self.port}"

    def environment(self, home) -> dict[str, str]:
        """What makes huggingface_hub talk to this server and to nobody else."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_TOKEN": self.token,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }


class _Handler(Handler):
    def _handle(self) -> None:
        hub: UploadHub = self.server.hub
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = self._chunks()
        address = urlsplit(self.path)
        path, query = unquote(address.path), parse_qs(address.query)
        hub.asked.append((self.command, path))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        refused = next((status for piece, status in hub.refuse.items() if piece in path), None)
        if refused is not None:
            self._send(refused, {"error": f"refused {token}"})
        elif path.startswith("/stored/"):
            hub.stored[path.removeprefix("/stored/")] = body
            self._send(200, {})
        elif token != hub.token:
            self._send(401, {"error": f"Invalid credentials {token}"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/whoami-v2":
            self._send(200, {"name": "me", "type": "user", "orgs": []})
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/(?:spaces/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self._batch(json.loads(body))
        elif found := re.fullmatch(r"/api/(model|space)s/([^/]+/[^/]+?)(?:/(\w+)/main)?", path):
            self._repository(found[1], found[2], found[3], body, query)
        else:
            self._send(404, {"error": "no such page"})

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _create(self, asked: dict) -> None:
        hub: UploadHub = self.server.hub
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else f"me/{asked['name']}"
        kind = asked.get("type") or "model"
        url = f"{hub.address}/{'spaces/' if kind == 'space' else ''}{name}"
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        if name in hub.made:
            self._send(409, {"error": "You already created this repo", "url": url})
            return
        hub.made[name] = Made(kind, private, asked.get("sdk"), {".gitattributes": b"*.safetensors filter=lfs\n"})
        self._send(200, {"url": url, "name": name, "id": name})

    def _repository(self, kind: str, name: str, part: str | None, body: bytes, query: dict) -> None:
        hub: UploadHub = self.server.hub
        made = hub.made.get(name)
        if made is None or made.kind != kind:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif part == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in paths}
            files = [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in paths]
            self._send(200, {"files": files})
        elif part == "commit":
            self._commit(made, name, body)
        elif part == "tree":
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in made.files.items()
            ]
            self._send(200, entries)
        else:
            answer = {"id": name, "modelId": name, "sha": COMMIT, "private": made.private, "tags": []}
            self._send(200, {**answer, "siblings": [{"rfilename": path} for path in made.files]})

    def _commit(self, made: Made, name: str, body: bytes) -> None:
        hub: UploadHub = self.server.hub
        for line in filter(None, body.split(b"\n")):
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "header":
                made.commits.append(value["summary"])
            elif step["key"] == "file":
                made.files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                made.files[value["path"]] = hub.stored[value["oid"]]
            elif step["key"] == "deletedFile":
                made.files.pop(value["path"])
        url = f"{hub.address}/{name}/commit/{COMMIT}"
        self._send(200, {"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    def _batch(self, asked: dict) -> None:
        hub: UploadHub = self.server.hub
        objects = [{**item, "authenticated": True} for item in asked["objects"]]
        for item in objects:
            item["actions"] = {"upload": {"href": f"{hub.address}/stored/{item['oid']}", "header": {}}}
        self._send(200, {"transfer": "basic", "objects": objects})

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, answer: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def point_at(hub: UploadHub, monkeypatch, home) -> None:
    """Makes this process use the server, with its token."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # older releases have no Xet
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setenv("LABELS4FREE_MODELS", str(home / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
