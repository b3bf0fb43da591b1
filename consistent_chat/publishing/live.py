"""The card of a repo: its progress section during a build, and the final card."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from consistent_chat import card
from consistent_chat.card import About, Seen, header
from consistent_chat.drivers import RunStats
from consistent_chat.errors import PublishError
from consistent_chat.publishing import layout, recipe_file
from consistent_chat.publishing.bundle import Made
from consistent_chat.publishing.hub import ConflictError, Destination, RepoTarget
from consistent_chat.store.store import PeriodicTask

logger = logging.getLogger(__name__)

SECONDS = 300.0
"""Seconds between two updates. Each is a commit."""
BEGIN, END = "<!-- consistent_chat: progress -->", "<!-- consistent_chat: end of progress -->"
_SHOWN = re.compile(rf"{BEGIN}.*?{END}\n*", re.DOTALL)


@contextlib.contextmanager
def shown(destination: Destination, tallies: Mapping[str, RunStats], totals: Mapping[str, int]) -> Iterator[None]:
    """Show the progress of a build in the card, now and every few minutes. Errors are only logged."""

    def update() -> None:
        _update_card(destination, lambda readme: with_progress(readme, tallies, totals))

    update()
    flusher = PeriodicTask(update, SECONDS)
    flusher.start()
    try:
        yield
    finally:
        flusher.stop()


@contextlib.contextmanager
def remove_progress(destination: Destination) -> Iterator[None]:
    """Remove the progress section if the build fails before publishing. The final card has none."""
    try:
        yield
    except BaseException:
        _update_card(destination, without)
        raise


def _update_card(destination: Destination, edit: Callable[[str], str]) -> None:
    try:
        destination.edit_card(edit)
    except (PublishError, ConflictError) as error:
        logger.warning("The progress in the card cannot be updated: %s", error)


def with_progress(readme: str, tallies: Mapping[str, RunStats], totals: Mapping[str, int]) -> str:
    """Return a card with a progress section at the top, below the header."""
    lines = [
        f"- {split}: {tally.dialogues:,} of {totals[split]:,} dialogues ({tally})" for split, tally in tallies.items()
    ]
    text = "\n".join([BEGIN, "**This dataset is being made.**", "", *lines, END, "", ""])
    before = without(readme)
    start = len(before) - len(header.split(before)[1].lstrip("\n"))
    return f"{before[:start]}{text}{before[start:]}"


def without(readme: str) -> str:
    """Return a card without its progress section."""
    return _SHOWN.sub("", readme)


def describe(made: Made, target: RepoTarget, licence: str | None, seen: Seen, previous: str) -> dict[str, bytes]:
    """Return the card and its plots by path. Text that users wrote into the previous card is kept.

    Raises ConsistentChatError if the header of the previous card cannot be read.
    """
    about = About(
        name=str(target),
        url=target.url,
        title=target.title,
        recipes=made.recipes,
        files=made.files,
        configs=list(configs(made.folder, made.recipes)),
        licence=licence,
        withheld=recipe_file.withheld_of(made.recipes.values()),
    )
    return {path: text.encode("utf-8") for path, text in card.files(about, seen, previous).items()}


def check(previous: str) -> None:
    """Raise ConsistentChatError if a card's header cannot be read. Call it before anything is paid for."""
    header.merged(header.split(previous)[0], {})


def configs(folder: Path, splits: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the configs of a folder. One without rows cannot be loaded and gets an empty list of files."""
    rows = [{"split": split, "path": f"{layout.DATA}/{split}-*"} for split in splits]
    failures = [{"split": split, "path": layout.failures(split)} for split in splits]
    packs = f"{layout.RESPONSES}/packs/*.parquet"
    has_packs = any(folder.glob(packs))
    yield {"config_name": "default", "data_files": rows, "default": True}
    there = [each for each in failures if (folder / each["path"]).is_file()]
    yield {"config_name": layout.FAILURES, "data_files": there}
    yield {"config_name": layout.RESPONSES, "data_files": [{"split": "train", "path": packs}] if has_packs else []}
