"""Files of notes: what this machine has computed about responses before, which can be deleted at any time.

A note lies in a folder that is named by an identity of all that its content depends on. Notes belong to this machine
and this user: they are neither read from a store nor written to one.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

from consistent_chat.errors import StoreError
from consistent_chat.files import NO_LINKS, PRIVATE, atomic_write, make_private_folder, read_plain
from consistent_chat.store.location import home

DIGEST_BYTES = 32


def note_folder(kind: str, identity: str) -> Path | None:
    """Return the folder of the notes of a kind with an identity; None without an identity or a home folder."""
    try:
        return home() / kind / identity if identity else None
    except StoreError:  # this user has no home folder
        return None


def read_note(path: Path, limit: int) -> bytes:
    """Return the content of a note of at most `limit` bytes; empty if the file is missing, truncated or damaged."""
    with contextlib.suppress(OSError):
        note = read_plain(path, DIGEST_BYTES + limit, NO_LINKS)
        digest, content = note[:DIGEST_BYTES], note[DIGEST_BYTES:]
        if digest == _digest(path, content):
            return content
    return b""


def write_note(path: Path, content: bytes) -> None:
    """Replace a note. Raises OSError."""
    make_private_folder(path.parent)
    with atomic_write(path, PRIVATE) as file:
        file.write(_digest(path, content) + content)


def remove_oldest(folder: Path, count: int) -> None:
    """Remove all but the last written folders of notes of a kind. Raises OSError."""
    if folder.exists():
        kept = sorted(folder.iterdir(), key=lambda one: one.lstat().st_mtime, reverse=True)
        for oldest in kept[count:]:
            shutil.rmtree(oldest, ignore_errors=True)


def _digest(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(f"{path.parent.name} {path.name}\n".encode() + content).digest()
