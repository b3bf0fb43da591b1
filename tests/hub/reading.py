"""The requests that read a dataset repository: files, listings, metadata, branches and commits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.hub.content import LONG_AGO, Files, blob, commit, digest, folders, parent, refused

if TYPE_CHECKING:
    from tests.hub.server import Hub


class Reading:
    """The routes that change nothing."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes and their handlers."""
        api = "/api/datasets/{owner}/{name}"
        return (
            web.get("/datasets/{owner}/{name}/resolve/{revision}/{path:.+}", self._file),
            web.get(api, self._info),
            web.get(f"{api}/revision/{{revision}}", self._info),
            web.get(f"{api}/tree/{{revision}}", self._tree),
            web.get(f"{api}/tree/{{revision}}/{{path:.+}}", self._tree),
            web.post(f"{api}/paths-info/{{revision}}", self._paths_info),
            web.get(f"{api}/refs", self._refs),
            web.get(f"{api}/auth-check", self._may_read),
            web.get(f"{api}/commits/{{revision}}", self._commits),
        )

    async def _file(self, request: web.Request) -> web.Response:
        repo, files = self._asked(request)
        path = request.match_info["path"]
        if path not in files:
            raise refused(web.HTTPNotFound, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit(files)})
        headers = {"ETag": f'"{blob(files[path])}"', "X-Repo-Commit": commit(files)}
        if (repo, path) in self._hub.large:
            return self._hub.storage.elsewhere(path, files[path], headers)
        return self._hub.storage.send(request, files[path], headers)

    async def _info(self, request: web.Request) -> web.Response:
        repo, files = self._asked(request)
        siblings = [{"rfilename": path} for path in files]
        private = repo in self._hub.private
        about = {"id": repo, "sha": commit(files), "private": private, "tags": [], "siblings": siblings}
        return web.json_response(about)

    async def _tree(self, request: web.Request) -> web.Response:
        repo, files = self._asked(request)
        folder = request.match_info.get("path", "")
        if folder and folder not in folders(files):
            raise refused(web.HTTPNotFound, "Entry not found", "EntryNotFound")
        deep = request.query.get("recursive", "").lower() == "true"
        entries = [path for path in (*folders(files), *files) if path.startswith(f"{folder}/" if folder else "")]
        return web.json_response([self._entry(repo, files, path) for path in entries if deep or parent(path) == folder])

    async def _paths_info(self, request: web.Request) -> web.Response:
        repo, files = self._asked(request)
        known = {*folders(files), *files}
        asked = (await request.post()).getall("paths", [])
        return web.json_response([self._entry(repo, files, str(path)) for path in asked if path in known])

    async def _refs(self, request: web.Request) -> web.Response:
        repo, files = self._asked(request)
        found: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
        for name, at in {"main": files, **self._hub.branches.get(repo, {})}.items():
            kind = "pullRequests" if name.startswith("refs/pr/") else "branches"
            ref = name if name.startswith("refs/") else f"refs/heads/{name}"
            found[kind].append({"name": name, "ref": ref, "targetCommit": commit(at)})
        return web.json_response(found)

    async def _may_read(self, request: web.Request) -> web.Response:
        self._asked(request)
        return web.Response()

    async def _commits(self, request: web.Request) -> web.Response:
        repo, _ = self._asked(request)
        made = [made for made in self._hub.commits if (made.repo, made.revision) == (repo, _revision(request))]
        about = [
            {
                "id": one.id,
                "title": one.message,
                "message": one.description,
                "date": LONG_AGO,
                "authors": [{"user": one.author}],
            }
            for one in reversed(made)
        ]
        return web.json_response(about)

    def _asked(self, request: web.Request) -> tuple[str, Files]:
        """Return the repository that a request names and its files, if the request has read access."""
        repo = "{owner}/{name}".format(**request.match_info)
        self._hub.reader(request, repo, repo in self._hub.repos)
        return repo, self._hub.files(repo, _revision(request))

    def _entry(self, repo: str, files: Files, path: str) -> dict[str, Any]:
        if path not in files:
            return {"type": "directory", "path": path, "oid": blob(path.encode()), "size": 0}
        content = files[path]
        entry = {"type": "file", "path": path, "oid": blob(content), "size": len(content)}
        if (repo, path) in self._hub.large:
            entry["lfs"] = {"oid": digest(content), "size": len(content), "pointerSize": 134}
        return entry


def _revision(request: web.Request) -> str:
    return request.match_info.get("revision", "main")
