"""Commands on datasets and stores that exist. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Any

import click

from consistent_chat.cli.group import KEEP, SHARE, command
from consistent_chat.cli.options import COUNT, Repeated, fields, recipe_fields
from consistent_chat.errors import RecipeError
from consistent_chat.text.console import say, tell
from consistent_chat.text.urls import without_secrets


@command(
    section=SHARE,
    examples="consistent-chat publish my.consistent_chat.yaml user/repo --licence cc-by-4.0\n"
    "consistent-chat publish my.consistent_chat.yaml user/repo --serving anthropic --on-hub",
)
@click.argument("names", nargs=-1, required=True, metavar="[RECIPE] REPO")
@recipe_fields
@click.option("--private", is_flag=True, help="create a new repo as private")
@click.option("--revision", metavar="BRANCH", help="a branch, created if it does not exist")
@click.option("--create-pr", is_flag=True, help="propose the changes as a pull request")
@click.option("--overwrite", is_flag=True, help="publish even if the repo contains other files")
@click.option(
    "--licence", "--license", "licence", metavar="NAME", help="the licence, such as cc-by-4.0 (default: none)"
)
@click.option("--live", is_flag=True, help="show the progress of a build in the card")
@click.option("--on-hub", is_flag=True, help="run this command in a Hub Job")
@click.option("--flavor", metavar="NAME", help="with --on-hub: the machine (cpu-basic)")
@click.option("--job-timeout", metavar="TIME", help="with --on-hub: how long the job may take, such as 2h")
@click.option("--package", metavar="SPEC", help="with --on-hub: what the job installs (this version of this package)")
@click.option("--secret", cls=Repeated, multiple=True, metavar="NAME",
              help="with --on-hub: an environment variable that the job gets as a secret")  # fmt: skip
def publish(names: tuple[str, ...], on_hub: bool, secret: list[str] | None, **options: Any) -> None:
    """Publish a dataset on the Hub with its recipe and responses.

    With --serving, missing responses are requested first.

    REPO is user/repo, or buckets/user/name/path.
    """
    if len(names) > 2:
        raise click.UsageError(f"publish takes a recipe and a repo, not {len(names)} names.")
    recipe, repo = (names[0] if len(names) == 2 else None), names[-1]
    of_jobs = {name: options.pop(name) for name in ("flavor", "job_timeout", "package")} | {"secret": secret or []}
    if on_hub:
        from consistent_chat.publishing import job

        say(f"{repo}: the job {job.start(recipe, repo, **of_jobs, **options)} has started")
        return
    if any(of_jobs.values()):
        raise RecipeError("--flavor, --job-timeout, --package and --secret need --on-hub. Pass --on-hub as well.")
    from consistent_chat.publishing import publish as published

    say(published(recipe, repo, **options))


@command(section=SHARE, examples="consistent-chat verify user/repo\nconsistent-chat verify s3://bucket/responses")
@click.argument("what", required=False)
@fields("storage_options")
def verify(what: str | None, storage_options: dict[str, Any] | None) -> int:
    """Verify a published dataset or a whole response store; list the faults.

    WHAT is user/repo, a folder or a URL; without it, the default store. A folder or repo with a consistent_chat.json
    is a dataset; user/repo is a repo unless that path exists here.
    """
    from consistent_chat.api import verify as verified
    from consistent_chat.store import default_location

    url = default_location() if what is None else what
    found = verified(url, storage_options)
    for fault in found.faults:
        tell(fault)
    for line in (*getattr(found, "notes", ()), f"consistent-chat: {without_secrets(url)}: {found}"):
        say(line)
    return 1 if found.faults else 0


@command(section=KEEP, examples="consistent-chat pack\nconsistent-chat pack s3://bucket/responses")
@click.argument("store", required=False)
@fields("storage_options")
def pack(store: str | None, storage_options: dict[str, Any] | None) -> None:
    """Pack a store's journals, and merge its small packs.

    STORE is a path or URL; without it, the default store.
    """
    from consistent_chat.store import compact, default_location

    url = default_location() if store is None else store
    say(f"{without_secrets(url)}: {compact(url, storage_options)}")


@command(
    section=KEEP, examples="consistent-chat batches\nconsistent-chat batches --all --responses s3://bucket/responses"
)
@click.option("--responses", metavar="URL", help="the response store (the default store)")
@fields("storage_options", "base_url", "api_key")
@click.option("--all", "closed", is_flag=True, help="list collected batches too")
@click.option("--forget", type=COUNT, metavar="NUMBER", help="abandon a batch; its requests are sent again")
def batches(
    responses: str | None, storage_options: dict[str, Any] | None, closed: bool, forget: int | None, **address: Any
) -> None:
    """List the uncollected batches of a response store, with their state."""
    from consistent_chat.commands.batches import forget_batch, list_batches
    from consistent_chat.store import default_location

    url = default_location() if responses is None else responses
    if forget is not None:
        say(f"{forget_batch(url, storage_options, forget)}: given up.")
        return
    for line in list_batches(url, storage_options, closed=closed, **address) or [
        f"{without_secrets(url)}: no batch is in progress."
    ]:
        tell(line)
