"""The command line: `consistent-chat COMMAND`. It sees everything and holds no logic of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from consistent_chat.errors import BudgetSpent, ConsistentChatError, RecipeError
from consistent_chat.recipe import LAYOUTS

DONE, FAILED, USAGE, BUDGET = range(4)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong usage, 3 stopped by a budget."""
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        return command(**arguments) or DONE
    except BudgetSpent as error:
        return _say(error, BUDGET)
    except RecipeError as error:
        return _say(error, USAGE)
    except (ConsistentChatError, OSError) as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        return _say("Stopped. All answers are kept; run again to go on.", 130)


def build(recipe: str | None, output: str, verbose: bool, **options: Any) -> None:
    """Build a dataset and write it to a file or folder."""
    from consistent_chat import export

    if verbose:
        _say_all()
    print(export.build(recipe, output, **options), file=sys.stderr)


def estimate(recipe: str | None, pilot: int, **options: Any) -> None:
    """Tell what a build would still take: calls, tokens, dollars. Nothing is called, but for a pilot."""
    from consistent_chat.drive import Tally
    from consistent_chat.estimate import estimate
    from consistent_chat.opening import open_builder

    builder = open_builder(recipe, **options)
    for split, plan in builder.plans().items():
        if pilot:
            tally = Tally()
            for _ in builder.dialogues(split, range(min(pilot, len(plan))), tally):
                pass
            print(f"{split}: pilot of {tally}", file=sys.stderr)
        print(f"{split}: {estimate(builder.recipes[split], plan, builder.store())}")


def pack(store: str | None, storage_options: dict[str, Any] | None) -> None:
    """Pack a store's journals, and put its small packs together."""
    from consistent_chat.store import default_location, tidy

    url = default_location() if store is None else store
    print(f"{url}: {tidy(url, storage_options)}", file=sys.stderr)


def verify(store: str | None, storage_options: dict[str, Any] | None) -> int:
    """Check a whole store, and list what is wrong."""
    from consistent_chat.store import default_location, verify

    url = default_location() if store is None else store
    checked = verify(url, storage_options)
    print(*checked.faults, sep="\n", end="\n" if checked.faults else "")
    return _say(f"{url}: {checked}", FAILED if checked.faults else DONE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="consistent-chat", description="Many-turn dialogues that hold together.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_build(_command(commands, build, "build a dataset and write it to a file or folder"))
    command = _command(commands, estimate, "tell calls, tokens and dollars before a build")
    command.add_argument("--pilot", type=_count, default=0, metavar="N", help="make the first N dialogues, and measure")
    _add_recipe(command)
    for act, about in ((pack, "tidy a response store: few large packs"), (verify, "check a whole response store")):
        command = _command(commands, act, about)
        command.add_argument("store", nargs="?", metavar="STORE", help="path or URL (the default store)")
        _add_storage_options(command)
    return parser


def _command(commands: Any, act: Callable[..., int | None], about: str) -> Any:
    command = commands.add_parser(act.__name__, help=about, description=f"{act.__doc__}")
    command.set_defaults(command=act)
    return command


def _add_build(command: Any) -> None:
    command.add_argument("--output", required=True, metavar="PATH", help="a .parquet or .jsonl file, or a folder")
    command.add_argument("--num-proc", type=int, help="processes that build side by side")
    command.add_argument("--failures", metavar="FILE", help="a .parquet or .jsonl file for answers that were of no use")
    command.add_argument("-v", "--verbose", action="store_true", help="say of each of them why, as it comes")
    _add_recipe(command)


def _add_recipe(command: Any) -> None:
    command.add_argument("recipe", nargs="?", metavar="RECIPE", help='a recipe file, or "demo"; or give the fields')
    _add_recipe_options(command.add_argument_group("what to make (each wins over the recipe file)"))
    _add_operational_options(command.add_argument_group("how to make it"))


def _add_storage_options(group: Any) -> None:
    group.add_argument("--storage-options", type=_json, metavar="JSON", help="options for the store's filesystem")


def _add_recipe_options(group: Any) -> None:
    group.add_argument("--model", help="the model that writes the dialogues")
    group.add_argument("--num-dialogs-per-intent", type=int, metavar="N", help="dialogues for each intent (20)")
    group.add_argument("--num-turns-per-dialog", type=int, metavar="N", help="user messages in a dialogue (6)")
    group.add_argument("--temperature", type=float, metavar="T", help="sampling temperature, 0 to 2 (0.9)")
    group.add_argument("--seed", type=int, metavar="N", help="which specs are drawn (0)")
    group.add_argument("--intents", nargs="+", action="extend", metavar="INTENT", help="the intents to use (all)")
    group.add_argument("--language", help="language of the dialogues (English)")
    group.add_argument("--taxonomy", metavar="FILE", help="path or URL of a taxonomy of your own")
    group.add_argument("--layout", choices=LAYOUTS, help="names in a row (conversation)")
    group.add_argument(
        "--provenance", action=argparse.BooleanOptionalAction, help="whether rows say where they come from"
    )


def _add_operational_options(group: Any) -> None:
    group.add_argument("--serving", help="anthropic, openai, huggingface, rehearsal or a plugin; none calls nobody")
    group.add_argument("--base-url", metavar="URL", help="the server's address")
    group.add_argument("--api-key", metavar="KEY", help="better set the provider's environment variable")
    group.add_argument(
        "--responses", action="append", metavar="URL", help="a response store; of several, the first is written"
    )
    _add_storage_options(group)
    group.add_argument("--mode", help="record, replay or refresh (record)")
    group.add_argument("--max-concurrency", type=int, metavar="N", help="calls in flight (30)")
    group.add_argument("--max-draws", type=int, metavar="N", help="how often a request is asked (4)")
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="for one call (600)")
    group.add_argument("--max-cost", type=float, metavar="DOLLARS", help="stop before this is passed")
    group.add_argument("--max-calls", type=int, metavar="N", help="stop after so many answered calls")
    group.add_argument("--max-requests-per-minute", type=int, metavar="N", help="the account's limit")
    group.add_argument(
        "--max-tokens-per-minute", type=int, metavar="N", help="the same of prompts and answers together"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number of at least 1")
    return int(text)


def _json(text: str) -> Any:
    import json

    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('give a JSON object, such as {"anon": true}')
    return value


def _say_all() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("consistent_chat")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _say(message: object, code: int) -> int:
    print(f"consistent-chat: {message}", file=sys.stderr)
    return code
