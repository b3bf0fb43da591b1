"""URLs as they are shown: without user names, passwords and queries, which can hold keys."""

from __future__ import annotations

import re

# User and password end before the first slash, unless the password has slashes in it; a port does not begin one. What
# follows an @ in the path of a Hub address is a branch.
_USER = re.compile(r"://(?:[^/\s]*|[^/@:\s]*:(?!\d+/)[^@\s]*)@")
_QUERY = re.compile(r"\?[^\s#'\"]*")


def without_user(url: str) -> str:
    """Return a URL without user and password. A query stays: where it holds no keys it is part of a file's name."""
    return _USER.sub("://", url)


def without_secrets(url: str) -> str:
    """Return a URL without user, password and query; other text, a path among it, as it is."""
    if "://" not in url:
        return url
    return _QUERY.sub("", without_user(url))


def secrets_of(url: str) -> list[str]:
    """Return what `without_secrets` leaves out, in whole and in words, the longest first: an error may quote it."""
    parts = [match.group().strip(":/?@") for pattern in (_USER, _QUERY) for match in pattern.finditer(url)]
    words = {word for part in parts for word in (part, *re.split("[:&=]", part))}
    return sorted((word for word in words if len(word) > 2), key=len, reverse=True)
