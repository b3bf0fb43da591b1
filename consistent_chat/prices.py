"""The billed tokens of responses, and their cost according to the table of the package genai-prices. No network."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from consistent_chat.request import MOST_COUNTED, MOST_TOKENS, Request, Response, bounded_json

SAMPLE = 1000
"""Number of tokens for which prices are looked up: below the lengths at which some models' prices change."""


class Tokens(NamedTuple):
    """Billed tokens. `input` and `output` are the totals; the others are parts with separate prices.

    `cache_read` and `cache_write` are tokens of the prompt that were read from and written to the provider's cache;
    `reasoning` are output tokens of the model's reasoning. `uncounted` is the number of responses whose tokens are not
    included, because the server did not count them.
    """

    input: float = 0
    output: float = 0
    cache_read: float = 0
    cache_write: float = 0
    reasoning: float = 0
    uncounted: float = 0

    def plus(self, other: Tokens) -> Tokens:
        """Return the sum of both."""
        if self is NO_TOKENS:  # as each sum begins
            return other
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
            self.uncounted + other.uncounted,
        )

    def minus(self, other: Tokens) -> Tokens:
        """Return the difference of both."""
        return Tokens(*(one - another for one, another in zip(self, other)))

    def times(self, factor: float) -> Tokens:
        """Return these tokens multiplied by a factor."""
        return Tokens(*(count * factor for count in self))


NO_TOKENS = Tokens()


@dataclass(frozen=True)
class Price:
    """US dollars per token, for input and output; None means the price of other input or output tokens."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None

    def of(self, tokens: Tokens) -> float:
        """Return the cost of tokens in US dollars."""
        fresh = tokens.input - tokens.cache_read - tokens.cache_write
        cached = tokens.cache_read * _either(self.cache_read, self.input)
        written = tokens.cache_write * _either(self.cache_write, self.input)
        thought = tokens.reasoning * _either(self.reasoning, self.output)
        return fresh * self.input + cached + written + (tokens.output - tokens.reasoning) * self.output + thought

    def saved(self, tokens: Tokens) -> float:
        """Return the US dollars that a provider's cache saved; negative if writing to the cache cost more."""
        read = tokens.cache_read * (self.input - _either(self.cache_read, self.input))
        return read + tokens.cache_write * (self.input - _either(self.cache_write, self.input))

    def most(self, input_tokens: float, output_tokens: float) -> float:
        """Return the maximum cost of tokens of any kind."""
        prices = (self.input, self.cache_read or 0.0, self.cache_write or 0.0)
        return input_tokens * max(prices) + output_tokens * max(self.output, self.reasoning or 0.0)

    def times(self, factor: float) -> Price:
        """Return the price with a discount."""
        parts = (self.cache_read, self.cache_write, self.reasoning)
        return Price(self.input * factor, self.output * factor, *(part and part * factor for part in parts))


def _either(price: float | None, usual: float) -> float:
    return usual if price is None else price


@functools.lru_cache(maxsize=64)
def price_of(model: str) -> Price | None:
    """Return a model's price, or None if it is not in the table."""
    try:
        whole = (_price(model, input_tokens=SAMPLE), _price(model, output_tokens=SAMPLE))
        read, write = (_price(model, input_tokens=SAMPLE, **{name: SAMPLE}) for name in _CACHED)
        reasoning = _price(model, output_tokens=SAMPLE, output_reasoning_tokens=SAMPLE)
    except LookupError:
        return None
    return Price(*whole, read, write, reasoning)


_CACHED = ("cache_read_tokens", "cache_write_tokens")


def _price(model: str, **tokens: int) -> float:
    from genai_prices import Usage, calc_price  # 0.1 s; only builds that call a model need it

    return float(calc_price(Usage(**tokens), model_ref=model).total_price) / SAMPLE


def billed(response: Response) -> Tokens:
    """Return the billed tokens of a response, from its counts and the server's usage; only what is counted.

    Servers count cached tokens as part of the prompt (a serving adds up Anthropic's). Some include reasoning tokens in
    the output (OpenAI, DeepSeek), others count them separately (xAI, Gemini), so that the total is larger than the sum
    of both counts.
    """
    tokens_in, tokens_out = response.input_tokens or 0, response.output_tokens or 0
    if is_counted(response):
        return _billed(response.usage, tokens_in, tokens_out)
    return NO_TOKENS if _is_free(response) else Tokens(tokens_in, tokens_out, uncounted=1)


@functools.lru_cache(maxsize=256)  # the budget, the statistics and the dialogue's bill call this for each response
def _billed(stated: str, tokens_in: int, tokens_out: int) -> Tokens:
    usage = _usage(stated) if stated else {}
    if not usage:
        return Tokens(tokens_in, tokens_out)
    read, write, reasoning = (_first(usage, paths) for paths in (CACHE_READ, CACHE_WRITE, REASONING))
    beside = _beside(usage, tokens_in + tokens_out, reasoning > tokens_out, reasoning)
    if beside and beside == read != reasoning:  # the total includes cached tokens that the prompt's count does not
        tokens_in = min(MOST_TOKENS, tokens_in + beside)
    elif beside:
        tokens_out, reasoning = min(MOST_TOKENS, tokens_out + beside), max(reasoning, beside)
    read = min(read, tokens_in)
    return Tokens(tokens_in, tokens_out, read, min(write, tokens_in - read), min(reasoning, tokens_out))


def cached(read: float, whole: float, saved: float | None) -> str:
    """Return a phrase about the input tokens that came from caches, and the US dollars that this saved, if known."""
    told = f"{read:,.0f} of {whole:,.0f} input tokens from caches"
    if saved is None:
        return told
    return f"{told} ({'saved' if saved >= 0 else 'cost'} ${abs(saved):.4f})"


def without_counts(count: int) -> str:
    """Return a phrase about responses whose tokens are missing in a sum."""
    return f"{count:,} response{'s' if count > 1 else ''} without token counts not included"


def beyond(tokens: Tokens, input_tokens: int, output_tokens: int) -> Tokens:
    """Return the billed tokens in excess of two counts that are known from elsewhere, such as a row."""
    return tokens._replace(input=tokens.input - input_tokens, output=tokens.output - output_tokens)


def counted(text: str, tokens: Tokens) -> Response:
    """Return a response with this text and with usage for these tokens."""
    usage = {
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write,
        "reasoning_tokens": tokens.reasoning,
    }
    known = bounded_json({name: count for name, count in usage.items() if count})
    tokens_in, tokens_out = (min(MOST_TOKENS, int(count)) for count in tokens[:2])
    return Response(text, input_tokens=tokens_in, output_tokens=tokens_out, usage=known)


def is_counted(response: Response) -> bool:
    """Return whether the server counted the tokens of a response. Servers that do not count may send zeros."""
    is_empty = not (response.text.strip() or response.reasoning or response.tool_calls)
    return (
        bool(response.input_tokens) and response.output_tokens is not None and (is_empty or response.output_tokens > 0)
    )


def estimated(request: Request, response: Response, usual: float = 0.0) -> Tokens:
    """Return the billed tokens of a response; those that the server did not count are estimated from the texts.

    A token is four characters of ASCII, or three other bytes: one Chinese character. `usual` is the mean output of
    counted responses: an answer may have more tokens than its text, such as hidden reasoning.
    """
    tokens = billed(response)
    if not tokens.uncounted:
        return tokens
    said = _tokens(response.text, response.reasoning, response.tool_calls)
    asked = _tokens(request.system, *(message["content"] for message in request.messages))
    return Tokens(tokens.input or asked, tokens.output or max(usual, said))


def _tokens(*texts: str) -> float:
    whole = "".join(texts)
    ascii_bytes = len(whole.encode("ascii", "ignore"))
    return math.ceil(ascii_bytes / 4 + (len(whole.encode("utf-8", "replace")) - ascii_bytes) / 3)


def _is_free(response: Response) -> bool:
    """Return whether nothing was generated: a provider's filter refused the prompt, and the status was no success."""
    return response.finish == "refusal" and response.input_tokens is None and response.output_tokens is None


def _beside(usage: Mapping[str, Any], counted: int, is_beyond: bool, reasoning: int) -> int:
    """Return the tokens that are billed in addition to those of prompt and output."""
    total = _count(usage.get("total_tokens"))
    if total:
        return max(0, total - counted)
    return reasoning if is_beyond else 0


def _usage(text: str) -> dict[str, Any]:
    try:
        usage = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return usage if isinstance(usage, dict) else {}


def _first(usage: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> int:
    """Return the first count that is found under one of the names."""
    for *outer, name in paths:
        inner = usage.get(outer[0]) if outer else usage
        if isinstance(inner, dict) and (found := _count(inner.get(name))):
            return found
    return 0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= MOST_COUNTED else 0


CACHE_READ = (
    ("cache_read_input_tokens",),
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("prompt_cache_hit_tokens",),
    ("cached_tokens",),
)
"""Fields for tokens read from the cache, as documented by Anthropic, OpenAI (twice), DeepSeek and Moonshot."""
CACHE_WRITE = (
    ("cache_creation_input_tokens",),
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_tokens"),
)
"""Fields of Anthropic, OpenRouter and LiteLLM for tokens written to the cache."""
REASONING = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),
)
"""Fields for reasoning tokens: of OpenAI (twice) and most others, and of Perplexity."""
