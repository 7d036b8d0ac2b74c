"""A small Hugging Face hub on loopback: what its client asks for on the way to a model's files, and how it fails."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from generators.families.described import _described

LARGE = {".safetensors", ".bin", ".ckpt", ".model"}  # what public repositories store as LFS files
INFO = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)(?:/(?P<what>revision|tree)/(?P<revision>[^?]+))?")
FILE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


class LoopbackHub(ThreadingHTTPServer):
    """Serves folders as repositories.

    Attributes:
        revisions: by hub id and revision, its commit and its folder.
        gated: ids that are given to nobody here.
        disabled: ids that were taken down.
        renamed: former ids, and what they are now.
        status: what to answer in place of anything, if not 0; of `file_status` likewise in place of files.
        hang_up: break off every connection before an answer.
        cuts: of files, by name, after how many bytes their next answers break off; the first goes first.
        always_cut: after how many bytes of every file, if not 0.
        asked: every request, as ``METHOD PATH``.
        given: bytes of files.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.revisions: dict[tuple[str, str], tuple[str, Path]] = {}
        self.reset()

    def reset(self) -> None:
        """Behave well again."""
        self.gated: set[str] = set()
        self.disabled: set[str] = set()
        self.renamed: dict[str, str] = {}
        self.status = self.file_status = self.always_cut = self.given = 0
        self.hang_up = False
        self.cuts: dict[str, list[int]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, hub_id: str, folder: Path, revision: str = "main", commit: str | None = None) -> str:
        """Serve a folder as a revision of a repository; returns its commit, of the id and revision unless given."""
        commit = commit or hashlib.sha1(f"{hub_id} {revision}".encode()).hexdigest()
        self.revisions[hub_id, revision] = self.revisions[hub_id, commit] = (commit, folder)
        return commit


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        found = INFO.fullmatch(path) or FILE.fullmatch(path)
        if hub.hang_up:
            self.close_connection = True
        elif hub.status:
            self._answer(hub.status)
        elif found is None:
            self._answer(200 if path == "/" else 404)
        elif found["id"] in hub.renamed:
            self._answer(307, Location=self.path.replace(found["id"], hub.renamed[found["id"]]))
        elif found["id"] in hub.disabled:
            self._refuse(403, "DisabledRepo", "Access to this resource is disabled.")
        elif (found["id"], "main") not in hub.revisions:
            self._refuse(404, "RepoNotFound", "Repository not found")
        else:
            self._of(found)

    def _of(self, found: re.Match[str]) -> None:
        hub, asked = self.server, found.groupdict()
        revision = hub.revisions.get((asked["id"], asked["revision"] or "main"))
        if revision is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {asked['revision']}")
        elif "name" not in asked:
            self._tell(asked["id"], asked["what"] == "tree", *revision)
        elif hub.file_status:
            self._answer(hub.file_status)
        elif asked["id"] in hub.gated:
            known = "Authorization" in self.headers
            reason = "you are not in the authorized list" if known else "you must be authenticated to access it"
            self._refuse(403 if known else 401, "GatedRepo", f"Access to model {asked['id']} is restricted; {reason}.")
        elif not (path := revision[1] / asked["name"]).is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self._give(path, asked["name"], revision[0])

    def _tell(self, hub_id: str, tree: bool, commit: str, folder: Path) -> None:
        files = [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]
        if tree:
            answer: Any = [
                {"type": "file", "path": name, "oid": git_hash(path), **_sizes(path)} for name, path in files
            ]
        else:
            siblings = [{"rfilename": name, "blobId": git_hash(path), **_sizes(path)} for name, path in files]
            answer = {"id": hub_id, "sha": commit, "siblings": siblings, "gated": hub_id in self.server.gated}
            answer |= {"_id": "1", "modelId": hub_id, "private": False, "tags": [], "downloads": 0, "likes": 0}
        self._answer(200, json.dumps(answer).encode(), Content_Type="application/json")

    def _give(self, path: Path, name: str, commit: str) -> None:
        hub, content = self.server, path.read_bytes()
        etag = f'"{sha256(path) if path.suffix in LARGE else git_hash(path)}"'
        headers = {"ETag": etag, "X_Repo_Commit": commit, "Accept_Ranges": "bytes"}
        if path.suffix in LARGE:
            headers |= {"X_Linked_Etag": etag, "X_Linked_Size": str(len(content))}
        if self.command == "HEAD":
            self._answer(200, content, **headers)
            return
        first = re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))
        start = int(first[1]) if first else 0
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cuts = hub.cuts.get(name)
        self._answer(206 if start else 200, content[start:], cuts.pop(0) if cuts else hub.always_cut, **headers)

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X_Error_Code": code} if code else {}
        self._answer(status, json.dumps({"error": message}).encode(), X_Error_Message=message, **headers)

    def _answer(self, status: int, body: bytes = b"", cut: int = 0, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body[:cut] if cut else body
        self.wfile.write(sent)
        self.server.given += len(sent) if "ETag" in headers else 0
        self.close_connection = self.close_connection or len(sent) < len(body)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def git_hash(path: Path) -> str:
    """Return git's id of a file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sizes(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if path.suffix not in LARGE:
        return {"size": size}
    return {"size": size, "lfs": {"oid": sha256(path), "sha256": sha256(path), "size": size, "pointerSize": 134}}


@contextmanager
def serving_hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def use_hub(patch: pytest.MonkeyPatch, hub: LoopbackHub, cache: Path) -> None:
    """Let the hub's client in this process ask that hub, wait for nothing, and keep files in `cache`."""
    forget_hub(patch)
    patch.setenv("HF_ENDPOINT", hub.url)
    patch.delenv("HF_HUB_OFFLINE", raising=False)
    patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    patch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    patch.setattr(time, "sleep", lambda seconds: None)


def forget_hub(patch: pytest.MonkeyPatch) -> None:
    """Forget which commits this process has settled on, and the pipelines that it read of them."""
    patch.setattr("common.hub._settled", {})
    _described.cache_clear()


def another_process(patch: pytest.MonkeyPatch, *, offline: bool = False) -> None:
    """Forget what this process knows of the hub, as the next one would."""
    forget_hub(patch)
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
