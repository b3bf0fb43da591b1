"""The progress section of the card during a build: what `--live` shows."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping

from consistent_chat.card import header
from consistent_chat.drivers import RunStats
from consistent_chat.errors import PublishError
from consistent_chat.publishing.hub import ConflictError, Destination
from consistent_chat.store.store import PeriodicTask

logger = logging.getLogger(__name__)

SECONDS = 300.0
"""Seconds between two updates. Each is a commit."""
BEGIN, END = "<!-- consistent_chat: progress -->", "<!-- consistent_chat: end of progress -->"
_SHOWN = re.compile(rf"{BEGIN}.*?{END}\n*", re.DOTALL)


@contextlib.contextmanager
def shown(destination: Destination, all_stats: Mapping[str, RunStats], totals: Mapping[str, int]) -> Iterator[None]:
    """Show the progress of a build in the card, now and every few minutes. Errors are only logged."""

    def update() -> None:
        _update_card(destination, lambda readme: with_progress(readme, all_stats, totals))

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


def with_progress(readme: str, all_stats: Mapping[str, RunStats], totals: Mapping[str, int]) -> str:
    """Return a card with a progress section at the top, below the header."""
    lines = [
        f"- {split}: {stats.dialogues:,} of {totals[split]:,} dialogues ({stats})" for split, stats in all_stats.items()
    ]
    text = "\n".join([BEGIN, "**This dataset is being made.**", "", *lines, END, "", ""])
    before = without(readme)
    start = len(before) - len(header.split(before)[1].lstrip("\n"))
    return f"{before[:start]}{text}{before[start:]}"


def without(readme: str) -> str:
    """Return a card without its progress section."""
    return _SHOWN.sub("", readme)
