"""The retry policy of simple operations on files, stores and commits.

Calls to providers have a separate policy (`drivers/retry.py`), which obeys Retry-After, and in which a fault of one
call changes the pace of the others. A library would not be simpler, because each use only lists its errors and its
pauses.
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
    """Return the result of `act`. If it raises one of `on`, try again after each of the pauses, which are in seconds.

    `passes` tells whether an error can go away. Raises the error of the last try.
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
