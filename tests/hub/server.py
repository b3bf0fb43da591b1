"""The server of the Hub. It runs in a thread, records every request, checks permissions, and can fail on purpose."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.hub.buckets import Buckets
from tests.hub.content import USER, Commit, Files, commit, refused
from tests.hub.reading import Reading
from tests.hub.storage import Storage
from tests.hub.writing import Writing

WRITER, READER = "hf_that_writes", "hf_that_reads"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    authorization: str | None

    @property
    def writes(self) -> bool:
        """Return whether the request is meant to change something."""
        asks = self.method in ("GET", "HEAD") and "xet-write-token" not in self.path
        return not asks and not self.path.endswith("/paths-info") and "/paths-info/" not in self.path


@dataclass
class Hub:
    """The server, as a context manager.

    - `private` maps a repository, or a bucket as "buckets/...", to the token that it requires.
    - `tokens` maps the user's tokens to their permission, "read" or "write".
    - `large` has files, as (repo, path), that are at another address, like files in the Hub's large file storage.
    - `jobs` has the requested jobs; none is run.
    - `sent` counts the bytes of files that were sent.
    - `broken` maps a part of a path to the status with which every request for such a path fails.
    - `passing` does the same for one request only.
    - `lost` does the same after the request was carried out.
    """

    repos: dict[str, Files] = field(default_factory=dict)
    buckets: dict[str, Files] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {WRITER: "write", READER: "read"})
    large: set[tuple[str, str]] = field(default_factory=set)
    branches: dict[str, dict[str, Files]] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    passing: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
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
        self.storage.close()

    def writes(self) -> list[Seen]:
        """Return the requests that are meant to change something."""
        return [seen for seen in self.requests if seen.writes]

    def files(self, repo: str, revision: str = "main") -> Files:
        """Return a repository's files at a branch, a pull request, a tag or a commit."""
        branches = {**self.branches.get(repo, {}), "main": self.repos[repo]}
        if revision in branches:
            return branches[revision]
        for files in (*branches.values(), *self.storage.history):
            if commit(files) == revision:
                return files
        raise refused(web.HTTPNotFound, "Invalid rev id", "RevisionNotFound")

    def reader(self, request: web.Request, name: str, known: bool) -> None:
        """Raise "not found" unless the request has read access to a repository or bucket."""
        if not known or self.private.get(name, _token(request)) != _token(request):
            raise refused(web.HTTPNotFound, "Repository not found", "RepoNotFound")

    def writer(self, request: web.Request, namespace: str) -> None:
        """Raise an error unless the request has write access to a namespace."""
        token = _token(request)
        if token is None:  # the client takes this for RepoNotFound by itself, but only where the address is https
            raise refused(web.HTTPUnauthorized, "Invalid username or password.", "RepoNotFound")
        if token not in self.tokens:
            raise refused(web.HTTPUnauthorized, "Invalid credentials in Authorization header")
        if self.tokens[token] != "write" or namespace != USER:
            raise refused(web.HTTPForbidden, "You must use a write token to upload to a repository.")

    async def _start(self) -> None:
        self.storage = Storage(self)
        parts = (self.storage, Reading(self), Writing(self), Buckets(self))
        app = web.Application(middlewares=[self._record], client_max_size=2**30)
        app.add_routes([route for part in parts for route in part.routes()])
        app.router.add_get("/api/whoami-v2", self._whoami)
        app.router.add_post("/api/jobs/{owner}", self._job)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self.url, self.elsewhere = f"http://127.0.0.1:{port}", f"http://localhost:{port}"  # two servers to clients

    @web.middleware
    async def _record(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(Seen(request.method, request.path, request.headers.get("Authorization")))
        if key := _key(self.passing, request.path):
            return web.Response(status=self.passing.pop(key))
        if key := _key(self.broken, request.path):
            return web.Response(status=self.broken[key])
        response: web.StreamResponse = await handler(request)
        if key := _key(self.lost, request.path):
            return web.Response(status=self.lost[key])
        return response

    async def _whoami(self, request: web.Request) -> web.Response:
        token = _token(request)
        if token not in self.tokens:
            raise refused(web.HTTPUnauthorized, "Invalid credentials in Authorization header")
        access = {"type": "access_token", "accessToken": {"displayName": "a token", "role": self.tokens[token]}}
        return web.json_response({"type": "user", "id": "1", "name": USER, "orgs": [], "auth": access})

    async def _job(self, request: web.Request) -> web.Response:
        owner = request.match_info["owner"]
        self.writer(request, owner)
        self.jobs.append(await request.json())
        about = {"id": str(len(self.jobs)), "owner": {"id": "1", "name": owner, "type": "user"}}
        return web.json_response({**about, "status": {"stage": "SCHEDULING", "message": None}})


def _key(faults: dict[str, int], path: str) -> str | None:
    return next((fragment for fragment in faults if fragment in path), None)


def _token(request: web.Request) -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if kind == "Bearer" else None
