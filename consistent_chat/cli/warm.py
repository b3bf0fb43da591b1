"""`consistent-chat warm`: the responses of a dataset, or of a shard of it, without the dataset."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any

from consistent_chat.cli.options import add_command, add_detach, add_recipe
from consistent_chat.errors import RecipeError


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "warm", run, "fill the response store, here or with other processes")
    by = command.add_mutually_exclusive_group()
    by.add_argument("--shard", default="1/1", metavar="I/N", help="the I-th of N parts alone: 1/16 to 16/16")
    by.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="with a Ray cluster: this machine's, or the one at ADDRESS",
    )
    add_detach(command)
    add_recipe(command)


def run(recipe: str | None, shard: str, ray: str | None, **options: Any) -> None:
    """Fill the response store and write no dataset: all of it, one shard of it, or all of it with a Ray cluster."""
    if recipe is None and ray and ray.endswith((".yaml", ".yml")):
        raise RecipeError(f"--ray takes {ray} for the address of a cluster: put the recipe before it.")
    with _heeding_schedulers():
        tallies = _tallies(recipe, shard, ray, options)
    done = "; ".join(f"{split}: {tally}" for split, tally in tallies.items())
    whole = "" if shard == "1/1" else f"shard {shard}, "
    print(f"warmed {whole}{done or 'which has no dialogue'}", file=sys.stderr)


def _tallies(recipe: str | None, shard: str, ray: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if ray is None:
        from consistent_chat.commands.open import warm

        return warm(recipe, shard, **options)
    from consistent_chat.ray import warm as warm_with_ray

    return warm_with_ray(recipe, ray or None, **options)


@contextlib.contextmanager
def _heeding_schedulers() -> Iterator[None]:
    """Take SIGTERM, which they send before they kill, like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
