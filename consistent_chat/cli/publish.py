"""`consistent-chat publish`: a dataset on the Hub, with all that it is made of."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_recipe


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "publish", run, "put a dataset on the Hub, with all that it is made of")
    add_recipe(command)
    command.add_argument("repo", metavar="REPO", help="user/repo, or buckets/user/name/path")
    group = command.add_argument_group("where")
    group.add_argument("--private", action="store_true", help="a repo that is made new is private")
    group.add_argument("--revision", metavar="BRANCH", help="a branch, which is made if there is none")
    group.add_argument("--create-pr", action="store_true", help="propose the changes as a pull request")
    group.add_argument("--overwrite", action="store_true", help="also where something else is")
    group.add_argument(
        "--licence", "--license", metavar="NAME", help="the licence, such as cc-by-4.0; none is invented"
    )
    group.add_argument("--live", action="store_true", help="show the progress of a build in the card")


def run(recipe: str | None, repo: str, **options: Any) -> None:
    """Publish what is recorded; with --serving, ask first for what is not."""
    from consistent_chat.publishing import publish

    print(publish(recipe, repo, **options), file=sys.stderr)
