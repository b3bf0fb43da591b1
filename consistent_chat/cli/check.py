"""`consistent-chat check`: what is wrong with the chats of any dataset, without a model."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_storage_options, checks_option


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "check", run, "find what is wrong with the chats of any dataset")
    command.add_argument(
        "source", metavar="DATASET", help="a file (.jsonl, .json, .parquet), folder, store or user/repo"
    )
    command.add_argument("--output", metavar="FILE", help="write a JSON line a row: its id and reasons")
    command.add_argument("--language", metavar="NAME", help="the chats' language (default: found out of each chat)")
    command.add_argument("--checks", type=checks_option, metavar="JSON", help="checks and thresholds, as in a recipe")
    add_storage_options(command)


def run(source: str, output: str | None, language: str | None, checks: Any, storage_options: Any) -> None:
    """Print how many findings of each reason there are on each side. Nothing is called, nothing is changed."""
    from consistent_chat.report.check import check_chats
    from consistent_chat.report.terminal import show_checks

    report = check_chats(source, output, language, checks, storage_options)
    show_checks(report.counts)
    written = f" The reasons of each row are in {output}." if output else ""
    print(f"consistent-chat: {report.flagged:,} of {report.chats:,} chats have findings.{written}", file=sys.stderr)
