"""The retry policy of simple operations, which end or fail at once: files, stores and commits.

Calls to providers have a separate policy (`drivers/retry.py`): it obeys Retry-After, and a fault of one call
changes the pace of the others. A library would not be simpler: each use only names its errors and its pauses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


def retry(
    act: Callable[[], T],
    on: type[E] | tuple[type[E], ...],
    pauses: Iterable[float],
    passes: Callable[[E], bool] = lambda error: True,
) -> T:
    """Return the result of `act`. Retry after each of the pauses, in seconds, if it raises one of `on`.

    `passes` tells whether a retry can help. The error of the last try is raised.
    """
    for pause in pauses:
        try:
            return act()
        except on as error:
            if not passes(error):
                raise
        if pause:
            time.sleep(pause)
    return act()
