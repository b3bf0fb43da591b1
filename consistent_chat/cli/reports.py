"""Commands that look at a dataset: its report, people's marks, the checks. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Any

import click

from consistent_chat.cli.group import SHOW, command
from consistent_chat.cli.options import CALLING, fields, recipe_fields
from consistent_chat.text.console import say, tell_lines

OF_DIALOGUES = ("model", "temperature", "seed", "intents")
"""The fields of calls that a judge's requests do not have."""


@command(section=SHOW, examples="consistent-chat report demo\nconsistent-chat report data --html data.html")
@click.argument("source", required=False)
@click.option("--html", metavar="FILE", help="write a page that opens offline, with all dialogues")
@click.option("--recipe", metavar="RECIPE", help="the recipe to replay from a response store")
@click.option("--failures", metavar="FILE", help="failed draws beside a dataset, as build writes them")
@click.option("--embedding-model", metavar="MODEL", help="count paraphrases by this model's embeddings")
@click.option("--embedding-store", metavar="PLACE", help="the store of the embeddings (the response store)")
@click.option("--embedding-url", metavar="URL", help="a server with /v1/embeddings (omit: only stored embeddings)")
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
@click.option("--output", metavar="FILE", help="the review file (SOURCE.review.yaml); marks in it stay")
@click.option("--export", metavar="FILE", help="write the dialogues and marks as Argilla's records, and show none")
@click.option("--import", "records", metavar="FILE", help="take the marks from Argilla's records, and show none")
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
        raise click.UsageError("--export and --import are two steps: run one after the other.")
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
    say(f"consistent-chat: {found.tally}.{written}")


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
