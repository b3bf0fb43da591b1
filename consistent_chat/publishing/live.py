"""The progress of a build, shown in the card of the repo that its dataset will be in."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping

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
def shown(
    destination: Destination, readme: str, tallies: Mapping[str, Tally], totals: Mapping[str, int]
) -> Iterator[None]:
    """Show at once, and then every few minutes, how far a build is; what goes wrong with that is only logged."""

    def update() -> None:
        try:
            destination.say(with_progress(readme, tallies, totals))
        except (PublishError, Moved) as error:
            logger.warning("The progress cannot be shown: %s The build goes on.", error)

    update()
    flusher = Flusher(update, SECONDS)
    flusher.start()
    try:
        yield
    finally:
        flusher.stop()


def with_progress(readme: str, tallies: Mapping[str, Tally], totals: Mapping[str, int]) -> str:
    """Return a card that shows progress above all else, below the header."""
    lines = [
        f"- {split}: {tally.dialogues:,} of {totals[split]:,} dialogues ({tally})" for split, tally in tallies.items()
    ]
    text = "\n".join(["**This dataset is being made.**", "", *lines])
    head, body = header.split(without(readme))
    top = f"---\n{head}\n---\n\n" if head else ""
    return f"{top}{BEGIN}\n{text}\n{END}\n\n{body.lstrip()}"


def without(readme: str) -> str:
    """Return a card as it was before progress was shown in it."""
    return _SHOWN.sub("", readme)
