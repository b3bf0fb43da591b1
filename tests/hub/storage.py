"""The storage of large files, at another address: uploaded by LFS, or by Xet into local folders.

There is no server for Xet. A token whose `casUrl` is `local:///folder` makes hf_xet work in that folder, which is
undocumented. Only one process at a time can open a folder, so every client gets a separate one, and the storage copies
what it finds in these folders.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.hub.content import Files, digest, part, refused

if TYPE_CHECKING:
    from tests.hub.server import Hub

ENDED = 1
"""When a token for Xet has ended, in seconds since 1970: clients would else go on reading in a folder that is old."""


class Storage:
    """All content by its SHA-256, and its routes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.objects: dict[str, bytes] = {}
        self.history: list[Files] = []  # the earlier files of branches
        self.xet = Xet()

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes and their handlers."""
        return (
            web.post("/datasets/{owner}/{name}.git/info/lfs/objects/batch", self._batch),
            web.put("/storage/{digest}", self._put),
            web.post("/storage/{digest}", self._verify),
            web.get("/storage/{digest}/{path:.+}", self._stored),
            web.get("/api/{kind}/{owner}/{name}/xet-{purpose}-token", self._token),
            web.get("/api/{kind}/{owner}/{name}/xet-{purpose}-token/{revision}", self._token),
        )

    def close(self) -> None:
        """Delete the folders of Xet."""
        self.xet.close()

    def content(self, oid: str) -> bytes:
        """Return the content with this SHA-256, uploaded by LFS or by Xet."""
        if oid not in self.objects:
            self.objects.update((digest(content), content) for content in self.xet.taken_over().values())
        if oid not in self.objects:
            raise refused(web.HTTPBadRequest, f"The file {oid} was not uploaded.")
        return self.objects[oid]

    def send(self, request: web.Request, content: bytes, headers: Mapping[str, str]) -> web.Response:
        """Return a response with a file, or with the range of it that the request asks for."""
        response = part(request, content, headers)
        self._hub.sent += len(response.body) if request.method == "GET" else 0  # type: ignore[arg-type]
        return response

    def elsewhere(self, path: str, content: bytes, headers: Mapping[str, str]) -> web.Response:
        """Return a redirection to the address of a large file."""
        self.objects[digest(content)] = content
        linked = {"X-Linked-ETag": f'"{digest(content)}"', "X-Linked-Size": str(len(content))}
        place = f"{self._hub.elsewhere}/storage/{digest(content)}/{path}"
        return web.Response(status=302, headers={**headers, **linked, "Location": place})

    async def _batch(self, request: web.Request) -> web.Response:
        self._hub.writer(request, request.match_info["owner"])
        asked = (await request.json())["objects"]
        return web.json_response({"transfer": "basic", "objects": [self._where(each) for each in asked]})

    def _where(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.objects:
            return asked
        place = {"href": f"{self._hub.elsewhere}/storage/{asked['oid']}"}
        return {**asked, "actions": {"upload": place, "verify": place}}

    async def _put(self, request: web.Request) -> web.Response:
        content = await request.read()
        if digest(content) != request.match_info["digest"]:
            raise refused(web.HTTPBadRequest, "The file's SHA-256 is another one.")
        self.objects[digest(content)] = content
        return web.Response()

    async def _verify(self, request: web.Request) -> web.Response:
        self.content((await request.json())["oid"])
        return web.Response()

    async def _stored(self, request: web.Request) -> web.Response:
        return self.send(request, self.objects[request.match_info["digest"]], {})

    async def _token(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], "{owner}/{name}".format(**request.match_info)
        known = self._hub.buckets if kind == "buckets" else self._hub.repos
        self._hub.reader(request, f"buckets/{name}" if kind == "buckets" else name, name in known)
        if request.match_info["purpose"] == "write":
            self._hub.writer(request, request.match_info["owner"])
        folder = self.xet.lend(filled=request.match_info["purpose"] == "read")
        headers = {"X-Xet-Cas-Url": folder, "X-Xet-Access-Token": "any", "X-Xet-Token-Expiration": str(ENDED)}
        return web.json_response({"casUrl": folder, "accessToken": "any", "exp": ENDED}, headers=headers)


class Xet:
    """Content by its Xet hash, in a folder of hf_xet, and the copies of that folder that clients use."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="consistent_chat-xet-"))
        self._lent: list[Path] = []
        self._known: dict[str, bytes] = {}
        self.hash = functools.lru_cache(maxsize=None)(self._hash)

    def close(self) -> None:
        """Delete the folders."""
        shutil.rmtree(self._folder)

    def lend(self, filled: bool) -> str:
        """Return the address of a separate folder for one client, with all content in it or empty."""
        folder = self._folder / f"lent-{len(self._lent)}"
        self._lent.append(folder)
        if filled and self._own.exists():
            shutil.copytree(self._own, folder)
        return f"local://{folder}"

    def taken_over(self) -> dict[str, bytes]:
        """Return all content, including what clients have written into their folders."""
        for folder in self._lent:
            found = [key for shard in folder.glob("xet/xorbs/shards/*.mdb") for key in _files_of(shard.read_bytes())]
            new = [key for key in found if key not in self._known]
            for key, content in self._read(folder, new).items() if new else ():
                if self.hash(content) == key:  # otherwise its client is still writing
                    self._known[key] = content
        return self._known

    @property
    def _own(self) -> Path:
        return self._folder / "own"

    def _hash(self, content: bytes) -> str:
        """Add content to the folder that clients get copies of, and return its Xet hash."""
        import hf_xet

        with hf_xet.XetSession().new_upload_commit(**_address(self._own)) as uploads:
            upload = uploads.start_upload_bytes(content, sha256=hf_xet.SKIP_SHA256)
        name: str = upload.result().xet_info.hash
        self._known[name] = content
        return name

    def _read(self, folder: Path, names: list[str]) -> dict[str, bytes]:
        """Read files from a copy of a folder, because a client may still have the folder open."""
        import hf_xet

        copy = Path(tempfile.mkdtemp(dir=self._folder))
        shutil.copytree(folder, copy / "cas")
        with hf_xet.XetSession().new_file_download_group(**_address(copy / "cas")) as downloads:
            for name in names:
                downloads.start_download_file(hf_xet.XetFileInfo(name, None), str(copy / name))
        return {name: (copy / name).read_bytes() for name in names}


def _address(folder: Path) -> dict[str, Any]:
    return {"endpoint": f"local://{folder}", "token": "any", "token_expiry_unix_secs": ENDED}


def _files_of(shard: bytes) -> Iterator[str]:
    """Yield the hashes of the files in a shard of Xet. A shard has rows of 48 bytes, several for each file."""
    at = 48
    while (name := shard[at : at + 32]) != b"\xff" * 32:
        flags, segments = (int.from_bytes(shard[at + start : at + start + 4], "little") for start in (32, 36))
        verified, described = flags >> 31 & 1, flags >> 30 & 1
        at += 48 * (1 + segments * (1 + verified) + described)
        yield "".join(f"{int.from_bytes(name[start : start + 8], 'little'):016x}" for start in range(0, 32, 8))
