"""Billing: cached tokens and reasoning tokens have separate prices, and all sums agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.prices import NO_TOKENS, Price, Tokens, beyond, billed, counted, price_of
from consistent_chat.request import MOST_TOKENS, Response, bounded_json
from consistent_chat.serving.anthropic_messages import read_message
from consistent_chat.serving.http import Peer
from consistent_chat.serving.openai_chat import read_completion

PEER = Peer("someone", "KEY", "key")


def completion(usage: Any) -> Tokens:
    """Return the billed tokens of a chat completion with this usage."""
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    return billed(read_completion(PEER, body))


class TestChatCompletions:
    """The tests use the usage fields that each provider's documentation shows."""

    def test_openai_counts_thoughts_within_the_output(self) -> None:
        """OpenAI counts reasoning tokens within the output, and cached tokens within the prompt."""
        usage = {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 128, "accepted_prediction_tokens": 0},
        }
        assert completion(usage) == Tokens(2006, 300, 1920, 0, 128)

    def test_xai_counts_thoughts_beside_the_output(self) -> None:
        """Reasoning tokens of xAI are counted in the total but not in the output, so they are added to the output."""
        usage = {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "prompt_tokens_details": {"cached_tokens": 6},
            "completion_tokens_details": {"reasoning_tokens": 94},
        }
        assert completion(usage) == Tokens(32, 103, 6, 0, 94)

    def test_gemini_tells_thoughts_by_the_total_alone(self) -> None:
        """Tokens of the total that are neither prompt nor output are billed as output and count as reasoning."""
        usage = {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 515}
        assert completion(usage) == Tokens(5, 510, 0, 0, 500)

    def test_deepseek_counts_hits(self) -> None:
        """The prompt of DeepSeek is the sum of its cache hits and misses; the hits count as read from the cache."""
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
            "completion_tokens_details": {"reasoning_tokens": 20},
        }
        assert completion(usage) == Tokens(100, 50, 64, 0, 20)

    def test_thoughts_without_a_total(self) -> None:
        """Without a total, reasoning tokens are added to the output only if they outnumber it."""
        details = {"completion_tokens_details": {"reasoning_tokens": 30}}
        assert completion({"prompt_tokens": 1, "completion_tokens": 20, **details}) == Tokens(1, 50, 0, 0, 30)
        assert completion({"prompt_tokens": 1, "completion_tokens": 40, **details}) == Tokens(1, 40, 0, 0, 30)

    def test_a_prompt_that_is_counted_without_its_cached_part(self) -> None:
        """Cached tokens are added to the prompt if only that explains the total."""
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115, "cached_tokens": 100}
        assert completion(usage) == Tokens(110, 5, 100)

    @pytest.mark.parametrize("usage", [None, {}, [], "x", {"prompt_tokens": 3, "completion_tokens": 4}])
    def test_without_details_the_counts_are_all(self, usage: Any) -> None:
        """Without details, only the counts of prompt and output are billed; a response without them is not counted."""
        assert completion(usage) == (Tokens(3, 4) if usage and "prompt_tokens" in usage else Tokens(uncounted=1))


def test_anthropic_counts_its_cache_beside_the_prompt() -> None:
    """Input, cache reads and cache writes of Anthropic are added up as the prompt, and each has its own price."""
    usage = {
        "input_tokens": 10,
        "output_tokens": 7,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 100,
    }
    tokens = billed(read_message(PEER, {"content": [{"type": "text", "text": "x"}], "usage": usage}))
    assert tokens == Tokens(1110, 7, 1000, 100)
    price = price_of("claude-haiku-4-5")
    assert price is not None
    assert price.of(tokens) == pytest.approx((10 * 1 + 1000 * 0.1 + 100 * 1.25 + 7 * 5) / 1e6)


def test_a_model_without_a_price_for_its_cache() -> None:
    """Cached and reasoning tokens without their own price cost as much as other tokens."""
    assert Price(2.0, 3.0).of(Tokens(10, 10, 5, 5, 5)) == Price(2.0, 3.0).of(Tokens(10, 10)) == 50


COUNTS = st.integers(0, 1000) | st.sampled_from([MOST_TOKENS, 1 << 70, -1, True, None, 1.5, "9", [], {}])
NAMES = st.sampled_from(
    [
        *("total_tokens", "cached_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("prompt_cache_hit_tokens", "reasoning_tokens", "cache_write_tokens"),
    ]
)
DETAILS = st.dictionaries(NAMES, COUNTS, max_size=3)
OUTER = st.sampled_from(["prompt_tokens_details", "completion_tokens_details", "input_tokens_details"])
USAGES = st.builds(lambda one, other: {**one, **other}, DETAILS, st.dictionaries(OUTER, DETAILS | COUNTS, max_size=2))
TOKENS = st.none() | st.integers(0, 1000)
RESPONSES = st.builds(
    Response,
    st.just("x"),
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    usage=USAGES.map(bounded_json) | st.sampled_from(["", "[1]", "{", "[" * 100_000, '"x"']),
)
DOLLARS = st.floats(0, 1e-3)
PRICES = st.builds(Price, DOLLARS, DOLLARS, *(st.none() | DOLLARS,) * 3)


@given(RESPONSES, PRICES)
def test_no_usage_makes_a_bill_negative_or_less_than_was_counted(response: Response, price: Price) -> None:
    """For any usage that a server sends, parts are at most the whole, and the cost is between zero and the maximum."""
    tokens = billed(response)
    assert min(tokens) >= 0
    assert tokens.cache_read + tokens.cache_write <= tokens.input
    assert tokens.reasoning <= tokens.output
    assert min(beyond(tokens, response.input_tokens or 0, response.output_tokens or 0)) >= 0
    assert -1e-12 <= price.of(tokens) <= price.most(tokens.input, tokens.output) * (1 + 1e-9) + 1e-12


@given(st.lists(RESPONSES, max_size=5), PRICES)
def test_a_sum_costs_the_sum(responses: list[Response], price: Price) -> None:
    """The cost of a sum, as in cards and reports, equals the sum of costs, as in a budget."""
    total = NO_TOKENS
    for response in responses:
        total = total.plus(billed(response))
    one_by_one = sum(price.of(billed(response)) for response in responses)
    assert price.of(total) == pytest.approx(one_by_one, rel=1e-6, abs=1e-9)


@given(RESPONSES)
def test_what_is_counted_is_billed(response: Response) -> None:
    """A response that stands for counted tokens is billed for exactly these tokens."""
    assert billed(counted("x", billed(response))) == billed(response)


def test_usage_is_plain_json() -> None:
    """A usage of `null`, which a foreign store may contain, does not change the bill."""
    assert billed(Response("x", input_tokens=1, output_tokens=2, usage=json.dumps(None))) == Tokens(1, 2)
