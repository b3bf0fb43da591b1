"""`consistent-chat publish`: a dataset on the Hub, with all that it is made of."""

from __future__ import annotations

import sys
from typing import Any

from consistent_chat.cli.options import add_command, add_recipe
from consistent_chat.errors import RecipeError


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
    group = command.add_argument_group("on the Hub's machines")
    group.add_argument("--on-hub", action="store_true", help="let a job of the Hub do it")
    group.add_argument("--flavor", help="the machine (cpu-basic)")
    group.add_argument("--job-timeout", metavar="TIME", help="how long the job may take, such as 2h")
    group.add_argument("--package", metavar="SPEC", help="what the job installs (this version of this package)")
    group.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable of yours that the job gets as a secret",
    )


def run(recipe: str | None, repo: str, on_hub: bool, **options: Any) -> None:
    """Publish what is recorded; with --serving, ask first for what is not."""
    of_jobs = {name: options.pop(name) for name in ("flavor", "job_timeout", "package", "secret")}
    if on_hub:
        from consistent_chat.publishing import job

        print(f"{repo}: the job {job.start(recipe, repo, **of_jobs, **options)} has begun", file=sys.stderr)
        return
    if any(of_jobs.values()):
        raise RecipeError("--flavor, --job-timeout, --package and --secret are for a job: pass --on-hub as well.")
    from consistent_chat.publishing import publish

    print(publish(recipe, repo, **options), file=sys.stderr)
