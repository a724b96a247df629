"""A server that speaks as much of the Hugging Face hub's protocol as checkpoints need.

Repositories are folders in memory: listing, download, creation, and commits whose large files come
by Git LFS. `requests` counts what was asked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """The state of the server."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.requests: list[str] = []
        self.url = ""

    def sha(self, name: str) -> str:
        """The revision of a repository: of what is in it."""
        files = self.repositories[name]
        return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()

    def uploads(self) -> list[str]:
        return [line for line in self.requests if line.startswith("PUT")]

    def downloads(self) -> list[str]:
        return [line for line in self.requests if line.startswith("GET") and "/resolve/" in line]


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a port of this machine, while the block runs."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer_get(with_body=False)

    def do_GET(self) -> None:
        self._answer_get(with_body=True)

    def do_PUT(self) -> None:
        body = self._body()
        self.hub.large[hashlib.sha256(body).hexdigest()] = body
        self._send(b"")

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization") or "me", asked["name"])))
            self.hub.repositories.setdefault(name, {})
            self._json({"url": f"{self.hub.url}/{name}"})
        elif "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.hub.url}/storage/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/commit/" in path:
            self._commit(path.split("/commit/")[0].removeprefix("/api/models/"), body)
        else:
            self._missing()

    def _commit(self, name: str, body: bytes) -> None:
        files = self.hub.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        sha = self.hub.sha(name)
        url = f"{self.hub.url}/{name}/commit/{sha}"
        self._json({"commitUrl": url, "commitOid": sha, "hookOutput": "", "success": True})

    def _answer_get(self, with_body: bool) -> None:
        path = self._path()
        if path.startswith("/api/models/"):
            inner = path.removeprefix("/api/models/")
            name = next((n for n in self.hub.repositories if f"{inner}/".startswith(f"{n}/")), None)
            if name is None:
                self._missing()
            elif "/tree/" in inner:
                files = self.hub.repositories[name].items()
                self._json([_listed(file, content) for file, content in files])
            else:
                siblings = [{"rfilename": file} for file in self.hub.repositories[name]]
                self._json({"id": name, "sha": self.hub.sha(name), "siblings": siblings})
            return
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        file = rest.partition("/")[2]
        content = self.hub.repositories.get(name, {}).get(file)
        if content is None:
            self._missing()
            return
        tag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": self.hub.sha(name)}
        self._send(content, headers, with_body)

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _body(self) -> bytes:
        if self.command == "PUT":
            self._path()
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _missing(self) -> None:
        self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)

    def _json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self,
        content: bytes,
        headers: dict[str, str] | None = None,
        with_body: bool = True,
        status: int = 200,
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(content)


def _listed(path: str, content: bytes) -> dict[str, object]:
    found: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
    found["oid"] = hashlib.sha1(content).hexdigest()
    if path.endswith(".safetensors"):
        oid = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
    return found
