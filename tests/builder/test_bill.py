"""The run's last line, its budget, the card, and the reports of recipe and store agree on tokens and cost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset, load_dataset_builder

from consistent_chat.card.header import Seen
from consistent_chat.commands.estimate import estimate
from consistent_chat.dialogue.parse import Reason
from consistent_chat.errors import BudgetSpent, ConsistentChatError
from consistent_chat.prices import Tokens, cached, price_of
from consistent_chat.reports import report, sources
from consistent_chat.reports.summary import Summary
from tests.dialogue.turns import in_turn, kind
from tests.provider import Call, Provider, Reply, answer

MODEL, JUDGE = "gpt-5-mini", "claude-haiku-4-5"
RECIPE: dict[str, Any] = {
    **{"model": MODEL, "judge_model": JUDGE, "intents": "educational"},
    **{"num_dialogs_per_intent": 3, "num_turns_per_dialog": 2},
}
USAGE = {
    "prompt_tokens": 2000,
    "completion_tokens": 300,
    "total_tokens": 2900,
    "prompt_tokens_details": {"cached_tokens": 1500},
    "completion_tokens_details": {"reasoning_tokens": 600},
}
"""2,000 tokens in, 1,500 of them from the cache; 900 out, 600 of them thoughts that stand beside the count."""

TALK = '{"user_1": "How much yeast is in bread?", "user_2": "And salt?"}'


def replied(call: Call) -> Reply:
    """Return an answer with its usage; the second answer is unusable, and the third is a refusal."""
    text = json.dumps(call.texts) if call.number != 1 else "Well."
    message = {"content": text, "refusal": "No." if call.number == 2 else None}
    body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE, "model": "gpt"}
    return Reply.body(200, json.dumps(body))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.slow
def test_all_sums_agree(place: str) -> None:
    """All sums agree for a run with unusable draws, a spec that was given up, and a judge with another price."""
    with Provider(replied) as provider:
        options = {"serving": "openai", "base_url": provider.openai_url, "api_key": "key", "max_concurrency": 1}
        live = load_dataset_builder("consistent_chat", **RECIPE, responses=place, **options)
        live.download_and_prepare()
    (run,) = live.all_stats.values()
    calls = len(provider.requests)
    assert (run.calls, run.input_tokens, run.output_tokens) == (calls, 2000 * calls, 900 * calls)
    assert calls > 9

    builder = load_dataset_builder("consistent_chat", **RECIPE, responses=place)
    seen = Seen()
    for dialogue in builder.replay("train"):
        seen.see("train", dialogue)
    whole = report(responses=place, **RECIPE)
    alone = report(place)
    of_card = {RECIPE[field]: tokens for (_, field), tokens in seen.tokens.items()}
    assert of_card == whole.tokens == alone.tokens
    assert of_card[JUDGE] == Tokens(2000, 900, 1500, 0, 600).times(3)
    assert run.cost == pytest.approx(seen.cost(builder.recipes))
    assert run.cost == pytest.approx(sum(used.cost or 0.0 for used in whole.used))
    price = price_of(MODEL)
    assert price is not None
    assert price.of(of_card[MODEL]) == pytest.approx((calls - 3) * (500 * 0.25 + 1500 * 0.025 + 900 * 2) / 1e6)

    told = cached(1500 * calls, 2000 * calls, ((calls - 3) * 0.225 + 3 * 0.9) * 1500 / 1e6)
    assert told in str(run)
    assert told == whole.caches == alone.caches

    more = {**RECIPE, "num_dialogs_per_intent": 6}
    planned = load_dataset_builder("consistent_chat", **more, responses=place)
    told = estimate(planned.recipes["train"], planned.plans()["train"], planned.store())
    assert told.output_tokens == 900 * told.calls
    assert told.cost == pytest.approx((run.cost or 0.0) / calls * told.calls, rel=0.5)


@pytest.mark.slow
def test_a_user_model_is_billed_by_itself(place: str) -> None:
    """The user model is billed at its own price in the run, the card and the report, including repeated draws."""
    models = {"model": "claude-sonnet-4-6", "user_model": "claude-haiku-4-5"}
    form = {"users": "turn_by_turn", "answers": "turn_by_turn", "num_turns_per_dialog": 2}
    recipe: dict[str, Any] = {**models, **form, "intents": "educational", "num_dialogs_per_intent": 2}
    with Provider(lambda call: Reply.text(" ") if call.number in (1, 4) else in_turn(call)) as provider:
        options = {"serving": "anthropic", "base_url": provider.url, "api_key": "key", "max_concurrency": 1}
        live = load_dataset_builder("consistent_chat", **recipe, responses=place, **options)
        live.download_and_prepare()
        asked = Counter(call.body["model"] for call in provider.requests)
    builder, seen = load_dataset_builder("consistent_chat", **recipe, responses=place), Seen()
    for dialogue in builder.replay("train"):
        seen.see("train", dialogue)
    whole = report(responses=place, **recipe)
    assert {recipe[field]: tokens for (_, field), tokens in seen.tokens.items()} == whole.tokens
    assert set(whole.tokens) == set(asked)
    assert tokens_of(place) == whole.tokens
    with pytest.raises(ConsistentChatError, match=r"There are no .*2 dialogues were made turn by turn.*--recipe"):
        report(place)
    assert live.all_stats["train"].cost == pytest.approx(sum(used.cost or 0.0 for used in whole.used))
    assert live.all_stats["train"].cost == pytest.approx(seen.cost(builder.recipes))


def test_pairs_are_billed_by_model(place: str) -> None:
    """Other answers and the first judge's comparisons are billed by model, with failed draws and a near-duplicate."""
    first, judges = "claude-opus-4-1", ["claude-opus-4-1", "claude-haiku-4-5"]
    talks = iter([TALK, TALK.replace("?", " ?")])
    compared, reasons = list[str](), list[Reason]()

    def script(call: Call) -> Reply | None:
        if call.stage == "skeleton" and (talk := next(talks, None)):
            return Reply.text(talk)
        if call.names[0] != "first_reason":
            is_other = kind(call) == "answer"
            return Reply.text(f"Number {call.number} is it." if call.number > 4 else " ") if is_other else None
        compared.append(call.body["model"])
        own = '"first": "This' in call.body["messages"][0]["content"]
        scores = (3, 3) if len(compared) < 3 else (5, 1) if own else (1, 5)
        return Reply.text(json.dumps({**call.texts, **dict(zip(("first", "second"), scores))}))

    recipe: dict[str, Any] = {
        **{"model": "claude-sonnet-4-6", "judge": {"model": judges}, "layout": "preference", "intents": "educational"},
        **{"preferences": {"rejected_model": "claude-3-5-haiku-latest"}, "drop_near_duplicates": 0.9},
        **{"num_dialogs_per_intent": 2, "num_turns_per_dialog": 2},
    }
    with Provider(script) as provider:
        options = {"serving": "anthropic", "base_url": provider.url, "api_key": "key", "max_concurrency": 1}
        live = load_dataset_builder("consistent_chat", **recipe, responses=place, **options)
        live.download_and_prepare()
    builder, seen = load_dataset_builder("consistent_chat", **recipe, responses=place), Seen()
    for dialogue in builder.replay("train"):
        seen.see("train", dialogue)
        reasons.extend(draw.reason for draw in dialogue.failed)
    assert sorted(reasons) == [Reason.NEAR_DUPLICATE, Reason.NO_PREFERENCE, Reason.UNANSWERED]
    assert set(compared) == {first}
    whole = report(responses=place, **recipe)
    of_card = {recipe.get(field, field[len("model:") :]): tokens for (_, field), tokens in seen.tokens.items()}
    assert of_card == whole.tokens == tokens_of(place)
    assert {name: tokens[:2] for name, tokens in whole.tokens.items()} == paid(provider)
    assert len(whole.tokens) == 4
    assert live.all_stats["train"].cost == pytest.approx(sum(used.cost or 0.0 for used in whole.used))
    assert live.all_stats["train"].cost == pytest.approx(seen.cost(builder.recipes))


@pytest.mark.parametrize("user_model", ["claude-haiku-4-5", pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dropped", ["near-duplicate", "rejected"])
def test_a_dialogue_that_is_dropped_is_billed_by_model(dropped: str, user_model: str | None, place: str) -> None:
    """The user messages, answers and judge of a dropped dialogue are each billed at their own price, each draw once."""
    talks = iter([" ", TALK, TALK.replace("?", " ?")])

    def script(call: Call) -> Reply | None:
        is_skeleton = kind(call) == "skeleton"
        return Reply.text(text) if is_skeleton and (text := next(talks, None)) else in_turn(call)

    recipe: dict[str, Any] = {
        **{"model": "claude-sonnet-4-6", "user_model": user_model, "judge_model": "claude-opus-4-1"},
        **{"answers": "turn_by_turn", "intents": "educational", "num_dialogs_per_intent": 2, "num_turns_per_dialog": 2},
    }
    options: dict[str, Any] = {"serving": "anthropic", "api_key": "key", "max_concurrency": 1, "responses": place}
    with Provider(script) as provider:
        options["base_url"] = provider.url
        if dropped == "rejected":
            first = load_dataset("consistent_chat", split="train", **recipe, **options)
            mark = {"keys": first[1]["provenance"]["request_keys"], "verdict": "reject", "reason": "dull"}
            recipe["review"] = {"marks": [mark]}
        else:
            recipe["drop_near_duplicates"] = 0.9
        load_dataset("consistent_chat", **recipe, **options)
    builder, seen = load_dataset_builder("consistent_chat", **recipe, responses=place), Seen()
    for dialogue in builder.replay("train"):
        seen.see("train", dialogue)
    assert [draw.reason for draw in dialogue.failed][-1] in (Reason.NEAR_DUPLICATE, Reason.REJECTED)
    whole = report(responses=place, **recipe)
    assert {recipe[field]: tokens for (_, field), tokens in seen.tokens.items()} == whole.tokens == tokens_of(place)
    assert {name: tokens[:2] for name, tokens in whole.tokens.items()} == paid(provider)


def tokens_of(place: str) -> dict[str, Tokens]:
    """Return the tokens by model in a store alone, because a report omits dialogues that were made turn by turn."""
    alone = Summary("", {})
    for entry in sources.read_reviewed(place, None).entries:
        alone.add(entry)
    return alone.tokens


def paid(provider: Provider) -> dict[str, tuple[float, float]]:
    """Return the input and output tokens that a provider has counted, by model."""
    tokens: dict[str, tuple[float, float]] = {}
    for call, reply in provider.replies:
        usage, before = json.loads(answer(call, reply))["usage"], tokens.get(call.body["model"], (0, 0))
        tokens[call.body["model"]] = before[0] + usage["input_tokens"], before[1] + usage["output_tokens"]
    return tokens


def test_a_limit_counts_the_same_dollars(place: str) -> None:
    """A run stops when its cost, which includes the discount for cached tokens, reaches `max_cost`."""
    with Provider(replied) as provider:
        options = {"serving": "openai", "base_url": provider.openai_url, "api_key": "key", "max_concurrency": 1}
        fields = {**RECIPE, "num_dialogs_per_intent": 50, "judge_model": None, "max_cost": 0.02}
        builder = load_dataset_builder("consistent_chat", **fields, responses=place, **options)
        with pytest.raises(BudgetSpent, match="is reached"):
            builder.download_and_prepare()
    spent = len(provider.requests) * (500 * 0.25 + 1500 * 0.025 + 900 * 2) / 1e6
    assert 0.02 - 0.003 < spent < 0.02 + 0.003


FAULTY: list[tuple[str, dict[str, Any]]] = [
    ("openai", {"choices": []}),
    ("openai", {"choices": [{"message": {"content": "Hi"}, "finish_reason": "error"}]}),
    ("openai", {"choices": [{"error": {"code": 502, "message": "gone"}}]}),
    ("anthropic", {"content": [], "stop_reason": None}),
    ("anthropic", {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "error"}),
]


@pytest.mark.parametrize(("protocol", "body"), FAULTY)
def test_a_faulty_answer_is_paid_for_if_the_server_says_so(protocol: str, body: dict[str, Any], place: str) -> None:
    """The tokens of a faulty 200 are counted in the run's last line and in the budget, but not as an answered call."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "input_tokens": 1000, "output_tokens": 100}
    faulty = Reply.body(200, json.dumps({**body, "usage": usage}))
    recipe: dict[str, Any] = {"model": MODEL, "intents": "educational", "num_dialogs_per_intent": 1}
    with Provider(lambda call: faulty if call.number == 1 else None) as provider:
        url = provider.openai_url if protocol == "openai" else provider.url
        options = {"serving": protocol, "base_url": url, "api_key": "key", "max_concurrency": 1, "max_cost": 5.0}
        builder = load_dataset_builder("consistent_chat", **recipe, responses=place, **options)
        builder.download_and_prepare()
        stats = builder.all_stats["train"]
        usages = [
            usage if reply is faulty else json.loads(answer(call, reply))["usage"] for call, reply in provider.replies
        ]
    names = ("prompt_tokens", "completion_tokens") if protocol == "openai" else ("input_tokens", "output_tokens")
    price = price_of(MODEL)
    assert price is not None
    assert stats.calls == len(usages) - 1
    assert stats.cost == pytest.approx(sum(price.of(Tokens(*(usage[name] for name in names))) for usage in usages))
    assert builder.spent.cost == pytest.approx(stats.cost)


def options(provider: Provider, place: str, **given: Any) -> dict[str, Any]:
    """Return the options of a build that calls a provider, one call at a time."""
    called = {"serving": "openai", "base_url": provider.openai_url, "api_key": "key", "max_concurrency": 1}
    return {**called, "responses": place, **given}


@pytest.mark.parametrize("stop", [{"max_calls": 5}, {"max_cost": 0.01}, {}], ids=["calls", "cost", "error"])
def test_a_build_that_stops_tells_what_it_has_spent(
    stop: dict[str, float], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A build that a limit or an error stops tells its calls, tokens and dollars, also those of unusable answers."""
    paid = Reply.body(200, json.dumps({"choices": [], "usage": USAGE}))
    said = lambda call: Reply.error(401, "No") if call.number > 4 and not stop else replied(call)  # noqa: E731
    with Provider(lambda call: paid if call.number == 3 else said(call)) as provider:
        fields = {**RECIPE, "judge_model": None, "num_dialogs_per_intent": 50}
        builder = load_dataset_builder("consistent_chat", **options(provider, place, **fields, **stop))
        with pytest.raises(ConsistentChatError):
            builder.download_and_prepare()
    price, (told,) = price_of(MODEL), [line for line in caplog.messages if line.startswith("Before the stop: ")]
    assert price is not None
    answers = sum(reply.status == 200 for _, reply in provider.replies)
    cost = price.of(Tokens(2000, 900, 1500, 0, 600)) * answers
    assert f" {answers - 1} calls, {answers * 2900:,} tokens, ${cost:.4f}, " in told


def test_calls_without_a_known_price_are_told_beside_the_cost(place: str) -> None:
    """Where only one of two models has a known price, the last line tells how many calls its cost does not include."""
    with Provider() as provider:
        fields = {**RECIPE, "judge_model": "my-judge", "num_dialogs_per_intent": 2}
        builder = load_dataset_builder("consistent_chat", **options(provider, place, **fields))
        builder.download_and_prepare()
    told = str(builder.all_stats["train"])
    assert "6 calls" in told
    assert "$0.00" in told
    assert "2 calls without a known price (not in this cost)" in told


@pytest.mark.slow
def test_timeouts_are_told_because_a_provider_may_bill_them(place: str) -> None:
    """The last line counts the calls that were not answered in time."""
    with Provider(lambda call: Reply.hang() if call.number == 1 else replied(call)) as provider:
        fields = {**RECIPE, "judge_model": None, "timeout": 0.15}
        builder = load_dataset_builder("consistent_chat", **options(provider, place, **fields))
        builder.download_and_prepare()
    assert "1 retry, 1 timeout (may be billed)" in str(builder.all_stats["train"])


def test_what_is_not_counted_is_said(place: str) -> None:
    """A response without token counts is told of in the run's last line, the reports and the card."""
    message = {"content": json.dumps({"user_1": "How much yeast?", "user_2": "And salt?"})}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    recipe: dict[str, Any] = {**RECIPE, "judge_model": None, "num_dialogs_per_intent": 1}
    with Provider(lambda call: Reply.body(200, json.dumps(body)) if call.number == 0 else replied(call)) as provider:
        options = {"serving": "openai", "base_url": provider.openai_url, "api_key": "key", "max_concurrency": 1}
        live = load_dataset_builder("consistent_chat", **recipe, responses=place, **options)
        live.download_and_prepare()
    seen = Seen()
    builder = load_dataset_builder("consistent_chat", **recipe, responses=place)
    for dialogue in builder.replay("train"):
        seen.see("train", dialogue)
    assert "1 call without token counts (cost estimated)" in str(live.all_stats["train"])
    for told in (report(place), report(responses=place, **recipe)):
        assert told.uncounted == "1 response without token counts not included"
        assert sum(tokens.uncounted for tokens in seen.tokens.values()) == 1
