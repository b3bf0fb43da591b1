"""The command line: `consistent-chat COMMAND`. It has no logic. Each command imports what it needs when it runs.

group.py     the group that all commands belong to: its help, and suggestions for a mistyped command
create.py    commands that make datasets
datasets.py  commands on datasets and response stores that exist
options.py   options made from the descriptions of fields, and messages in terms of options
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from consistent_chat.errors import BatchesPending, BudgetSpent, ConsistentChatError, RecipeError
from consistent_chat.signals import taken_like_ctrl_c

DONE, FAILED, USAGE, BUDGET, STOPPED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 done, 1 failed, 2 wrong usage, 3 stopped by a budget, 130 stopped by Ctrl-C, SIGTERM or SIGHUP.
    """
    import click

    from consistent_chat.text.console import guard, lines_instead_of_bars, log_to_stderr

    log_to_stderr()
    try:
        bars = contextlib.nullcontext() if sys.stderr.isatty() else lines_instead_of_bars()
        with taken_like_ctrl_c(), guard(), bars:
            arguments = None if argv is None else [*argv]
            return all_commands().main(arguments, "consistent-chat", standalone_mode=False) or DONE
    except click.UsageError as error:
        return _say(_with_usage(error), USAGE)
    except BatchesPending as error:  # printed on request
        return _say(error, DONE)
    except BudgetSpent as error:
        return _say(error, BUDGET)
    except RecipeError as error:
        return _say(error, USAGE)
    except (ConsistentChatError, OSError) as error:
        return _say(error, FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _say("Stopped. All answers are kept; rerun to resume.", STOPPED)


def script(argv: Sequence[str]) -> int:
    """Run `publish` if `--publish` names a repo, else `build`; `--recipe` names a recipe file. Return the exit code."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs=1, default=[])
    parser.add_argument("--publish", nargs=1, default=[])
    names, rest = parser.parse_known_args(argv)
    return main(["publish" if names.publish else "build", *names.recipe, *names.publish, *rest])


def all_commands() -> Any:
    """Return the group of all commands. Each file adds its own, in the order of the help."""
    from consistent_chat.cli import create, datasets  # noqa: F401 - imported for the commands that they add
    from consistent_chat.cli.group import cli

    return cli


def _with_usage(error: object) -> str:
    context = getattr(error, "ctx", None)
    message = getattr(error, "format_message", lambda: str(error))()
    if context is None:
        return message
    return f"{message} Run `{context.command_path} --help` for its usage."


def _say(message: object, code: int) -> int:
    from consistent_chat.cli.options import in_options
    from consistent_chat.text.console import complain

    complain(f"consistent-chat: {in_options(str(message))}")
    return code
