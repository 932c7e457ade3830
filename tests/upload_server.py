"""The writing half of the Hub on the loopback: make a repository, preupload, large files, commit.

It speaks what huggingface_hub 0.25 to 2.4 ask of `/api/repos/create`, `/api/{models,spaces}/ID/preupload/main`,
`.../commit/main` and `/ID.git/info/lfs/objects/batch`. Xet transfers, which the real Hub also offers, are not among
them. `hub.repositories` shows what has been committed. What is sent must carry the right token; `hub.refuse` answers a
status instead, with the token it was sent in the body.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import unquote, urlsplit

import hub_server
from hub_server import LARGE, Hub, Repository, Request


class _Handler(hub_server._Handler):
    def do_POST(self) -> None:
        hub: UploadHub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = self._chunks()
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.command not in ("GET", "HEAD"):
            hub.requests.append(Request(self.command, self.headers.get("Host", ""), path, 0, token))
        refused = next((status for piece, status in hub.refuse.items() if piece in path), None)
        if refused is not None:
            self._answer({"error": f"refused {token}"}, refused)
        elif path.startswith("/stored/"):
            hub.stored[path.removeprefix("/stored/")] = body
            self._answer({})
        elif token != hub.token:
            self._answer({"error": f"Invalid credentials {token}"}, 401)
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/whoami-v2":
            self._answer({"name": "me", "type": "user", "orgs": []})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif re.fullmatch(r"/(spaces/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            objects = [{**item, "authenticated": True} for item in json.loads(body)["objects"]]
            for item in objects:
                item["actions"] = {"upload": {"href": f"{hub.address}/stored/{item['oid']}", "header": {}}}
            self._answer({"transfer": "basic", "objects": objects})
        elif re.fullmatch(r"/api/(models|spaces)/([^/]+/[^/]+)/preupload/main", path):
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith((*LARGE, ".png")) else "regular" for path in paths}
            files = [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in paths]
            self._answer({"files": files})
        elif found := re.fullmatch(r"/api/(?:models|spaces)/([^/]+/[^/]+)/commit/main", path):
            self._commit(hub.repositories[found[1]], found[1], body)
        else:
            super().do_GET()

    do_GET = do_HEAD = do_PUT = do_POST

    def _create(self, asked: dict) -> None:
        hub: UploadHub = self.server.hub
        name, kind = f"{asked.get('organization') or 'me'}/{asked['name']}", asked.get("type") or "model"
        url = f"{hub.address}/{'spaces/' if kind == 'space' else ''}{name}"
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        if name in hub.repositories:
            self._answer({"error": "You already created this repo", "url": url}, 409)
            return
        files = {".gitattributes": b"*.safetensors filter=lfs\n"}
        hub.put(name, files, private=private, kind=kind, sdk=asked.get("sdk"))
        self._answer({"url": url, "name": name, "id": name})

    def _commit(self, made: Repository, name: str, body: bytes) -> None:
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
        url = f"{hub.address}/{name}/commit/{made.commit}"
        self._answer({"success": True, "commitOid": made.commit, "commitUrl": url, "hookOutput": ""})

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, answer: object, status: int = 200) -> None:
        self._send(status, {"Content-Type": "application/json"}, json.dumps(answer).encode())


class UploadHub(Hub):
    """The server. `refuse` maps a piece of a path to the status that it gets."""

    token = "hf_secretsecretsecret"
    handler = _Handler

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.refuse: dict[str, int] = {}
        super().__init__()


def point_at(hub: UploadHub, monkeypatch, home) -> None:
    """Makes this process use the server, with its token."""
    from huggingface_hub import constants

    hub_server.point_at(hub, monkeypatch, home)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # older releases have no Xet
    monkeypatch.setenv("HF_TOKEN", hub.token)
