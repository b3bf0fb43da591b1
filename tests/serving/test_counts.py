"""Token counts of a server that cannot be right are taken as missing, and their cost is estimated from the texts."""

from __future__ import annotations

from typing import Any

import pytest

from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.budget import Budget
from consistent_chat.prices import Tokens, billed, estimated, is_counted, price_of
from consistent_chat.request import Request, Response
from consistent_chat.serving.anthropic_messages import read_message
from consistent_chat.serving.http import Peer
from consistent_chat.serving.openai_chat import read_completion

PEER = Peer("OpenAI", "OPENAI_API_KEY", "key", None)
MODEL = "claude-sonnet-4-6"
REQUEST = Request(MODEL, "s" * 400, ({"role": "user", "content": "u" * 400},), 1.0, None, 0, 0, 0)
WRONG: list[Any] = [-5, 10**9, 10**18, 10**400, "many", 1.5, float("inf"), None, True, [], {}]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_wrong_count_is_no_count(wrong: Any) -> None:
    """A count that is not a plausible number of tokens is read as None, and neither fails nor costs anything."""
    usage = {"prompt_tokens": 5, "completion_tokens": wrong, "total_tokens": wrong}
    choices = [{"message": {"content": "Hi."}, "finish_reason": "stop"}]
    completion = read_completion(PEER, {"choices": choices, "usage": usage})
    told = {"input_tokens": wrong, "output_tokens": 5, "cache_read_input_tokens": wrong}
    message = read_message(PEER, {"content": [{"type": "text", "text": "Hi."}], "stop_reason": "stop", "usage": told})
    assert (completion.input_tokens, completion.output_tokens) == (5, None)
    assert (message.input_tokens, message.output_tokens) == (None, 5)
    assert (billed(completion), billed(message)) == (Tokens(5, uncounted=1), Tokens(0, 5, uncounted=1))


def test_zeros_for_a_text_are_no_counts() -> None:
    """Servers that count nothing say 0; an empty answer may have no tokens, and a prompt always has some."""
    assert not is_counted(Response("Hi.", input_tokens=0, output_tokens=0))
    assert not is_counted(Response("Hi.", input_tokens=9, output_tokens=0))
    assert not is_counted(Response("", input_tokens=0, output_tokens=0))
    assert is_counted(Response("", input_tokens=9, output_tokens=0))


def test_a_call_without_counts_costs_what_its_texts_make_likely() -> None:
    """The budget and the run's last line count the same estimate, and the line tells of it."""
    response, usage, stats = Response("a" * 4000, input_tokens=300), Usage(), RunStats()
    budget = Budget(Limits(max_cost=1.0), usage, [MODEL])
    stats.called(response, budget.record(REQUEST, response), lambda: price_of(MODEL))
    price = price_of(MODEL)
    assert price is not None
    assert estimated(REQUEST, response) == Tokens(300, 1000)
    assert estimated(REQUEST, Response("\u4f60" * 100)) == Tokens(200, 100)
    assert usage.cost == price.of(Tokens(300, 1000))
    assert str(stats) == "0 dialogues, 1 call, 300 tokens, $0.0159, 1 call without token counts (cost estimated)"


def test_an_estimate_follows_what_is_counted() -> None:
    """A response without counts has at least the mean output of the counted ones, which may have hidden reasoning."""
    budget = Budget(Limits(), Usage())
    for output in (2000, 4000):
        budget.record(REQUEST, Response("Hi.", input_tokens=200, output_tokens=output))
    assert budget.record(REQUEST, Response("Hi.")) == Tokens(200, 3000)
    assert budget.record(REQUEST, Response("a" * 20_000)) == Tokens(200, 5000)


def test_a_refusal_without_counts_costs_nothing() -> None:
    """A filter that refuses a prompt with a status of 400 gives no counts, because nothing was generated."""
    refusal, usage = Response("Blocked.", "refusal"), Usage()
    Budget(Limits(max_cost=1.0), usage, [MODEL]).record(REQUEST, refusal)
    assert (usage.calls, usage.cost, billed(refusal)) == (1, 0.0, Tokens())
