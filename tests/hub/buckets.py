"""Storage buckets: files by path, without history. Their content is transferred by Xet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.hub.content import LONG_AGO, Files, folders, refused

if TYPE_CHECKING:
    from tests.hub.server import Hub


class Buckets:
    """The routes of buckets."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes and their handlers."""
        api = "/api/buckets/{owner}/{name}"
        return (
            web.post(api, self._create),
            web.get(api, self._info),
            web.delete(api, self._delete),
            web.get(f"{api}/tree", self._tree),
            web.get(f"{api}/tree/{{path:.+}}", self._tree),
            web.post(f"{api}/paths-info", self._paths_info),
            web.post(f"{api}/batch", self._batch),
            web.get("/buckets/{owner}/{name}/resolve/{path:.+}", self._file),
        )

    async def _create(self, request: web.Request) -> web.Response:
        bucket = _name(request)
        self._hub.writer(request, bucket.partition("/")[0])
        if bucket in self._hub.buckets:
            about = {"error": "You already created this bucket", "url": f"{self._hub.url}/buckets/{bucket}"}
            return web.json_response(about, status=409)
        self._hub.buckets[bucket] = {}
        asked = await request.json() if request.can_read_body else {}
        if asked.get("visibility") == "private" or asked.get("private"):
            self._hub.private[f"buckets/{bucket}"] = request.headers["Authorization"].removeprefix("Bearer ")
        return web.json_response({"url": f"{self._hub.url}/buckets/{bucket}"})

    async def _info(self, request: web.Request) -> web.Response:
        bucket, files = self._asked(request)
        about = {"private": f"buckets/{bucket}" in self._hub.private, "createdAt": LONG_AGO}
        size = sum(map(len, files.values()))
        return web.json_response({"id": bucket, **about, "size": size, "totalFiles": len(files)})

    async def _delete(self, request: web.Request) -> web.Response:
        bucket, _ = self._asked(request)
        self._hub.writer(request, bucket.partition("/")[0])
        del self._hub.buckets[bucket]
        return web.Response()

    async def _tree(self, request: web.Request) -> web.Response:
        """List the paths that begin with a prefix as text: "logs" finds "logs/a" and also "logs_of_others/a"."""
        _, files = self._asked(request)
        prefix = request.match_info.get("path", "")
        deep = request.query.get("recursive", "").lower() == "true"
        depth = prefix.count("/") + 1 if prefix else 0
        found = [path for path in (files if deep else (*folders(files), *files)) if path.startswith(prefix)]
        return web.json_response(
            [self._entry(files, path) for path in found if deep or path == prefix in files or path.count("/") == depth]
        )

    async def _paths_info(self, request: web.Request) -> web.Response:
        _, files = self._asked(request)
        asked = (await request.json())["paths"]
        return web.json_response([self._entry(files, path) for path in asked if path in files])

    async def _batch(self, request: web.Request) -> web.Response:
        bucket, files = self._asked(request)
        self._hub.writer(request, bucket.partition("/")[0])
        lines = (await request.read()).splitlines()
        contents = self._hub.storage.xet.taken_over()
        failed = []
        for line in lines:
            change = json.loads(line)
            if change["type"] == "deleteFile":
                files.pop(change["path"], None)
            elif change["xetHash"] in contents:
                files[change["path"]] = contents[change["xetHash"]]
            else:
                failed.append({"path": change["path"], "error": "The file was not uploaded."})
        return web.json_response({"success": not failed, "failed": failed}, status=422 if failed else 200)

    async def _file(self, request: web.Request) -> web.Response:
        _, files = self._asked(request)
        path = request.match_info["path"]
        if path not in files:
            raise refused(web.HTTPNotFound, "Entry not found", "EntryNotFound")
        xet = {"X-Xet-Hash": self._hub.storage.xet.hash(files[path])}
        xet["X-Xet-Refresh-Route"] = f"{self._hub.url}/api/buckets/{_name(request)}/xet-read-token"
        return self._hub.storage.elsewhere(path, files[path], {"ETag": f'"{xet["X-Xet-Hash"]}"', **xet})

    def _asked(self, request: web.Request) -> tuple[str, Files]:
        """Return the bucket that a request names and its files, if the request has read access."""
        bucket = _name(request)
        self._hub.reader(request, f"buckets/{bucket}", bucket in self._hub.buckets)
        return bucket, self._hub.buckets[bucket]

    def _entry(self, files: Files, path: str) -> dict[str, Any]:
        if path not in files:
            return {"type": "directory", "path": path, "uploadedAt": LONG_AGO}
        about = {"xetHash": self._hub.storage.xet.hash(files[path]), "mtime": LONG_AGO, "uploadedAt": LONG_AGO}
        return {"type": "file", "path": path, "size": len(files[path]), **about}


def _name(request: web.Request) -> str:
    return "{owner}/{name}".format(**request.match_info)
