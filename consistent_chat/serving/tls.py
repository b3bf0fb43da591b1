"""TLS contexts that all clients of a process share, because reading the machine's certificates takes about 20 ms."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable

ENVIRONMENT = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Environment variables that name certificates to use instead of the machine's."""

Make = Callable[[], ssl.SSLContext]


def trusted() -> ssl.SSLContext:
    """Return a context that trusts the machine's certificates, and those that come with `certifi`."""
    return shared(_machines)


def shared(make: Make) -> ssl.SSLContext:
    """Return the context that `make` makes; a new one only if the environment names other certificates than before.

    The context is shared: a caller must not change it. `make` must be the same function for the same context.
    """
    return _made(make, tuple(map(_named, ENVIRONMENT)))


def _named(variable: str) -> tuple[str, int]:
    """Return the path that a variable names, and when the file or folder was changed, in nanoseconds."""
    path = os.environ.get(variable, "")
    try:
        return path, os.stat(path).st_mtime_ns if path else 0
    except OSError:
        return path, 0


@functools.lru_cache(maxsize=8)
def _made(make: Make, named: tuple[tuple[str, int], ...]) -> ssl.SSLContext:
    return make()


def _machines() -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        import certifi  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context
