"""`consistent-chat preview`: a few dialogues before the big run."""

from __future__ import annotations

from typing import Any

from consistent_chat.cli.options import add_command, add_recipe, count


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands, "preview", run, "make a few dialogues, show them, and tell what the whole will take"
    )
    command.add_argument("-n", "--number", type=count, default=3, metavar="N", help="dialogues to make (3)")
    add_recipe(command)


def run(recipe: str | None, number: int, **options: Any) -> None:
    """Make the first dialogues of a recipe and show them. Their answers are kept: the build does not pay them again."""
    from consistent_chat.commands.open import open_builder
    from consistent_chat.commands.preview import preview

    preview(open_builder(recipe, **options), number)
