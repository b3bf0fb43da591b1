"""Commands on datasets and response stores that exist: report, review, judge, check, publish, verify, pack, batches.

Each imports what it needs when it runs.
"""

from __future__ import annotations

from typing import Any

import click

from consistent_chat.cli.group import KEEP, SHARE, SHOW, command
from consistent_chat.cli.options import CALLING, COUNT, Repeated, fields, recipe_fields
from consistent_chat.errors import RecipeError
from consistent_chat.text.console import say, tell, tell_lines
from consistent_chat.text.sanitize import without_secrets

OF_DIALOGUES = ("model", "temperature", "seed", "intents")
"""The fields of calls that do not apply to a judge's requests."""


@command(section=SHOW, examples="consistent-chat report demo\nconsistent-chat report data --html data.html")
@click.argument("source", required=False)
@click.option("--html", metavar="FILE", help="write a page that opens offline, with all dialogues")
@click.option("--recipe", metavar="RECIPE", help="the recipe to replay from a response store")
@click.option("--failures", metavar="FILE", help="the failed draws of a dataset, as build writes them")
@click.option("--embedding-model", metavar="MODEL", help="count paraphrases by this model's embeddings")
@click.option("--embedding-store", metavar="PLACE", help="the store of the embeddings (the response store)")
@click.option("--embedding-url", metavar="URL", help="a server with /v1/embeddings (omit: stored ones only)")
@recipe_fields
def report(source: str | None, html: str | None, **options: Any) -> None:
    """Show the statistics of a dataset, and write all its dialogues as a page. Makes no calls, except for embeddings.

    SOURCE is a dataset (file, folder, user/repo), a response store, or a recipe.
    """
    from consistent_chat.reports import report as reported
    from consistent_chat.reports.terminal import show

    summary = reported(source, html, **options)
    if html != "-":
        show(summary)


@command(
    section=SHOW,
    examples="consistent-chat review data --output data.review.yaml\n"
    "consistent-chat review data --export records.json\nconsistent-chat review data --import records.json",
)
@click.argument("source", required=False)
@click.option("--output", metavar="FILE", help="the review file (SOURCE.review.yaml); existing marks are kept")
@click.option("--export", metavar="FILE", help="write dialogues and marks as Argilla's records; show none")
@click.option("--import", "records", metavar="FILE", help="read the marks from Argilla's records; show no dialogues")
@click.option("--recipe", metavar="RECIPE", help="the recipe to replay from a response store")
@recipe_fields
def review(
    source: str | None, output: str | None, export: str | None, records: str | None, review: Any, **options: Any
) -> None:
    """Mark dialogues one by one: keep, reject, note, edit. Makes no calls.

    SOURCE is a dataset (file, folder, user/repo), a response store, or a recipe, which applies its own review.
    """
    from consistent_chat.reports.reviewing import review as reviewed

    if export is not None and records is not None:
        raise click.UsageError("--export and --import cannot be combined. Run one after the other.")
    say(reviewed(source, output, export, records, review=review, **options))


@command(
    section=SHOW,
    examples="consistent-chat judge chats.jsonl --serving anthropic --judge-model claude-haiku-4-5 --output s.jsonl\n"
    "consistent-chat judge demo --serving rehearsal",
)
@click.argument("source", metavar="[DATASET]", required=False)
@click.option(
    "--calibrate", is_flag=True, help="compare the judges with this package's labelled dialogues, by kind of flaw"
)
@click.option("--output", metavar="FILE", help="write one JSON line per chat: its id, scores, reasons, whose fault")
@click.option("--language", metavar="NAME", help="the language of the chats (default: detected for each chat)")
@fields("judge_model", "judge", "min_score", *(name for name in CALLING if name not in OF_DIALOGUES))
def judge(source: str | None, calibrate: bool, output: str | None, language: str | None, **options: Any) -> None:
    """Score the chats of any dataset with judges. Changes nothing; with the same store, a rerun makes no calls.

    DATASET is a file (.jsonl, .json, .parquet), a folder, a store or user/repo.
    """
    if calibrate != (source is None) or (calibrate and (output or language)):
        raise click.UsageError("Pass DATASET, or --calibrate without DATASET, --output and --language.")
    from consistent_chat.reports import calibration, judging

    found: Any = (
        calibration.calibrate(**options) if source is None else judging.judge(source, output, language, **options)
    )
    if output != "-":
        tell_lines(str(found))
    written = f" The scores are in {output}." if output not in (None, "-") else ""
    say(f"consistent-chat: {found.stats}.{written}")


@command(
    section=SHOW, examples="consistent-chat check chats.jsonl\nconsistent-chat check user/repo --output findings.jsonl"
)
@click.argument("source", metavar="DATASET")
@click.option("--output", metavar="FILE", help="write one JSON line per row: its id and reasons")
@click.option("--language", metavar="NAME", help="the language of the chats (default: detected for each chat)")
@fields("checks", "rules", "decontaminate", "storage_options")
def check(source: str, output: str | None, storage_options: Any, **options: Any) -> None:
    """Find faults in the chats of any dataset. Makes no calls and changes nothing.

    DATASET is a file (.jsonl, .json, .parquet), a folder, a store or user/repo.
    """
    from consistent_chat.reports.check import check_chats
    from consistent_chat.reports.terminal import show_checks

    report = check_chats(source, output, storage_options=storage_options, **options)
    if output != "-":
        show_checks(report.counts)
    written = f" The reasons of each row are in {output}." if output not in (None, "-") else ""
    say(f"consistent-chat: {report.flagged:,} of {report.chats:,} chats have findings.{written}")


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
