"""All commands, in the order of the help."""

from __future__ import annotations

from consistent_chat.cli import commands, stores
from consistent_chat.cli.root import cli

__all__ = ["cli", "commands", "stores"]
