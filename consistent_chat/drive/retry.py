"""The one policy for transport errors: how often to try again, and after how long."""

from __future__ import annotations

import random

from consistent_chat.errors import ServingError, TransportError

MAX_TRIES = 10
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
"""Seconds. With these, a server may be away for about four minutes before a run stops."""


def pause_before_retry(tries: int, error: TransportError) -> float:
    """Return the seconds to wait after `tries` failed tries, or raise ServingError when it is enough.

    Exponential with jitter, so that calls that failed together do not come back together. What the server asks
    for is honoured up to LONGEST_PAUSE: a longer wait is better seen by a person.
    """
    if tries >= MAX_TRIES:
        raise ServingError(
            f"{error} This was the {tries}th try, and the run stops. All answers are kept; run again to go on."
        ) from error
    backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)
    return max(backoff, min(error.retry_after, LONGEST_PAUSE)) if error.retry_after is not None else backoff
