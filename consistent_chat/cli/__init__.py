"""The command line: `consistent-chat COMMAND`, one file a command. It sees everything and holds no logic of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from consistent_chat.cli import batches, build, check, estimate, pack, preview, publish, report, verify, warm
from consistent_chat.errors import BatchesPending, BudgetSpent, ConsistentChatError, RecipeError

COMMANDS = (build, preview, warm, estimate, batches, report, publish, pack, verify, check)
"""Modules with a function `add`, which adds the command's parser. A parser's `run` gets the arguments by name, and
returns an exit code, or None when all is well."""

DONE, FAILED, USAGE, BUDGET, STOPPED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong usage, 3 stopped by a budget, 130 by Ctrl-C."""
    arguments = vars(_parser().parse_args(argv))
    run = arguments.pop("run")
    try:
        return run(**arguments) or DONE
    except BatchesPending as error:  # as asked for
        return _say(error, DONE)
    except BudgetSpent as error:
        return _say(error, BUDGET)
    except RecipeError as error:
        return _say(error, USAGE)
    except (ConsistentChatError, OSError) as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        return _say("Stopped. All answers are kept; run again to go on.", STOPPED)


def script(argv: Sequence[str]) -> int:
    """Run `publish` where `--publish` names a repo, else `build`, as main does; `--recipe` names a recipe file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs=1, default=[])
    parser.add_argument("--publish", nargs=1, default=[])
    names, rest = parser.parse_known_args(argv)
    return main(["publish" if names.publish else "build", *names.recipe, *names.publish, *rest])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="consistent-chat", description="Many-turn dialogues that hold together.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _say(message: object, code: int) -> int:
    print(f"consistent-chat: {message}", file=sys.stderr)
    return code
