"""The requests that create and change dataset repositories: commits, branches and pull requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

from tests.hub.content import LONG_AGO, USER, Commit, Files, blob, commit, digest, refused

if TYPE_CHECKING:
    from tests.hub.server import Hub

LARGE = (".arrow", ".bin", ".gz", ".parquet", ".png", ".zip")
"""Endings of what goes to large file storage whatever its size."""

REGULAR = 10 * 2**20
"""Bytes that any other file may have before it goes there too."""

NEW: Files = {".gitattributes": b"".join(b"*%b filter=lfs diff=lfs merge=lfs -text\n" % end.encode() for end in LARGE)}


class Writing:
    """The routes that change repos."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes and their handlers."""
        api = "/api/datasets/{owner}/{name}"
        return (
            web.post("/api/repos/create", self._create),
            web.delete("/api/repos/delete", self._delete),
            web.post("/api/validate-yaml", self._validate),
            web.get(f"{api}/auth-check/write", self._may_write),
            web.post(f"{api}/preupload/{{revision}}", self._preupload),
            web.post(f"{api}/commit/{{revision}}", self._commit),
            web.post(f"{api}/branch/{{revision}}", self._branch),
            web.delete(f"{api}/branch/{{revision}}", self._unbranch),
            web.post(f"{api}/tag/{{revision}}", self._tag),
            web.post(f"{api}/discussions", self._discuss),
            web.get(f"{api}/discussions/{{number}}", self._discussion),
        )

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        repo = f"{asked.get('organization') or USER}/{asked['name']}"
        self._hub.writer(request, repo.partition("/")[0])
        about = {"url": f"{self._hub.url}/datasets/{repo}", "name": repo, "id": repo}
        if asked.get("type") != "dataset":
            raise refused(web.HTTPBadRequest, "This Hub has datasets only.")
        if repo in self._hub.repos:
            return web.json_response({"error": "You already created this dataset repo", **about}, status=409)
        self._hub.repos[repo] = dict(NEW)
        if asked.get("visibility") == "private" or asked.get("private"):
            self._hub.private[repo] = request.headers["Authorization"].removeprefix("Bearer ")
        return web.json_response(about)

    async def _delete(self, request: web.Request) -> web.Response:
        asked = await request.json()
        repo = f"{asked.get('organization') or USER}/{asked['name']}"
        self._hub.writer(request, repo.partition("/")[0])
        self._hub.reader(request, repo, repo in self._hub.repos)
        del self._hub.repos[repo]
        return web.Response()

    async def _validate(self, request: web.Request) -> web.Response:
        """Check only that the metadata of a card is a mapping."""
        _, *block = (await request.json())["content"].split("---\n", 2)
        try:
            valid = not block or isinstance(yaml.safe_load(block[0]), dict)
        except yaml.YAMLError:
            valid = False
        errors = [] if valid else [{"message": "The metadata is not valid YAML."}]
        return web.json_response({"errors": errors, "warnings": []}, status=400 if errors else 200)

    async def _may_write(self, request: web.Request) -> web.Response:
        self._writable(request)
        return web.Response()

    async def _preupload(self, request: web.Request) -> web.Response:
        _, files = self._asked(request)
        asked = (await request.json())["files"]
        return web.json_response({"files": [self._mode(files, each["path"], each["size"]) for each in asked]})

    def _mode(self, files: Files, path: str, size: int) -> dict[str, Any]:
        large = path.endswith(LARGE) or size > REGULAR
        known = {"oid": (digest if large else blob)(files[path])} if path in files else {}
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **known}

    async def _commit(self, request: web.Request) -> web.Response:
        header, *changes = [json.loads(line) for line in (await request.read()).splitlines()]
        repo, files = self._asked(request)  # only after the body has arrived, because others may commit meanwhile
        expected = header["value"].get("parentCommit")
        if expected and not commit(files).startswith(expected):
            raise refused(web.HTTPPreconditionFailed, "A commit has happened since. Please refresh and try again.")
        new = dict(files)
        for change in changes:
            self._apply(repo, new, change["key"], change["value"])
        request_for = self._pull(repo) if "create_pr" in request.query else None
        revision = request_for or request.match_info["revision"]
        self._keep(repo, revision, files, new)
        changed = tuple(change["value"]["path"] for change in changes)
        texts = header["value"]["summary"], header["value"].get("description", "")
        self._hub.commits.append(Commit(repo, revision, *texts, changed, commit(new)))
        address = f"{self._hub.url}/datasets/{repo}"
        pull = f"{address}/discussions/{revision.rpartition('/')[2]}" if request_for else None
        about = {"commitUrl": f"{address}/commit/{commit(new)}", "commitOid": commit(new), "pullRequestUrl": pull}
        return web.json_response({"success": True, **about})

    def _apply(self, repo: str, files: Files, kind: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if kind == "file":
            files[path] = base64.b64decode(value["content"])
            self._hub.large.discard((repo, path))
        elif kind == "lfsFile":
            files[path] = self._hub.storage.content(value["oid"])
            self._hub.large.add((repo, path))
        elif kind == "deletedFolder" or (kind == "deletedFile" and path in files):
            for gone in [name for name in files if name == path or name.startswith(path.rstrip("/") + "/")]:
                del files[gone]
        else:
            raise refused(web.HTTPNotFound, "A file with this name doesn't exist", "EntryNotFound")

    def _pull(self, repo: str) -> str:
        pulls = [name for name in self._hub.branches.get(repo, {}) if name.startswith("refs/pr/")]
        return f"refs/pr/{len(pulls) + 1}"

    def _keep(self, repo: str, revision: str, old: Files, new: Files) -> None:
        self._hub.storage.history += [old, new]
        if revision == "main":
            self._hub.repos[repo] = new
        else:
            self._hub.branches.setdefault(repo, {})[revision] = new

    async def _discuss(self, request: web.Request) -> web.Response:
        """Open a pull request without changes. Other discussions are refused."""
        repo = self._writable(request)
        if not (await request.json()).get("pullRequest"):
            raise refused(web.HTTPBadRequest, "This Hub has pull requests only.")
        name = self._pull(repo)
        self._name(repo, name, self._hub.repos[repo])
        return web.json_response({"num": int(name.rpartition("/")[2])})

    async def _discussion(self, request: web.Request) -> web.Response:
        about = {"num": int(request.match_info["number"]), "title": "A pull request", "status": "draft", "events": []}
        changes = {"isPullRequest": True, "changes": {"base": "refs/heads/main"}, "filesWithConflicts": []}
        where = {"repo": {"name": self._writable(request), "type": "dataset"}, "createdAt": LONG_AGO}
        return web.json_response({**about, **changes, **where})

    async def _branch(self, request: web.Request) -> web.Response:
        repo = self._writable(request)
        name = request.match_info["revision"]
        start = (await request.json() if request.can_read_body else {}).get("startingPoint", "main")
        return self._name(repo, name, self._hub.files(repo, start))

    async def _tag(self, request: web.Request) -> web.Response:
        repo, files = self._asked(request)
        return self._name(repo, (await request.json())["tag"], files)

    def _name(self, repo: str, name: str, files: Files) -> web.Response:
        if name == "main" or name in self._hub.branches.get(repo, {}):
            raise refused(web.HTTPConflict, "Reference already exists")
        self._hub.branches.setdefault(repo, {})[name] = dict(files)
        return web.Response()

    async def _unbranch(self, request: web.Request) -> web.Response:
        repo = self._writable(request)
        self._hub.branches[repo].pop(request.match_info["revision"])
        return web.Response()

    def _asked(self, request: web.Request) -> tuple[str, Files]:
        repo = self._writable(request)
        return repo, self._hub.files(repo, request.match_info["revision"])

    def _writable(self, request: web.Request) -> str:
        """Return the repository that a request names, if the request has write access."""
        repo = "{owner}/{name}".format(**request.match_info)
        self._hub.reader(request, repo, repo in self._hub.repos)
        self._hub.writer(request, request.match_info["owner"])
        return repo
