"""`consistent-chat pack`: a response store in few large packs."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_store


def add(commands: Any) -> None:
    """Add the command."""
    add_store(add_command(commands, "pack", run, "tidy a response store: few large packs"))


def run(store: str | None, storage_options: dict[str, Any] | None) -> None:
    """Pack a store's journals, and put its small packs together."""
    from consistent_chat.store import compact, default_location

    url = default_location() if store is None else store
    print(f"{url}: {compact(url, storage_options)}", file=sys.stderr)
