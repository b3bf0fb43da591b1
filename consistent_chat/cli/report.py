"""`consistent-chat report`: what a dataset is like, on the terminal and as a page."""

from __future__ import annotations

from typing import Any

from consistent_chat.cli.options import add_command, add_recipe


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "report", run, "show what a dataset is like, and its dialogues as a page")
    command.add_argument("--html", metavar="FILE", help="write a page that opens offline, with all dialogues")
    command.add_argument("--recipe", metavar="RECIPE", help="the recipe with which a response store is read")
    command.add_argument("--failures", metavar="FILE", help="failed draws beside a dataset, as build writes them")
    add_recipe(command, "source", "SOURCE", "a dataset (file, folder, user/repo), a response store, or a recipe")


def run(source: str | None, html: str | None, **options: Any) -> None:
    """Show a dataset's statistics beside the paper's, what was of no use, tokens and cost. Nobody is called."""
    from consistent_chat.report import report
    from consistent_chat.report.terminal import show

    show(report(source, html, **options))
