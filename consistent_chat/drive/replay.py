"""Carries a dialogue as far as recorded responses do. No event loop, no thread, no network."""

from __future__ import annotations

from collections.abc import Callable

from consistent_chat.dialogue import Dialogue, OutOfDraws, Steps
from consistent_chat.request import Request, Response

Find = Callable[[Request], Response | None]
MayAsk = Callable[[Request], bool]


def advance(steps: Steps, response: Response | None, find: Find, may_ask: MayAsk) -> Dialogue | Request:
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
