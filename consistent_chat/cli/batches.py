"""`consistent-chat batches`: what was submitted to a provider and is not in the store yet."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_storage_options, count


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "batches", run, "list a store's batches, and how they are getting on")
    command.add_argument("--responses", metavar="URL", help="the response store (the default store)")
    add_storage_options(command)
    command.add_argument("--base-url", metavar="URL", help="the server's address")
    command.add_argument("--api-key", metavar="KEY", help="better set the provider's environment variable")
    command.add_argument("--all", action="store_true", help="also those that are collected")
    command.add_argument("--forget", type=count, metavar="NUMBER", help="give a batch up: its requests are asked anew")


def run(
    responses: str | None, storage_options: dict[str, Any] | None, all: bool, forget: int | None, **address: Any
) -> None:
    """List the batches of a response store that are not collected, each with what the provider says of it."""
    from consistent_chat.commands.batches import forgotten, listed
    from consistent_chat.store import default_location

    url = default_location() if responses is None else responses
    if forget is not None:
        print(f"{forgotten(url, storage_options, forget)}: given up.", file=sys.stderr)
        return
    lines = listed(url, storage_options, closed=all, **address)
    print(*(lines or [f"{url}: no batch is under way."]), sep="\n")
