"""The destination of a dataset: a dataset repo of the Hub, one of its branches, or a folder in a storage bucket."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from consistent_chat.errors import RecipeError

_NAME = re.compile(r"(?=.{1,96}$)[A-Za-z0-9_](?:[A-Za-z0-9_]|[.-](?![.-]))*(?<![.-])(?<!\.git)")
"""A name that the Hub accepts: letters, digits, `_`, and single `-` or `.` inside."""

_REVISION = re.compile(r"(?![-/.])(?!.*(?:\.\.|//|/\.|@\{|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\]+(?<![./])")
"""A name that git accepts for a branch (git-check-ref-format)."""


@dataclass(frozen=True)
class RepoTarget:
    """A repo (`path` is empty) or a folder of a bucket (`revision` is None)."""

    kind: str
    name: str
    path: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> RepoTarget:
        """Parse "user/repo", "user/repo@branch" or "buckets/user/name/path", also after "hf://"; raises RecipeError."""
        plain = text.removeprefix("hf://").removeprefix("datasets/").rstrip("/")
        if plain.startswith("buckets/"):
            return cls._bucket(text, plain, revision)
        name, _, at = map(urllib.parse.unquote, plain.partition("@"))
        if at and revision and at != revision:
            raise RecipeError(f"{text!r} names the revision {at!r}, but {revision!r} is given. Pass only one of them.")
        if (at or revision) and not _REVISION.fullmatch(at or revision or ""):
            raise RecipeError(f"{at or revision!r} is not the name of a branch. Write letters, digits, and - or _.")
        if name.count("/") != 1 or not _is_name(*name.split("/")) or (not at and "@" in plain):
            raise RecipeError(
                f"{text!r} is not the name of a repo. Write user/repo, or buckets/user/name/path for a bucket: "
                "letters, digits, _, and single - or . in between."
            )
        return cls("datasets", name, revision=at or revision)

    @classmethod
    def _bucket(cls, text: str, plain: str, revision: str | None) -> RepoTarget:
        _, *parts = plain.split("/")
        path = parts[2:]
        if len(parts) < 2 or not _is_name(*parts[:2]) or any(part in ("", ".", "..") for part in path):
            raise RecipeError(f"{text!r} is not a path in a bucket. Write buckets/user/name/path.")
        if revision:
            raise RecipeError(f"{text!r} is in a bucket, which has no revisions. Leave the revision out.")
        return cls("buckets", "/".join(parts[:2]), "/".join(path))

    @property
    def is_bucket(self) -> bool:
        """Whether it is in a bucket."""
        return self.kind == "buckets"

    @property
    def namespace(self) -> str:
        """The user or organisation that owns it."""
        return self.name.partition("/")[0]

    @property
    def title(self) -> str:
        """The last part of the name."""
        return (self.path or self.name).rpartition("/")[2]

    @property
    def url(self) -> str:
        """The address for fsspec."""
        at = f"@{self.revision.replace('/', '%2F')}" if self.revision else ""
        return f"hf://{self.kind}/{self.name}{at}" + (f"/{self.path}" if self.path else "")

    def __str__(self) -> str:
        """Return the name that `load_dataset` takes."""
        return self.name if not self.is_bucket else f"buckets/{self.name}" + (f"/{self.path}" if self.path else "")


def _is_name(*parts: str) -> bool:
    return all(_NAME.fullmatch(part) for part in parts)
