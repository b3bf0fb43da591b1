"""For every fault of a server, a run makes exactly the requested rows or stops early with one clear error.

Real servings call a real server on this machine. The number or the prompt of a call selects its fault.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.cli import main
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import RunStats
from consistent_chat.errors import ConsistentChatError, ServingError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from tests.faults import FINAL, GOOD, HARMLESS, PASSING, UNUSABLE, Reply, every, for_prompts, run, share
from tests.provider import Provider
from tests.servings import KEY, OLD, opened

SMALL = Recipe(
    model=OLD, num_dialogs_per_intent=3, num_turns_per_dialog=2, intents=("educational", "simulation", "exploratory")
)
FULL = Recipe(model=OLD, num_dialogs_per_intent=4, num_turns_per_dialog=6)
LARGE = Recipe(model=OLD, num_dialogs_per_intent=20, num_turns_per_dialog=6)
KINDS = ("anthropic", "openai")
RETRIED = {**PASSING, **UNUSABLE, **HARMLESS}
QUICK = {
    *("status 503", "reset", "body cut", "hang", "html page", "refusal", "truncation", "prose"),
    *("nested messages", "one message too many", "duplicate key", "invalid utf-8"),
}
"""Faults that the fast tests try one by one. The slow ones try all of them."""
VAIN = {
    "prose": "no_json",
    "empty content": "no_json",
    "refusal": "refused",
    "truncation": "truncated",
    "one message too many": "wrong_turn_count",
    "nested messages": "not_text",
}
"""Faults that go on and on, and what the error calls them."""
FEW = 200
"""Calls, of the 6,480 that a run of the default size could make in vain."""


def chosen(names: Iterable[Any], quick: Collection[Any] = QUICK) -> list[Any]:
    """Return a test's parameters, with all but a few marked as slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses to at most 50 ms, but keep their number."""
    monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.005)
    monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_PAUSE", 0.05)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a silent server after half a second instead of minutes."""
    monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_SILENCE", 0.5)


@pytest.fixture(params=["anthropic", pytest.param("openai", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """Return each protocol in turn."""
    return str(request.param)


def checked(
    place: str, kind: str, provider: Provider, recipe: Recipe = SMALL, timeout: float = 1.0, **limits: Any
) -> RunStats:
    """Run against a provider with faults, assert that rows and replay are exact, and return the counts."""
    stats = RunStats()
    made = run(place, recipe, opened(kind, provider, timeout=timeout), stats, **limits)
    assert [dialogue.spec.index for dialogue in made] == list(range(len(Plan(recipe))))
    assert_really_said(made, provider, recipe.num_turns_per_dialog)
    asked = len(provider.requests)
    assert run(place, recipe) == made, "a replay walks through the same failures to the same rows"
    assert len(provider.requests) == asked
    return stats


def assert_really_said(made: list[Dialogue], provider: Provider, turns: int) -> None:
    """Assert that the messages of each row are exactly those of two good answers, the second in reply to the first."""
    good = (GOOD, *HARMLESS.values())
    sound = [call for call, reply in provider.replies if any(reply is one for one in good)]
    said = {tuple(call.texts.values()): json.dumps(call.body["messages"]) for call in sound}
    for dialogue in made:
        assert len(dialogue.user_messages) == len(dialogue.answers) == turns
        assert dialogue.user_messages in said
        assert all(message in said[dialogue.answers] for message in dialogue.user_messages)


def assert_nothing_was_lost(stats: RunStats, provider: Provider) -> None:
    """Assert that each complete answer was counted as a call, and each transient fault as a retry."""
    passing = sum(any(reply is fault for fault in PASSING.values()) for _, reply in provider.replies)
    assert (stats.calls, stats.retries) == (len(provider.replies) - passing, passing)


class TestOneFault:
    """Each fault occurs alone, in place of every fourth answer."""

    @pytest.mark.parametrize("fault", chosen(RETRIED))
    def test_the_counts_are_exact_and_nothing_is_invented(self, place: str, fault: str) -> None:
        """The rows are exact with each fault; the protocols take turns, and the slow tests try each fault with both."""
        kind = KINDS[list(RETRIED).index(fault) % 2]
        with Provider(every(4, RETRIED[fault])) as provider:
            stats = checked(place, kind, provider, timeout=0.5 if fault == "hang" else 10.0)
        assert_nothing_was_lost(stats, provider)

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", RETRIED)
    def test_in_both_protocols_and_at_full_length(self, place: str, kind: str, fault: str) -> None:
        """The rows are exact in both protocols with 36 dialogues of six turns."""
        with Provider(every(4, RETRIED[fault])) as provider:
            checked(place, kind, provider, FULL, timeout=0.5 if fault == "hang" else 30.0)

    @pytest.mark.parametrize("fault", chosen(UNUSABLE, {"refusal", "truncation"}))
    def test_a_prompt_that_is_never_answered_usably_is_replaced(self, place: str, fault: str) -> None:
        """A quarter of the prompts never gets a usable answer, and substitutes keep the number of rows exact."""
        kind = KINDS[list(UNUSABLE).index(fault) % 2]
        with Provider(for_prompts(25, [UNUSABLE[fault]], seed=1)) as provider:
            assert checked(place, kind, provider, timeout=30.0, max_draws=2).substitutes > 0


class TestMixed:
    """All faults occur together, in place of a quarter of the answers."""

    def test_the_counts_are_exact_and_nothing_is_invented(self, place: str, kind: str) -> None:
        """The rows are exact with all faults mixed, with some retries and failed draws."""
        faults = [reply for name, reply in RETRIED.items() if not name.startswith("5 MB")]
        with Provider(share(25, faults, seed=0)) as provider:
            stats = checked(place, kind, provider, timeout=0.3)
        assert stats.retries > 0
        assert sum(stats.failed.values()) > 0

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(1, 6))
    def test_whatever_the_seed(self, place: str, kind: str, seed: int) -> None:
        """The rows are exact for five other seeds, which assign the faults to other calls."""
        with Provider(share(25, list(RETRIED.values()), seed)) as provider:
            checked(place, kind, provider, FULL, timeout=3.0)

    def test_a_run_without_faults_afterwards_asks_only_for_what_is_missing(self, place: str, kind: str) -> None:
        """A run after one with unusable answers makes no calls, because all responses were stored."""
        with Provider(share(25, list(UNUSABLE.values()), seed=3)) as provider:
            made = run(place, SMALL, opened(kind, provider))
        with Provider() as provider:
            assert run(place, SMALL, opened(kind, provider)) == made
        assert provider.requests == []


class TestConnections:
    """The server is not running."""

    def test_a_refused_connection_is_tried_again(self, place: str, kind: str) -> None:
        """Refused connections are retried until the server starts."""
        provider = Provider(port=free_port())
        provider.url = f"http://127.0.0.1:{provider.port}"
        serving = opened(kind, provider)
        stats = RunStats(on_call=lambda stats: provider.__enter__() if stats.retries == 1 and not stats.calls else None)
        try:
            made = run(place, SMALL, serving, stats)
        finally:
            provider.__exit__()
        assert_really_said(made, provider, SMALL.num_turns_per_dialog)
        assert stats.retries > 0

    def test_a_server_that_is_never_there_is_named_soon(self, place: str, kind: str) -> None:
        """After five tries of a call, an error names the server's address and suggests checking it."""
        with Provider() as provider:
            serving = opened(kind, provider)
        stats = RunStats()
        with pytest.raises(ServingError, match=rf"{provider.url}.* failed: .*Check the network and base_url.*5 tries"):
            run(place, SMALL, serving, stats)
        assert stats.retries <= 5 * 30


@pytest.mark.usefixtures("_impatient")
class TestFinal:
    """These errors are final, so that a retry cannot help."""

    @pytest.mark.parametrize("fault", chosen(FINAL, {"status 400", "status 401", "insufficient quota"}))
    def test_one_clear_error_at_once(self, kind: str, fault: str, tmp_path: Path, capsys: Any) -> None:
        """The command ends with code 1 and one message, after one try of each call in flight per form of request."""
        with Provider(lambda call: FINAL[fault]) as provider:
            code = build(kind, provider, tmp_path, OLD)
        said = capsys.readouterr().err.strip()
        status, words = FINAL[fault].status, message_of(FINAL[fault]).rstrip(".")
        forms = 6 if (kind, fault) == ("openai", "status 400") else 1
        assert code == 1
        assert len(provider.requests) <= (30 + 1) * forms
        assert all(call.attempt == 0 for call in provider.requests)
        assert said.count("consistent-chat:") == 1
        assert f"answered {status}: {words}. " in said
        assert KEY not in said

    def test_an_unknown_model_is_named(self, kind: str, tmp_path: Path, capsys: Any) -> None:
        """The error names the model that the server does not know."""
        with Provider() as provider:
            assert build(kind, provider, tmp_path, "no-such-model") == 1
        assert "Check the model name, 'no-such-model'" in capsys.readouterr().err
        assert len(provider.requests) <= 30 + 1

    @pytest.mark.parametrize("fault", ["insufficient quota", "credit balance"])
    def test_an_account_without_money_is_said(self, place: str, kind: str, fault: str) -> None:
        """An account without credit raises an error that says so and that a rerun resumes."""
        with (
            Provider(lambda call: FINAL[fault]) as provider,
            pytest.raises(ServingError, match=r"(credit|quota|billing).*rerun to resume"),
        ):
            run(place, SMALL, opened(kind, provider))
        assert len(provider.requests) <= 30

    @pytest.mark.parametrize(
        "fault", chosen([name for name in FINAL if name not in ("status 400", "status 413")], {"insufficient quota"})
    )
    def test_in_the_middle_of_a_run_all_answers_are_kept(self, place: str, kind: str, fault: str) -> None:
        """After a final error in the middle of a run, all answers are kept and the next run requests only the rest."""
        with (
            Provider(lambda call: FINAL[fault] if call.number >= 8 else None) as provider,
            pytest.raises(ServingError, match=f"answered {FINAL[fault].status}"),
        ):
            run(place, SMALL, opened(kind, provider), max_concurrency=2)
        # Each of the two stages has at most three requests refused, and then a harmless one. Both may do so at once.
        assert len(provider.requests) <= 8 + 2 * (3 + 1)
        answered = sum(reply is GOOD for _, reply in provider.replies)
        with Provider() as provider:
            run(place, SMALL, opened(kind, provider))
        assert len(provider.requests) == 2 * len(Plan(SMALL)) - answered

    @pytest.mark.parametrize("fault", ["status 400", "status 413"])
    def test_one_request_that_is_refused_costs_no_run_that_goes_well(self, place: str, kind: str, fault: str) -> None:
        """Single rejected requests do not stop a run while others are answered, and all rows are made."""
        refused = FINAL[fault]
        with Provider(lambda call: refused if call.number % 4 == 3 else None) as provider:
            made = run(place, SMALL, opened(kind, provider))
        assert len(made) == len(Plan(SMALL))
        assert_really_said(made, provider, SMALL.num_turns_per_dialog)


@pytest.mark.usefixtures("_impatient")
class TestNothingSucceeds:
    """A run that gets no usable answers stops instead of spending more."""

    @pytest.mark.slow_after(1)
    @pytest.mark.parametrize("stage", ["skeleton", "answers"])
    @pytest.mark.parametrize("fault", chosen(VAIN, {"prose", "truncation"}))
    def test_answers_that_are_never_usable_end_the_run_early(self, place: str, fault: str, stage: str) -> None:
        """Answers that are never usable stop the run within 200 calls, with an error that names the reason."""
        with (
            Provider(lambda call: UNUSABLE[fault] if call.stage == stage else None) as provider,
            pytest.raises(ConsistentChatError, match=rf"{VAIN[fault]}.*Look at what '{OLD}' answers"),
        ):
            run(place, LARGE, opened("anthropic", provider))
        assert len([call for call in provider.requests if call.stage == stage]) <= FEW

    @pytest.mark.slow
    def test_a_model_that_is_usable_one_time_in_four_is_put_up_with(self, place: str) -> None:
        """A model whose answers are usable one time in four does not stop the run."""
        with Provider(share(75, list(UNUSABLE.values()), seed=0)) as provider:
            checked(place, "anthropic", provider, timeout=10.0, max_draws=10)

    @pytest.mark.slow
    def test_a_server_that_hangs_from_the_start_is_given_up(self, place: str) -> None:
        """A server that hangs from the first call stops the run after at most 20 requests."""
        with (
            Provider(lambda call: PASSING["hang"]) as provider,
            pytest.raises(ServingError, match=r"did not answer within 0\.1 seconds.*Stopping"),
        ):
            run(place, SMALL, opened("openai", provider, timeout=0.1))
        assert len(provider.requests) <= 20

    @pytest.mark.slow
    @pytest.mark.parametrize("status", chosen([500, 503, 429, 529], {503, 529}))
    def test_a_server_that_always_fails_is_given_up(self, place: str, kind: str, status: int) -> None:
        """A server that always fails stops the run with the server's last message."""
        with (
            Provider(lambda call: PASSING[f"status {status}"]) as provider,
            pytest.raises(ServingError, match=rf"answered {status}: Busy.*Stopping.*rerun to resume"),
        ):
            run(place, SMALL, opened(kind, provider))
        assert len(provider.requests) <= FEW


def build(kind: str, provider: Provider, folder: Path, model: str) -> int:
    """Build with the command line and return its exit code."""
    url = provider.url if kind == "anthropic" else provider.openai_url
    called = ("--serving", kind, "--base-url", url, "--api-key", KEY, "--model", model)
    stored = ("--responses", str(folder / "responses"), "--output", str(folder / "rows.jsonl"))
    return main(["build", *called, *stored])


def message_of(reply: Reply) -> str:
    """Return the server's message in an error reply."""
    message: str = json.loads(reply.raw or b"")["error"]["message"]
    return message


def free_port() -> int:
    """Return a port on which no server listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
