"""Tests of the retry policy of simple operations."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from consistent_chat.retry import retry


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Replace `time.sleep`, and record the pauses."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


class Failing:
    """Raise an error in the first `times` calls, and afterwards return the number of calls."""

    def __init__(self, times: int) -> None:
        self._times, self.calls = times, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._times:
            raise OSError(self.calls)
        return self.calls


def test_no_error_no_problem(slept: list[float]) -> None:
    """An operation that succeeds at once is called once, without a pause."""
    assert retry(Failing(0), OSError, [1, 4]) == 1
    assert slept == []


def test_an_error_that_passes_takes_the_pauses_in_turn(slept: list[float]) -> None:
    """Retries wait for the given pauses in order. A pause of 0 does not sleep."""
    assert retry(Failing(3), OSError, [1, 0, 4]) == 4
    assert slept == [1, 4]


def test_the_error_of_the_last_try_is_raised(slept: list[float]) -> None:
    """After one attempt more than there are pauses, the last error is raised."""
    act = Failing(9)
    with pytest.raises(OSError, match="3"):
        retry(act, OSError, [1, 4])
    assert (act.calls, slept) == (3, [1, 4])


def test_other_errors_and_those_that_do_not_pass_are_raised_at_once(slept: list[float]) -> None:
    """Errors of other types, and errors that do not pass, are raised at once without a pause."""
    for on, passes in ((ValueError, True), (OSError, False)):
        act = Failing(1)
        with pytest.raises(OSError, match="1"):
            retry(act, on, [1, 4], lambda error, passes=passes: passes)  # type: ignore[misc]
        assert (act.calls, slept) == (1, [])
