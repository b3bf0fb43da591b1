"""The progress of a build, shown in the card of the repo that its dataset will be in."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping

from consistent_chat.card import header
from consistent_chat.drive import Tally
from consistent_chat.errors import PublishError
from consistent_chat.publishing.hub import Destination, Moved
from consistent_chat.store.flusher import Flusher

logger = logging.getLogger(__name__)

SECONDS = 300.0
"""Between two updates: each is a commit."""
BEGIN, END = "<!-- consistent_chat: progress -->", "<!-- consistent_chat: end of progress -->"
_SHOWN = re.compile(rf"{BEGIN}.*?{END}\n*", re.DOTALL)


@contextlib.contextmanager
def shown(destination: Destination, tallies: Mapping[str, Tally], totals: Mapping[str, int]) -> Iterator[None]:
    """Show at once, and then every few minutes, how far a build is; what goes wrong with that is only logged."""

    def update() -> None:
        _say(destination, lambda readme: with_progress(readme, tallies, totals))

    update()
    flusher = Flusher(update, SECONDS)
    flusher.start()
    try:
        yield
    finally:
        flusher.stop()


@contextlib.contextmanager
def taken_back(destination: Destination) -> Iterator[None]:
    """Where it ends before a dataset is published, whose card would say no more of progress, show no more of it."""
    try:
        yield
    except BaseException:
        _say(destination, without)
        raise


def _say(destination: Destination, edit: Callable[[str], str]) -> None:
    try:
        destination.say(edit)
    except (PublishError, Moved) as error:
        logger.warning("The progress in the card cannot be changed: %s", error)


def with_progress(readme: str, tallies: Mapping[str, Tally], totals: Mapping[str, int]) -> str:
    """Return a card that shows progress above all else, below the header."""
    lines = [
        f"- {split}: {tally.dialogues:,} of {totals[split]:,} dialogues ({tally})" for split, tally in tallies.items()
    ]
    text = "\n".join([BEGIN, "**This dataset is being made.**", "", *lines, END, "", ""])
    before = without(readme)
    start = len(before) - len(header.split(before)[1].lstrip("\n"))
    return f"{before[:start]}{text}{before[start:]}"


def without(readme: str) -> str:
    """Return a card as it was before progress was shown in it."""
    return _SHOWN.sub("", readme)
