"""`consistent-chat estimate`: what a build will take, before it is paid for."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_recipe, count


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "estimate", run, "tell calls, tokens and dollars before a build")
    command.add_argument("--pilot", type=count, default=0, metavar="N", help="make the first N dialogues, and measure")
    add_recipe(command)


def run(recipe: str | None, pilot: int, **options: Any) -> None:
    """Tell what a build would still take: calls, tokens, dollars. Nothing is called, but for a pilot."""
    from consistent_chat.commands.estimate import estimate
    from consistent_chat.commands.open import open_builder

    builder = open_builder(recipe, **options)
    for split, plan in builder.plans().items():
        if pilot:
            tallies = builder.fill({split: range(min(pilot, len(plan)))})
            print(f"{split}: pilot of {tallies[split]}", file=sys.stderr)
        print(f"{split}: {estimate(builder.recipes[split], plan, builder.store())}")
