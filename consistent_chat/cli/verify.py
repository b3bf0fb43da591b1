"""`consistent-chat verify`: whether a dataset is what it says, or every byte of a response store what was written."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_storage_options


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "verify", run, "prove a published dataset, or check a whole response store")
    command.add_argument(
        "what", nargs="?", metavar="WHAT", help="user/repo, or a store's path or URL (the default store)"
    )
    add_storage_options(command)


def run(what: str | None, storage_options: dict[str, Any] | None) -> int:
    """Rebuild a published dataset and compare, or check a whole response store; list what is wrong.

    What has a consistent_chat.json is a dataset, as is user/repo where no such path is on this machine.
    """
    from consistent_chat import publishing, store

    url = store.default_location() if what is None else what
    check: Any = publishing.verify if publishing.is_dataset(url, storage_options) else store.verify
    found = check(url, storage_options=storage_options)
    print(*found.faults, sep="\n", end="\n" if found.faults else "")
    print(*getattr(found, "notes", ()), f"consistent-chat: {url}: {found}", sep="\n", file=sys.stderr)
    return 1 if found.faults else 0
