"""`consistent-chat build`: a dataset as a file or folder."""

from __future__ import annotations

import logging
import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_detach, add_recipe


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "build", run, "build a dataset and write it to a file or folder")
    command.add_argument("--output", required=True, metavar="PATH", help="a .parquet or .jsonl file, or a folder")
    command.add_argument("--num-proc", type=int, help="processes that build side by side")
    command.add_argument("--failures", metavar="FILE", help="a .parquet or .jsonl file for answers that were of no use")
    add_detach(command)
    command.add_argument("-v", "--verbose", action="store_true", help="say of each of them why, as it comes")
    add_recipe(command)


def run(recipe: str | None, output: str, verbose: bool, **options: Any) -> None:
    """Build a dataset and write it to a file or folder."""
    from consistent_chat.commands import build

    if verbose:
        _say_all()
    print(build.build(recipe, output, **options), file=sys.stderr)


def _say_all() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("consistent_chat")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
