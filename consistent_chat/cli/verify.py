"""`consistent-chat verify`: whether every byte is what was written."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_store


def add(commands: Any) -> None:
    """Add the command."""
    add_store(add_command(commands, "verify", run, "check a whole response store"))


def run(store: str | None, storage_options: dict[str, Any] | None) -> int:
    """Check a whole store, and list what is wrong."""
    from consistent_chat.store import default_location, verify

    url = default_location() if store is None else store
    checked = verify(url, storage_options)
    print(*checked.faults, sep="\n", end="\n" if checked.faults else "")
    print(f"consistent-chat: {url}: {checked}", file=sys.stderr)
    return 1 if checked.faults else 0
