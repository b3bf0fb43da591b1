"""The retry policy of calls to providers: how long to wait, and when to stop.

It is apart from `consistent_chat/retry.py` because it obeys Retry-After and counts the faults of a whole run.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence

from consistent_chat.dialogue.at_once import Dialogue, FailedDraw
from consistent_chat.dialogue.parse import Reason
from consistent_chat.errors import RefusedAccess, RefusedRequest, ServingError, TransportError, UnfilledSlot
from consistent_chat.request import Request, Response

logger = logging.getLogger(__name__)

Passing = TransportError | RefusedRequest | RefusedAccess
"""Errors after which a call may be tried again."""
MAX_TRIES = 10
"""Tries of one call while the server answers others."""
MAX_TRIES_AT_FIRST = 5
"""Tries of one call as long as nothing was ever answered: about ten seconds. After that the address is
probably wrong."""
MAX_TRIES_RETRIED = 3
"""Tries of one call by a serving that has retries of its own: DataFlow's takes half a minute for each of ours."""
LONGEST_SILENCE = 300.0
"""Seconds without any answer after which a server that is crowded, or has never answered, is given up."""
UNEXPLAINED_SILENCE = 90.0
"""Seconds of refused calls (429) without a word of rates, while none is answered: servers count calls by the minute, so
that it is no limit of a minute's calls."""
LOADING_PAUSE = 5.0
"""Seconds between looks at a server that is not ready yet, at the most."""
QUICK_PAUSE = 0.1
"""Seconds before the second try of a call that failed once while the server answers others."""
CLOSED = 3
"""Calls in a row that are refused with a pause that is longer than the longest silence."""
_CHECK_LIMITS = " Check the account's credit and limits; max_requests_per_minute= keeps a run within them."
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds. A longer pause than a minute, which some servers ask for, is better seen by a person."""


class RetryPolicy:
    """Decides when a run stops retrying. `clock` gives seconds.

    Waits for a server that is loading, and for `wait_for_server` seconds for one that cannot be reached, if that is
    longer than the retries take.
    """

    def __init__(self, clock: Callable[[], float], wait_for_server: float = 0.0) -> None:
        self._clock, self._wait = clock, wait_for_server
        self._told = False
        self._heard = clock()
        self._answered = False
        self._in_vain = 0

    def answered(self) -> None:
        """Record that a call was answered."""
        self._heard, self._answered, self._in_vain = self._clock(), True, 0

    def test(self, tries: int, error: Passing) -> None:
        """Raise ServingError when a call has failed too often to try it again. `tries` counts its failures."""
        self._in_vain += 1
        waited = self._clock() - self._heard
        silent = self._in_vain > 1 and waited > LONGEST_SILENCE
        if not self._answered and self._is_waited_for(error, waited):
            return
        if isinstance(error, TransportError) and error.retried:
            enough = tries >= MAX_TRIES_RETRIED
        elif error.rate_limited:
            enough = silent or self._is_closed(error, waited)
        else:
            enough = tries >= MAX_TRIES if self._answered else tries >= MAX_TRIES_AT_FIRST or silent
        if enough:
            said, advice = str(error).rstrip("."), _CHECK_LIMITS if error.rate_limited else ""
            raise ServingError(
                f"{said}. This was try {tries}, and the run stops.{advice} All answers are kept; rerun to resume."
            ) from error

    def _is_closed(self, error: Passing, waited: float) -> bool:
        """Tell whether a server that refuses each call will do so for too long: it says so, or gives no reason.

        One answer in between resets the count.
        """
        if (error.retry_after or 0.0) > LONGEST_SILENCE:
            return self._in_vain >= CLOSED
        unexplained = isinstance(error, TransportError) and error.unexplained
        return unexplained and self._in_vain > 1 and waited > UNEXPLAINED_SILENCE

    def pause(self, tries: int, error: Passing) -> float:
        """Return the seconds to wait: not long for a server that is not ready yet, nor after one isolated fault."""
        seconds = backoff(tries, error)
        if error.retry_after:
            return seconds
        if not self._answered:
            return min(seconds, LOADING_PAUSE)
        return min(seconds, QUICK_PAUSE) if tries == 1 and self._in_vain == 1 else seconds

    def _is_waited_for(self, error: Passing, waited: float) -> bool:
        """Return whether to wait on for a server that has not answered yet; log the first wait."""
        if not isinstance(error, TransportError) or not (error.loading or error.unreachable):
            return False
        longest = max(self._wait, LONGEST_SILENCE) if error.loading else self._wait
        if waited > longest:
            return False
        if not self._told:
            self._told = True
            logger.warning("Waiting up to %.0f seconds for the server to become ready. %s", longest, error)
        return True


def backoff(tries: float, error: Passing) -> float:
    """Return the seconds to wait after the given number of tries.

    Exponential, or what the server asks for if that is longer, with jitter on top, so that calls that failed together
    do not come back together.
    """
    backoff: float = FIRST_PAUSE * 2 ** min(tries - 1, 10)
    return min(LONGEST_PAUSE, max(backoff, error.retry_after or 0.0)) * random.uniform(1.0, 1.25)


HOPELESS = 30
"""Consecutive unusable responses to requests of one stage that stop a run. If one response in four were usable, a run
would stop by chance once in 5,600 times."""
SHOWN = 200
"""Characters of a response that the error shows."""


class CircuitBreaker:
    """Counts unusable answers by stage, so that usable skeletons do not hide that no answers ever are."""

    def __init__(self) -> None:
        self._in_vain: Counter[str] = Counter()
        self._unusable: set[str] = set()

    @property
    def in_doubt(self) -> bool:
        """Whether the last response to some stage was unusable, even if it was only truncated."""
        return bool(self._unusable)

    def test(
        self, request: Request, response: Response, failed: Sequence[FailedDraw], step: Dialogue | Request
    ) -> None:
        """Record a response; raise UnfilledSlot when too many in a row were unusable.

        `failed` are the unusable responses of the dialogue, `step` is its next step. A truncated response that is drawn
        again with a higher limit does not count.
        """
        fault = next((draw for draw in reversed(failed) if draw.key == request.key), None)
        (self._unusable.discard if fault is None else self._unusable.add)(request.stage)
        if fault is None:
            self._in_vain[request.stage] = 0
        elif fault.reason is not Reason.TRUNCATED or not _has_more_room(step, request):
            self._in_vain[request.stage] += 1
            if self._in_vain[request.stage] >= HOPELESS:
                raise UnfilledSlot(despair(HOPELESS, request.model, fault))


def _has_more_room(step: Dialogue | Request, request: Request) -> bool:
    return isinstance(step, Request) and step.max_tokens > request.max_tokens


def despair(answers: int, model: str, fault: FailedDraw) -> str:
    """Return the message for so many unusable responses of a model; `fault` is the last."""
    text = fault.response.text
    shown = repr(text[:SHOWN]) if text else "no text"
    return (
        f"Stopping: {answers} consecutive responses were unusable. The last: {fault.reason.value} "
        f"({fault.detail}): {shown}. Look at what {model!r} answers; try another model. All answers are kept."
    )
