"""Ends a run in which nothing succeeds, instead of paying for every draw of every substitute of every dialogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from consistent_chat.dialogue import Dialogue, FailedDraw
from consistent_chat.errors import UnfilledSlot
from consistent_chat.parse import Reason
from consistent_chat.request import Request, Response

HOPELESS = 30
"""Answers in a row, to requests of one stage, none of them usable. If one answer in four were usable, so many would
fail once in 5,600 times."""
SHOWN = 200
"""Characters of an answer that the error shows."""


class Breaker:
    """Counts unusable answers by stage, so that usable skeletons do not hide that no answers ever are."""

    def __init__(self) -> None:
        self._in_vain: Counter[str] = Counter()

    def test(
        self, request: Request, response: Response, failed: Sequence[FailedDraw], step: Dialogue | Request
    ) -> None:
        """Take note of an answer; raise UnfilledSlot when there is no hope.

        `failed` are the unusable answers of the dialogue, `step` is what follows. A cut answer that is asked again with
        more room says nothing yet.
        """
        stage = next(iter(request.schema["properties"]))
        fault = next((draw for draw in reversed(failed) if draw.key == request.key), None)
        if fault is None:
            self._in_vain[stage] = 0
        elif fault.reason is not Reason.TRUNCATED or not _has_more_room(step, request):
            self._in_vain[stage] += 1
            if self._in_vain[stage] >= HOPELESS:
                raise UnfilledSlot(despair(HOPELESS, request.model, fault))


def _has_more_room(step: Dialogue | Request, request: Request) -> bool:
    return isinstance(step, Request) and step.max_tokens > request.max_tokens


def despair(answers: int, model: str, fault: FailedDraw) -> str:
    """Return the words for so many answers of a model of which none was usable; `fault` is one."""
    text = fault.response.text
    shown = repr(text[:SHOWN]) if text else "no text"
    return (
        f"{answers} answers in a row were of no use, and the run stops. The last: {fault.reason.value} "
        f"({fault.detail}): {shown}. Look at what {model!r} answers; try another model. All answers are kept."
    )
