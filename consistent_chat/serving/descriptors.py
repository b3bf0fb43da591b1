"""Limits connections to what the limit of open files (`ulimit -n`) allows."""

from __future__ import annotations

import logging
import os

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

RESERVE = 32
"""Open files reserved for other uses: journals, packs, the dataset, modules that are imported later."""


def connection_limit(wanted: int) -> int:
    """Return how many connections fit into the limit of open files, and warn if that is fewer than requested.

    The limit is raised first, as far as the system allows.
    """
    if resource is None:
        return wanted
    limit = _raised(wanted + RESERVE + _open())
    room = wanted if limit == resource.RLIM_INFINITY else max(1, min(wanted, limit - RESERVE - _open()))
    if room < wanted:
        logger.warning(
            "At most %d of %d connections will be open at once, since this process may open %d files. Raise the limit "
            "(ulimit -n), or lower max_concurrency=.",
            room,
            wanted,
            limit,
        )
    return room


def _raised(needed: int) -> int:
    """Return the limit of open files, raised to `needed` if it is lower and may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return soft
    better = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (better, hard))
    except (OSError, ValueError):  # a system with a second limit
        return soft
    return better


def _open() -> int:
    """Return how many files are open; an estimate where the system has no list of them."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return RESERVE
