"""What several commands take: a recipe with its fields and how to make it, a response store."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from consistent_chat.recipe import LAYOUTS


def add_command(commands: Any, name: str, run: Callable[..., int | None], about: str) -> Any:
    """Add a command of this name, which calls `run` with its arguments by name, and return its parser."""
    command = commands.add_parser(name, help=about, description=run.__doc__)
    command.set_defaults(run=run)
    return command


def add_recipe(
    command: Any,
    name: str = "recipe",
    metavar: str = "RECIPE",
    about: str = 'a recipe file, or "demo"; or give the fields',
) -> None:
    """Add a recipe, all its fields, and all that is operational."""
    command.add_argument(name, nargs="?", metavar=metavar, help=about)
    _add_recipe_options(command.add_argument_group("what to make (each wins over the recipe file)"))
    _add_operational_options(command.add_argument_group("how to make it"))


def add_detach(command: Any) -> None:
    """Add the choice not to wait for batches."""
    command.add_argument("--detach", action="store_true", help="with --driver batch: submit, and collect another time")


def add_store(command: Any) -> None:
    """Add a response store."""
    command.add_argument("store", nargs="?", metavar="STORE", help="path or URL (the default store)")
    add_storage_options(command)


def count(text: str) -> int:
    """Return a whole number of at least 1, as an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number of at least 1")
    return int(text)


def add_storage_options(group: Any) -> None:
    """Add the options of a filesystem."""
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
    group.add_argument("--personas", nargs="+", action="extend", metavar="TEXT", help="who the users are")
    group.add_argument("--manners", nargs="+", action=_Pairs, metavar="NAME=TEXT", help="how the users write")
    group.add_argument("--system-prompt", metavar="TEXT", help="what the assistant is told before the conversation")
    group.add_argument(
        "--splits", nargs="+", action=_Pairs, metavar="NAME=N", help="dialogues for each intent by split"
    )
    group.add_argument(
        "--drop-near-duplicates",
        nargs="?",
        const=True,
        type=_share,
        metavar="SIMILARITY",
        help="replace dialogues that are so much like an earlier one (0.7)",
    )
    group.add_argument("--layout", choices=LAYOUTS, help="names in a row (conversation)")
    group.add_argument(
        "--provenance", action=argparse.BooleanOptionalAction, help="whether rows say where they come from"
    )
    group.add_argument(
        "--checks", type=checks_option, metavar="JSON", help="true, false or thresholds of the checks (true)"
    )
    group.add_argument("--judge-model", metavar="MODEL", help="the model that scores each dialogue (nobody)")
    group.add_argument("--min-score", type=float, metavar="N", help="answers are drawn anew below it, 1 to 5")


def _add_operational_options(group: Any) -> None:
    group.add_argument("--serving", help="anthropic, openai, huggingface, rehearsal or a plugin; none calls nobody")
    group.add_argument("--base-url", metavar="URL", help="the server's address")
    group.add_argument("--api-key", metavar="KEY", help="better set the provider's environment variable")
    group.add_argument(
        "--responses", action="append", metavar="URL", help="a response store; of several, the first is written"
    )
    add_storage_options(group)
    group.add_argument("--mode", help="record, replay or refresh (record)")
    group.add_argument("--driver", help="online, or batch: the provider's batch API, at half the price (online)")
    group.add_argument("--max-concurrency", type=int, metavar="N", help="calls in flight (30)")
    group.add_argument("--max-draws", type=int, metavar="N", help="how often a request is asked (4)")
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="for one call (600)")
    group.add_argument("--max-cost", type=float, metavar="DOLLARS", help="stop before this is passed")
    group.add_argument("--max-calls", type=int, metavar="N", help="stop after so many answered calls")
    group.add_argument("--max-requests-per-minute", type=int, metavar="N", help="the account's limit")
    group.add_argument(
        "--max-tokens-per-minute", type=int, metavar="N", help="the same of prompts and answers together"
    )


class _Pairs(argparse.Action):
    """Puts `NAME=VALUE` into a dict, whole numbers as such."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        pairs = dict(getattr(namespace, self.dest) or {})
        for given in values:
            name, equals, value = given.partition("=")
            if not equals:
                raise argparse.ArgumentError(self, f"give {self.metavar}, not {given!r}")
            if name in pairs:
                raise argparse.ArgumentError(self, f"{name!r} is given twice")
            pairs[name] = int(value) if value.isdecimal() else value
        setattr(namespace, self.dest, pairs)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"give a number from 0.1 to 1, or none and the recipe before it, not {text!r}"
        ) from None


def checks_option(text: str) -> Any:
    """Return the value of --checks, which is JSON."""
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError('give true, false or a JSON object, such as {"repeats": 0.9}') from None


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('give a JSON object, such as {"anon": true}')
    return value
