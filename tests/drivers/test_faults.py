"""The fault matrix: whatever a server does, exactly the counts asked for, or at once one clear error.

Real servings call a real server on this machine. Its faults are chosen by the number or the prompt of a call.
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
    """Return a test's parameters, all but a few of them slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause as often as ever, and shortly."""
    monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.005)
    monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_PAUSE", 0.05)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a server that is silent after half a second, not after minutes."""
    monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_SILENCE", 0.5)


@pytest.fixture(params=["anthropic", pytest.param("openai", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """Each protocol in turn."""
    return str(request.param)


def checked(
    place: str, kind: str, provider: Provider, recipe: Recipe = SMALL, timeout: float = 1.0, **limits: Any
) -> RunStats:
    """Run against a provider with faults, and hold everything that is promised; return what was counted."""
    stats = RunStats()
    made = run(place, recipe, opened(kind, provider, timeout=timeout), stats, **limits)
    assert [dialogue.spec.index for dialogue in made] == list(range(len(Plan(recipe))))
    assert_really_said(made, provider, recipe.num_turns_per_dialog)
    asked = len(provider.requests)
    assert run(place, recipe) == made, "a replay walks through the same failures to the same rows"
    assert len(provider.requests) == asked
    return stats


def assert_really_said(made: list[Dialogue], provider: Provider, turns: int) -> None:
    """All messages of a row are those of two good answers, word for word, and the second is to the first."""
    good = (GOOD, *HARMLESS.values())
    sound = [call for call, reply in provider.replies if any(reply is one for one in good)]
    said = {tuple(call.texts.values()): json.dumps(call.body["messages"]) for call in sound}
    for dialogue in made:
        assert len(dialogue.user_messages) == len(dialogue.answers) == turns
        assert dialogue.user_messages in said
        assert all(message in said[dialogue.answers] for message in dialogue.user_messages)


def assert_nothing_was_lost(stats: RunStats, provider: Provider) -> None:
    """Each answer that came whole was counted, and no passing fault was."""
    passing = sum(any(reply is fault for fault in PASSING.values()) for _, reply in provider.replies)
    assert (stats.calls, stats.retries) == (len(provider.replies) - passing, passing)


class TestOneFault:
    """Each by itself, in the place of every fourth answer."""

    @pytest.mark.parametrize("fault", chosen(RETRIED))
    def test_the_counts_are_exact_and_nothing_is_invented(self, place: str, fault: str) -> None:
        """The protocols take turns here; the slow tests try each fault with both."""
        kind = KINDS[list(RETRIED).index(fault) % 2]
        with Provider(every(4, RETRIED[fault])) as provider:
            stats = checked(place, kind, provider, timeout=0.2 if fault == "hang" else 10.0)
        assert_nothing_was_lost(stats, provider)

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", RETRIED)
    def test_in_both_protocols_and_at_full_length(self, place: str, kind: str, fault: str) -> None:
        """Six messages and six answers, 36 dialogues."""
        with Provider(every(4, RETRIED[fault])) as provider:
            checked(place, kind, provider, FULL, timeout=0.5 if fault == "hang" else 30.0)

    @pytest.mark.parametrize("fault", chosen(UNUSABLE, {"refusal", "truncation"}))
    def test_a_prompt_that_is_never_answered_usably_is_replaced(self, place: str, fault: str) -> None:
        """A quarter of the prompts is given up after all draws; substitutes keep the counts exact."""
        kind = KINDS[list(UNUSABLE).index(fault) % 2]
        with Provider(for_prompts(25, [UNUSABLE[fault]], seed=1)) as provider:
            assert checked(place, kind, provider, timeout=30.0, max_draws=2).substitutes > 0


class TestMixed:
    """All faults at once, in the place of a quarter of the answers."""

    def test_the_counts_are_exact_and_nothing_is_invented(self, place: str, kind: str) -> None:
        """As with one fault alone."""
        faults = [reply for name, reply in RETRIED.items() if not name.startswith("5 MB")]
        with Provider(share(25, faults, seed=0)) as provider:
            stats = checked(place, kind, provider, timeout=0.3)
        assert stats.retries > 0
        assert sum(stats.failed.values()) > 0

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(1, 6))
    def test_whatever_the_seed(self, place: str, kind: str, seed: int) -> None:
        """Other faults meet other calls."""
        with Provider(share(25, list(RETRIED.values()), seed)) as provider:
            checked(place, kind, provider, FULL, timeout=3.0)

    def test_a_run_without_faults_afterwards_asks_only_for_what_is_missing(self, place: str, kind: str) -> None:
        """What the faulty run has kept, unusable answers included, serves the next one."""
        with Provider(share(25, list(UNUSABLE.values()), seed=3)) as provider:
            made = run(place, SMALL, opened(kind, provider))
        with Provider() as provider:
            assert run(place, SMALL, opened(kind, provider)) == made
        assert provider.requests == []


class TestConnections:
    """A server that is not there."""

    def test_a_refused_connection_is_tried_again(self, place: str, kind: str) -> None:
        """The server comes up after the first calls were refused."""
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
        """Five tries of one call, then its address is likely wrong."""
        with Provider() as provider:
            serving = opened(kind, provider)
        stats = RunStats()
        with pytest.raises(ServingError, match=rf"{provider.url}.* failed: .*Check the network and base_url.*5 tries"):
            run(place, SMALL, serving, stats)
        assert stats.retries <= 5 * 30


@pytest.mark.usefixtures("_impatient")
class TestFinal:
    """What trying again cannot help."""

    @pytest.mark.parametrize("fault", chosen(FINAL, {"status 400", "status 401", "insufficient quota"}))
    def test_one_clear_error_at_once(self, kind: str, fault: str, tmp_path: Path, capsys: Any) -> None:
        """Each call in flight is refused once, in each form if that may be at fault, and the command ends with 1."""
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
        """Its name is what must be corrected."""
        with Provider() as provider:
            assert build(kind, provider, tmp_path, "no-such-model") == 1
        assert "Check the model name, 'no-such-model'" in capsys.readouterr().err
        assert len(provider.requests) <= 30 + 1

    @pytest.mark.parametrize("fault", ["insufficient quota", "credit balance"])
    def test_an_account_without_money_is_said(self, place: str, kind: str, fault: str) -> None:
        """Neither the request nor the load of the server is at fault: the account has no credit."""
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
        """The next run continues from there."""
        with (
            Provider(lambda call: FINAL[fault] if call.number >= 8 else None) as provider,
            pytest.raises(ServingError, match=f"answered {FINAL[fault].status}"),
        ):
            run(place, SMALL, opened(kind, provider), max_concurrency=2)
        assert len(provider.requests) <= 8 + 2 * 3 + 1
        answered = sum(reply is GOOD for _, reply in provider.replies)
        with Provider() as provider:
            run(place, SMALL, opened(kind, provider))
        assert len(provider.requests) == 2 * len(Plan(SMALL)) - answered

    @pytest.mark.parametrize("fault", ["status 400", "status 413"])
    def test_one_request_that_is_refused_costs_no_run_that_goes_well(self, place: str, kind: str, fault: str) -> None:
        """While others are answered, such a refusal is a stumble of the server, or the fault of one prompt."""
        refused = FINAL[fault]
        with Provider(lambda call: refused if call.number % 4 == 3 else None) as provider:
            made = run(place, SMALL, opened(kind, provider))
        assert len(made) == len(Plan(SMALL))
        assert_really_said(made, provider, SMALL.num_turns_per_dialog)


@pytest.mark.usefixtures("_impatient")
class TestNothingSucceeds:
    """A run that gets nothing usable stops instead of spending."""

    @pytest.mark.slow_after(1)
    @pytest.mark.parametrize("stage", ["skeleton", "answers"])
    @pytest.mark.parametrize("fault", chosen(VAIN, {"prose", "truncation"}))
    def test_answers_that_are_never_usable_end_the_run_early(self, place: str, fault: str, stage: str) -> None:
        """One error says what the model answers and what to do."""
        with (
            Provider(lambda call: UNUSABLE[fault] if call.stage == stage else None) as provider,
            pytest.raises(ConsistentChatError, match=rf"{VAIN[fault]}.*Look at what '{OLD}' answers"),
        ):
            run(place, LARGE, opened("anthropic", provider))
        assert len([call for call in provider.requests if call.stage == stage]) <= FEW

    @pytest.mark.slow
    def test_a_model_that_is_usable_one_time_in_four_is_put_up_with(self, place: str) -> None:
        """Poor is not hopeless."""
        with Provider(share(75, list(UNUSABLE.values()), seed=0)) as provider:
            checked(place, "anthropic", provider, timeout=10.0, max_draws=10)

    @pytest.mark.slow
    def test_a_server_that_hangs_from_the_start_is_given_up(self, place: str) -> None:
        """Though calls wait for the first answer, they do not all hang one after another, five times each."""
        with (
            Provider(lambda call: PASSING["hang"]) as provider,
            pytest.raises(ServingError, match=r"did not answer within 0\.1 seconds.*Stopping"),
        ):
            run(place, SMALL, opened("openai", provider, timeout=0.1))
        assert len(provider.requests) <= 20

    @pytest.mark.slow
    @pytest.mark.parametrize("status", chosen([500, 503, 429, 529], {503, 529}))
    def test_a_server_that_always_fails_is_given_up(self, place: str, kind: str, status: int) -> None:
        """Its last words are in the error."""
        with (
            Provider(lambda call: PASSING[f"status {status}"]) as provider,
            pytest.raises(ServingError, match=rf"answered {status}: Busy.*Stopping.*rerun to resume"),
        ):
            run(place, SMALL, opened(kind, provider))
        assert len(provider.requests) <= FEW


def build(kind: str, provider: Provider, folder: Path, model: str) -> int:
    """Build through the command line; return its exit code."""
    url = provider.url if kind == "anthropic" else provider.openai_url
    called = ("--serving", kind, "--base-url", url, "--api-key", KEY, "--model", model)
    stored = ("--responses", str(folder / "responses"), "--output", str(folder / "rows.jsonl"))
    return main(["build", *called, *stored])


def message_of(reply: Reply) -> str:
    """Return the server's own words in an error."""
    message: str = json.loads(reply.raw or b"")["error"]["message"]
    return message


def free_port() -> int:
    """Return a port on which no server listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
