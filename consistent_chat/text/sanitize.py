"""Makes text safe to show: without characters that mislead a reader or parser, and without secrets.

URLs are shown without user names, passwords and queries, which can hold keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, which XML 1.0 and HTML forbid, but for tab and line breaks
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks and overrides of direction (Unicode's Bidi_Control)
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2060-\u2065\u206a-\u206f\u3164\uffa0"  # letters and signs without a look,
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # (Unicode's Default_Ignorable_Code_Point)
    "\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e00ff]"  # separators, halves, tags
)
_JOINED = "[^\x00-\x7f\ufffd\u200b-\u200d]"
_JOINERS = re.compile(f"(?<!{_JOINED})[\u200b-\u200d]|[\u200b-\u200d](?!{_JOINED})")
"""Zero-width spaces and joiners that no script or emoji needs: those that are not between two non-ASCII characters."""


def sanitize(text: str) -> str:
    """Return a text with U+FFFD in place of each invisible character that changes how other text looks.

    That is controls other than tab and line breaks, overrides of the writing direction, unpaired surrogates, tags, and
    what takes no room, unless it joins or parts letters of scripts that need it.
    """
    seen = _UNSEEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _JOINERS.sub("\ufffd", seen)


def sanitize_line(text: str) -> str:
    """Return a text as one line, so that no part of it can look like another message."""
    return " ".join(sanitize(text).split("\n"))


# User and password end before the first slash, unless the password has slashes in it; a port does not begin one. What
# follows an @ in the path of a Hub address is a branch.
_USER = re.compile(r"://(?:[^/\s]*|[^/@:\s]*:(?!\d+/)[^@\s]*)@")
_WORD = re.compile(r"\S+")
_QUERY = re.compile(r"\?[^\s#'\"]*")
_SECRET = re.compile("pass|secret|token|key|sas|auth|connection_string|credential", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Return whether an option or environment variable of this name has a value that must not be shown."""
    return _SECRET.search(name) is not None


def without_user(url: str) -> str:
    """Return a URL without user and password. A query stays: without keys it is part of a file's name."""
    parts, end = [], 0
    for found in _users(url):
        parts += [url[end : found.start()], "://"]
        end = found.end()
    return "".join([*parts, url[end:]])


def without_secrets(url: str) -> str:
    """Return a URL without user, password and query; any other text, such as a path, as it is."""
    if "://" not in url:
        return url
    return _QUERY.sub("", without_user(url))


def secrets_of(url: str) -> list[str]:
    """Return what `without_secrets` leaves out, in whole and in words, the longest first: an error may quote it."""
    users = [match.group().removeprefix("://").removesuffix("@") for match in _users(url)]
    parts = [*users, *(match.group().removeprefix("?") for match in _QUERY.finditer(url))]
    passwords = [user.partition(":")[2] for user in users]
    words = {word for part in parts for word in (part, *re.split("[:&=]", part))}.union(passwords)
    words |= set(map(unquote, words))  # a server is told the password itself, and may quote it
    return sorted((word for word in words if len(word) > 2), key=len, reverse=True)


def _users(text: str) -> Iterator[re.Match[str]]:
    """Yield what `_USER` matches. It searches words up to their last @, so that a failing search is short."""
    for word in _WORD.finditer(text):
        yield from _USER.finditer(text, word.start(), word.start() + word.group().rfind("@") + 1)


def secret_values(options: Mapping[str, Any]) -> list[str]:
    """Return the secret values in options, so that no quoted error shows them."""
    found = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += secret_values(value)
        elif isinstance(value, str) and len(value) > 2 and is_secret(str(name)):
            found.append(value)
    return found


def redact(text: str, url: str, options: Mapping[str, Any] | None = None) -> str:
    """Return a text about a URL without the secrets of the URL and of the options that open it."""
    return redact_all(text, (*secrets_of(url), *secret_values(options or {})))


def redact_all(text: str, secrets: Iterable[str]) -> str:
    """Return a text with [secret] in place of each secret, and its URLs without user, password and query."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return without_secrets(text)
