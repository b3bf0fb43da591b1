"""How a run waits for a server: as long as it asks for, and as little as it takes."""

from __future__ import annotations

import time
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest

from consistent_chat.recipe import Recipe
from tests.faults import Reply, every, run
from tests.provider import Call, Provider
from tests.servings import OLD, opened

SMALL = Recipe(model=OLD, num_dialogs_per_intent=1, num_turns_per_dialog=1)


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A folder for a response store."""
    return str(tmp_path / "responses")


@pytest.fixture(params=["anthropic", pytest.param("openai", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """Each protocol in turn."""
    return str(request.param)


@pytest.mark.slow
def test_a_server_that_takes_fewer_calls_than_are_set_is_used_to_its_limit(place: str) -> None:
    """With 30 set and 20 taken a run needs at most 1.2 times as long as with 20 of both, at the real pauses."""
    recipe, seconds = Recipe(model=OLD, num_dialogs_per_intent=20, num_turns_per_dialog=2), []
    for allowed, folder in ((20, "limit"), (30, "beyond")):
        with Provider(delay=0.3, capacity=20) as provider:
            serving, began = opened("anthropic", provider, timeout=30.0), time.monotonic()
            made = run(place + folder, recipe, serving, max_concurrency=allowed)
            seconds.append(time.monotonic() - began)
        assert len(made) == 180
    assert seconds[1] <= 1.2 * seconds[0]


class TestRetryAfter:
    """A pause that the server asks for."""

    @pytest.fixture(autouse=True)
    def _hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take away the pauses that nobody asks for."""
        monkeypatch.setattr("consistent_chat.drive.retry.FIRST_PAUSE", 0.0)

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("form", ["seconds", "milliseconds", pytest.param("date", marks=pytest.mark.slow)])
    def test_is_kept_to_the_end(self, place: str, kind: str, form: str, status: int) -> None:
        """The same request does not come back before; and it does come back."""
        ends: list[float] = []
        came: list[float] = []

        def script(call: Call) -> Reply | None:
            if call.number:
                came.append(time.time())
                return None
            header, end = pause(form)
            ends.append(end)
            return Reply.error(status, "Later", header)

        recipe = Recipe(model=OLD, num_dialogs_per_intent=1, num_turns_per_dialog=1, intents=("educational",))
        with Provider(script) as provider:
            assert len(run(place, recipe, opened(kind, provider))) == 1
        assert came[0] >= ends[0]

    @pytest.mark.parametrize("header", [{"retry-after": "86400"}, {"retry-after": formatdate(4e9, usegmt=True)}])
    def test_has_a_limit(self, place: str, header: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that asks for a day is asked again after the longest pause."""
        monkeypatch.setattr("consistent_chat.drive.retry.LONGEST_PAUSE", 0.05)
        with Provider(every(10, Reply.error(429, "Tomorrow", header))) as provider:
            assert len(run(place, SMALL, opened("anthropic", provider))) == 9


def pause(form: str) -> tuple[dict[str, str], float]:
    """Return a header that asks for a short pause, and the time at which that ends."""
    if form == "date":
        date = formatdate(time.time() + 1.0, usegmt=True)
        return {"retry-after": date}, parsedate_to_datetime(date).timestamp()
    header = {"retry-after": "0.2"} if form == "seconds" else {"retry-after-ms": "200", "retry-after": "0"}
    return header, time.time() + 0.2
