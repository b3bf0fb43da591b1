"""The content of a Hub, which is files, commits and folders, and the ids of this content."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

Files = dict[str, bytes]

LONG_AGO = "2026-01-01T00:00:00.000Z"
"""When all was made: nothing here depends on a clock."""

USER = "me"
"""Whose Hub it is: the tokens are this user's, who may write in this namespace alone."""


@dataclass(frozen=True)
class Commit:
    """One commit as it arrived: the repository, the revision, and the paths that it changed."""

    repo: str
    revision: str
    message: str
    description: str
    changed: tuple[str, ...]
    id: str
    author: str = USER


def commit(files: Files) -> str:
    """Return the id of the commit whose repository has these files."""
    return hashlib.sha1(repr(sorted((path, blob(content)) for path, content in files.items())).encode()).hexdigest()


@functools.lru_cache
def blob(content: bytes) -> str:
    """Return the id that git gives to a file."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file, which is its id in large file storage."""
    return hashlib.sha256(content).hexdigest()


def folders(files: Files) -> list[str]:
    """Return all folders that contain files, and their parent folders."""
    parts = [path.split("/")[:-1] for path in files]
    return sorted({"/".join(names[: depth + 1]) for names in parts for depth in range(len(names))})


def parent(path: str) -> str:
    """Return the folder of a path."""
    return path.rpartition("/")[0]


def part(request: web.Request, content: bytes, headers: Mapping[str, str]) -> web.Response:
    """Return a response with the range of a file that the request asks for, or with the whole file."""
    start = request.http_range.start or 0
    asked = content[request.http_range]
    status = 206 if "Range" in request.headers else 200
    ranged = {"Content-Range": f"bytes {start}-{start + len(asked) - 1}/{len(content)}"} if status == 206 else {}
    return web.Response(status=status, body=asked, headers={**headers, **ranged, "Accept-Ranges": "bytes"})


def refused(kind: type[web.HTTPError], message: str, code: str = "", **headers: str) -> web.HTTPError:
    """Return an error in the Hub's format, in which the code determines the exception that clients raise."""
    about = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}
    return kind(headers=about)
