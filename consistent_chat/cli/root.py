"""The command `consistent-chat` itself, to which all others belong, and the sections of its help."""

from __future__ import annotations

import functools

import click

from consistent_chat.cli.group import Command, Commands
from consistent_chat.version import __version__

MAKE, SHOW, SHARE, KEEP = "Make a dataset", "Look at it", "Share it", "Response stores"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="consistent-chat", message="%(prog)s %(version)s")
def cli() -> None:
    """Make consistent multi-turn dialogues.

    RECIPE is a recipe file or "demo"; its fields can also be given as options. Exit codes: 0 done, 1 failed, 2 wrong
    usage, 3 stopped by --max-calls or --max-cost, 130 stopped by Ctrl-C, SIGTERM or SIGHUP with all answers kept.
    """


command = functools.partial(cli.command, cls=Command)
