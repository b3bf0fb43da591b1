"""With replies of real servers, rows are exact, rejected prompts are replaced, and general faults stop the run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from consistent_chat.drivers import RunStats
from consistent_chat.errors import ServingError, UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.store import ResponseStore
from tests.faults import Reply, run
from tests.provider import Call, Provider, Script
from tests.servings import opened

CASES = yaml.safe_load(Path(__file__).with_name("servers.yaml").read_text("utf-8"))
MADE = ("substituted", "refused", "retried", "truncated", "adapted", "waited")
RECIPE = Recipe(model="some-model", num_dialogs_per_intent=3, num_turns_per_dialog=2)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses to 50 ms, but keep their number."""
    monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.005)
    monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_PAUSE", 0.05)
    monkeypatch.setattr("consistent_chat.drivers.retry.LOADING_PAUSE", 0.05)
    monkeypatch.setattr("consistent_chat.drivers.retry.UNEXPLAINED_SILENCE", 0.2)


def named(*outcomes: str) -> Any:
    """Return the parameters of a test for the cases with these outcomes."""
    cases = [case for case in CASES if case["outcome"] in outcomes]
    return pytest.mark.parametrize("case", cases, ids=lambda case: str(case["name"]))


def serving_of(case: dict[str, Any], provider: Provider) -> Any:
    """Open the serving that a case is about."""
    return opened(case.get("kind", "openai"), provider)


def script(case: dict[str, Any]) -> Script:
    """Return the script of a server that gives the reply of a case."""
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    reply = Reply.body(case["status"], body, case.get("headers"))
    strikes = struck(case["for"])
    return lambda call: reply if strikes(call) else (streamed(call) if call.body.get("stream") else None)


def struck(when: Any) -> Callable[[Call], bool]:
    """Return a function that says which calls get the reply."""
    seen: Counter[str] = Counter()
    if isinstance(when, dict):
        ((how, number),) = when.items()
        return {
            "from": lambda call: call.number >= number,
            "first": lambda call: call.number < number,
            "once": lambda call: call.number == number,
            "above": lambda call: (call.body.get("max_tokens") or call.body["max_completion_tokens"]) > number,
        }[how]
    return {
        "all": lambda call: True,
        "prompts": lambda call: is_marked(call, 8),
        "twice": lambda call: is_marked(call, 4) and seen.update([told(call)]) is None and seen[told(call)] < 3,
        "system": lambda call: any(message["role"] == "system" for message in call.body["messages"]),
        "unstreamed": lambda call: not call.body.get("stream"),
        "counted streams": lambda call: not call.body.get("stream") or "stream_options" in call.body,
        "system text": lambda call: "system" in call.body,
        "marked": lambda call: "cache_control" in json.dumps(call.body),
        "schemas": lambda call: "output_config" in call.body,
    }[when]


def is_marked(call: Call, part: int) -> bool:
    """Tell whether a prompt gets the reply; the harmless probe request never does."""
    if "weather of an ordinary day" in told(call):
        return False
    return int(hashlib.sha256(told(call).encode()).hexdigest(), 16) % part == 0


def told(call: Call) -> str:
    """Return the user's message from any form of request."""
    return str(call.body["messages"][-1]["content"])[-400:]


def streamed(call: Call) -> Reply:
    """Return a good answer as a stream of chunks."""
    text = json.dumps(call.texts)
    chunks = [{"choices": [{"index": 0, "delta": {"content": text[at : at + 7]}}]} for at in range(0, len(text), 7)]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": {}}]
    lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return Reply.body(200, lines, {"content-type": "text/event-stream"})


@pytest.mark.slow_after(4)
@named(*MADE)
def test_all_rows_are_made_and_a_replay_makes_the_same(case: dict[str, Any], tmp_path: Path) -> None:
    """All rows are made, a rerun and a replay give the same rows, and no transport fault is stored."""
    place, stats = str(tmp_path / "responses"), RunStats()
    with Provider(script(case)) as provider:
        made = run(place, RECIPE, serving_of(case, provider), stats)
        asked = len(provider.requests)
        assert len(made) == len(Plan(RECIPE))
        assert run(place, RECIPE, serving_of(case, provider)) == made
        assert len(provider.requests) == asked, "a rerun meets nothing anew"
    assert run(place, RECIPE) == made
    finishes = [json.loads(record.kept.response)["finish"] for record in ResponseStore(place).records()]
    assert ("refusal" in finishes) == (case["outcome"] in ("substituted", "refused"))
    assert ("length" in finishes) == (case["outcome"] == "truncated")
    assert (stats.substitutes > 0) == (case["outcome"] in ("substituted", "refused"))


@pytest.mark.slow_after(4)
@pytest.mark.parametrize("case", [case for case in CASES if case["for"] == "prompts"])
def test_the_last_prompt_that_is_missing_can_be_refused_too(case: dict[str, Any], tmp_path: Path) -> None:
    """If no other requests are in flight, a harmless request shows that the server answers."""
    strikes = script({**case, "for": "all"})
    seen: list[str] = []

    def reply(call: Call) -> Reply | None:
        if "weather of an ordinary day" in json.dumps(call.body["messages"]):
            return None
        seen.append(told(call))
        return strikes(call) if told(call) == seen[0] else None

    recipe = Recipe(model="some-model", num_dialogs_per_intent=1, num_turns_per_dialog=2, intents=("educational",))
    with Provider(reply) as provider:
        (dialogue,) = run(str(tmp_path / "responses"), recipe, serving_of(case, provider), max_concurrency=1)
    assert dialogue.spec.substitute == 1
    assert len(provider.requests) <= 16


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("shape", ["reasoning", "parts", "strings", "object"])
def test_an_answer_is_read_from_wherever_it_stands(shape: str, tmp_path: Path) -> None:
    """Answers in the reasoning, in parts or as an object are read, and a replay reads the same."""

    def reply(call: Call) -> Reply:
        text = json.dumps(call.texts)
        message: dict[str, Any] = {
            "reasoning": {"content": None, "reasoning_content": f"Hm.\n{text}"},
            "parts": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]},
            "strings": {"content": [text[:9], text[9:]]},
            "object": {"content": call.texts},
        }[shape]
        return Reply.body(200, json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))

    place = str(tmp_path / "responses")
    with Provider(reply) as provider:
        made = run(place, RECIPE, opened("openai", provider))
    assert len(provider.requests) == 2 * len(Plan(RECIPE))
    assert run(place, RECIPE) == made


def test_reasoning_without_an_answer_is_named(tmp_path: Path) -> None:
    """Reasoning without an answer raises an error that names the field."""
    message = {"content": "", "reasoning_content": "I would rather think."}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    with (
        Provider(lambda call: Reply.body(200, body)) as provider,
        pytest.raises(UnfilledSlot, match="reasoning_content"),
    ):
        run(str(tmp_path / "responses"), RECIPE, opened("openai", provider))


@pytest.mark.slow_after(4)
@named("stopped")
def test_a_fault_of_all_stops_within_a_few_calls(case: dict[str, Any], tmp_path: Path) -> None:
    """A general fault stops the run within a few calls, keeps all answers, and the message says to rerun."""
    place = str(tmp_path / "responses")
    with (
        Provider(script(case)) as provider,
        pytest.raises(ServingError, match="rerun to resume"),
    ):
        run(place, RECIPE, serving_of(case, provider), max_concurrency=4)
    assert len(provider.requests) <= 11 + 4 * 6
    assert all('"finish":"stop"' in record.kept.response for record in ResponseStore(place).records())


@named("redirected")
def test_a_redirect_is_named_and_not_followed(case: dict[str, Any], tmp_path: Path) -> None:
    """A redirect raises an error at the first call, without the address's query and credentials."""
    with Provider(script(case)) as provider, pytest.raises(ServingError, match="redirects to http://127") as seen:
        run(str(tmp_path / "responses"), RECIPE, serving_of(case, provider), max_concurrency=1)
    assert "secret" not in str(seen.value)
    assert "base_url" in str(seen.value)
    assert len(provider.requests) == 1


@named("waited")
def test_a_server_that_loads_is_waited_for_and_said_to_be(
    case: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While a server loads its model, the run waits and logs one line."""
    with caplog.at_level(logging.WARNING), Provider(script(case)) as provider:
        run(str(tmp_path / "responses"), RECIPE, serving_of(case, provider), max_concurrency=2)
    said = [record.getMessage() for record in caplog.records if "become ready" in record.getMessage()]
    assert len(said) == 1
    assert "Loading model" in said[0]


def test_every_outcome_stands_in_the_table_of_the_docs() -> None:
    """The outcomes in the documentation's table are exactly those of the tested cases."""
    docs = (Path(__file__).parents[2] / "docs" / "servings.md").read_text("utf-8")
    cells = [line.split("|")[3].strip() for line in docs.splitlines() if line.startswith("| ") and line.count("|") == 4]
    assert {case["outcome"] for case in CASES} == {cell.partition(":")[0] for cell in cells if ":" in cell}
