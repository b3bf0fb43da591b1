"""A Hub on this machine: a real HTTP server for tests, in a thread, that speaks what the Hub's own clients read with.

Repos are plain mappings of paths to bytes, and every request is kept:

    with Hub({"me/demo": {"my.consistent_chat.yaml": b"model: rehearsal"}}) as hub:
        ...  # in a process that was started with HF_ENDPOINT=hub.url
        assert hub.requests

It answers for one commit of a repo, whose id is made of its files. It does not write, and knows nothing of Xet.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Files = dict[str, bytes]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Hub:
    """The server, as a context manager.

    `private` names the token that a repo asks for. Files in `large`, as (repo, path), lie at another address, as
    those in the Hub's large file storage do. `sent` counts the bytes of files that were sent, of all repos.
    """

    repos: dict[str, Files] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    large: set[tuple[str, str]] = field(default_factory=set)
    requests: list[Seen] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def __enter__(self) -> Hub:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._record])
        repo = "{owner}/{name}"
        app.router.add_get(f"/datasets/{repo}/resolve/{{revision}}/{{path:.+}}", self._file)
        app.router.add_get(f"/api/datasets/{repo}", self._info)
        app.router.add_get(f"/api/datasets/{repo}/revision/{{revision}}", self._info)
        app.router.add_get(f"/api/datasets/{repo}/tree/{{revision}}", self._tree)
        app.router.add_get(f"/api/datasets/{repo}/tree/{{revision}}/{{path:.+}}", self._tree)
        app.router.add_post(f"/api/datasets/{repo}/paths-info/{{revision}}", self._paths_info)
        app.router.add_get(f"/storage/{repo}/{{path:.+}}", self._stored)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    @web.middleware
    async def _record(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(Seen(request.method, request.path, request.headers.get("Authorization")))
        response: web.StreamResponse = await handler(request)
        return response

    async def _file(self, request: web.Request) -> web.Response:
        repo, path = self._repo(request), request.match_info["path"]
        if path not in self.repos[repo]:
            raise _missing("EntryNotFound", {"X-Repo-Commit": commit(self.repos[repo])})
        content = self.repos[repo][path]
        headers = {"ETag": f'"{blob(content)}"', "X-Repo-Commit": commit(self.repos[repo])}
        if (repo, path) not in self.large:
            return self._part(request, content, headers)
        linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
        place = f"http://localhost:{self._port}/storage/{repo}/{path}"  # for a client, another server
        return web.Response(status=302, headers={**headers, **linked, "Location": place})

    async def _stored(self, request: web.Request) -> web.Response:
        repo = "{owner}/{name}".format(**request.match_info)
        return self._part(request, self.repos[repo][request.match_info["path"]], {})

    def _part(self, request: web.Request, content: bytes, headers: Mapping[str, str]) -> web.Response:
        """Send what the request asks for of a file, from the first to the last byte of its range."""
        part = content[request.http_range]
        status = 206 if "Range" in request.headers else 200
        self.sent += len(part) if request.method == "GET" else 0
        span = f"bytes {request.http_range.start or 0}-{(request.http_range.start or 0) + len(part) - 1}/{len(content)}"
        ranged = {"Content-Range": span} if status == 206 else {}
        return web.Response(status=status, body=part, headers={**headers, **ranged, "Accept-Ranges": "bytes"})

    async def _info(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        siblings = [{"rfilename": path} for path in self.repos[repo]]
        private = repo in self.private
        about = {"id": repo, "sha": commit(self.repos[repo]), "private": private, "tags": [], "siblings": siblings}
        return web.json_response(about)

    async def _tree(self, request: web.Request) -> web.Response:
        files = self.repos[self._repo(request)]
        folder = request.match_info.get("path", "")
        if folder and folder not in folders(files):
            raise _missing("EntryNotFound")
        deep = request.query.get("recursive", "").lower() == "true"
        entries = [path for path in (*folders(files), *files) if path.startswith(f"{folder}/" if folder else "")]
        return web.json_response([_entry(files, path) for path in entries if deep or _parent(path) == folder])

    async def _paths_info(self, request: web.Request) -> web.Response:
        files = self.repos[self._repo(request)]
        known = {*folders(files), *files}
        asked = (await request.post()).getall("paths", [])
        return web.json_response([_entry(files, str(path)) for path in asked if path in known])

    def _repo(self, request: web.Request) -> str:
        """Return the repo that a request is about, if it is there and the request may read it."""
        repo = "{owner}/{name}".format(**request.match_info)
        allowed = self.private.get(repo)
        if repo not in self.repos or (allowed and request.headers.get("Authorization") != f"Bearer {allowed}"):
            raise _missing("RepoNotFound")
        if request.match_info.get("revision", "main") not in ("main", commit(self.repos[repo])):
            raise _missing("RevisionNotFound")
        return repo


def commit(files: Files) -> str:
    """Return the id of the commit that a repo with these files is at."""
    return hashlib.sha1(repr(sorted((path, blob(content)) for path, content in files.items())).encode()).hexdigest()


@functools.lru_cache
def blob(content: bytes) -> str:
    """Return the id of a file, as git makes it."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


def folders(files: Files) -> list[str]:
    """Return all folders in which files lie."""
    parts = [path.split("/")[:-1] for path in files]
    return sorted({"/".join(names[: depth + 1]) for names in parts for depth in range(len(names))})


def _entry(files: Files, path: str) -> dict[str, Any]:
    if path not in files:
        return {"type": "directory", "path": path, "oid": blob(path.encode()), "size": 0}
    return {"type": "file", "path": path, "oid": blob(files[path]), "size": len(files[path])}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _missing(code: str, headers: Mapping[str, str] | None = None) -> web.HTTPNotFound:
    return web.HTTPNotFound(headers={"X-Error-Code": code, **(headers or {})})
