"""The one policy for errors that may pass: how long to wait, and when it is enough."""

from __future__ import annotations

import random
from collections.abc import Callable

from consistent_chat.errors import RefusedRequest, ServingError, TransportError

Passing = TransportError | RefusedRequest
"""What a call may be tried again after."""
MAX_TRIES = 10
"""Tries of one call while the server answers others."""
MAX_TRIES_AT_FIRST = 5
"""Tries of one call as long as nothing was ever answered: about ten seconds, then the address is likely wrong."""
LONGEST_SILENCE = 300.0
"""Seconds without any answer after which a server that is crowded, or has never answered, is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds. A longer pause than a minute, which some servers ask for, is better seen by a person."""


class Patience:
    """Knows when a run has tried enough. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard = clock()
        self._answered = False
        self._in_vain = 0

    def answered(self) -> None:
        """Take note of an answer."""
        self._heard, self._answered, self._in_vain = self._clock(), True, 0

    def test(self, tries: int, error: Passing) -> None:
        """Raise ServingError when a call that has failed so many times is not to be tried again."""
        self._in_vain += 1
        silent = self._in_vain > 1 and self._clock() - self._heard > LONGEST_SILENCE
        if error.crowded:
            enough = silent
        else:
            at_first = 1 if isinstance(error, RefusedRequest) else MAX_TRIES_AT_FIRST
            enough = tries >= MAX_TRIES if self._answered else tries >= at_first or silent
        if enough:
            said = str(error).rstrip(".")
            raise ServingError(
                f"{said}. This was try {tries}, and the run stops. All answers are kept; run again to go on."
            ) from error


def pause(tries: float, error: Passing) -> float:
    """Return the seconds to wait after the given number of tries.

    Exponential, or what the server asks for if that is longer, with jitter on top, so that calls that failed together
    do not come back together.
    """
    backoff: float = FIRST_PAUSE * 2 ** min(tries - 1, 10)
    return min(LONGEST_PAUSE, max(backoff, error.retry_after or 0.0)) * random.uniform(1.0, 1.25)
