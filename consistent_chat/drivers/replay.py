"""Carries a dialogue as far as recorded responses do. No event loop, no thread, no network."""

from __future__ import annotations

from collections.abc import Callable

from consistent_chat.dialogue.at_once import Dialogue, OutOfDraws, Steps
from consistent_chat.request import Request, Response

Find = Callable[[Request], Response | None]
MayAsk = Callable[[Request], bool]


def replay_until_missing(steps: Steps, response: Response | None, find: Find, may_ask: MayAsk) -> Dialogue | Request:
    """Send a response (None to a dialogue that has not begun) and go on through the recorded ones.

    Returns the finished dialogue, or the first request that is not recorded and may be asked. One that may not
    be asked ends its spec, and the dialogue goes on with the substitute.
    """
    try:
        request = steps.send(response)  # type: ignore[arg-type]  # None starts a generator
        while True:
            recorded = find(request)
            if recorded is not None:
                request = steps.send(recorded)
            elif may_ask(request):
                return request
            else:
                request = steps.throw(OutOfDraws())
    except StopIteration as finished:
        dialogue: Dialogue = finished.value
        return dialogue


FindAll = Callable[[Request], list[Response]]

TRIED = 256
"""Ways that are tried for a dialogue, at the most."""


def find_complete_path(
    begin: Callable[[], Steps], find_all: Callable[[Request], list[Response]], may_ask: MayAsk
) -> Dialogue | None:
    """Return the dialogue of the first way that is recorded to its end, or None.

    The order is that of the answers to each request, the last of which changes first: it depends on nothing else.
    """
    way: list[int] = []
    for _ in range(TRIED):
        walk = _Walk(way, find_all)
        step = replay_until_missing(begin(), None, walk.find, may_ask)
        if isinstance(step, Dialogue):
            return step
        if not (way := walk.following()):
            return None
    return None


class _Walk:
    """Takes the answers that a way names by their number; the first where it names none any more."""

    def __init__(self, way: list[int], find_all: FindAll) -> None:
        self._way, self._find_all = way, find_all
        self._taken: list[tuple[int, int]] = []

    def find(self, request: Request) -> Response | None:
        """Return an answer to the next request, or None."""
        answers = self._find_all(request)
        if not answers:
            return None
        number = self._way[len(self._taken)] if len(self._taken) < len(self._way) else 0
        self._taken.append((number, len(answers)))
        return answers[number]

    def following(self) -> list[int]:
        """Return the way after this one; an empty one after the last."""
        for at in reversed(range(len(self._taken))):
            number, count = self._taken[at]
            if number + 1 < count:
                return [*(taken for taken, _ in self._taken[:at]), number + 1]
        return []
