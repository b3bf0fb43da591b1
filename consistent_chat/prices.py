"""What a model's tokens cost, by the table of the package genai-prices. No network."""

from __future__ import annotations

import functools
from dataclasses import dataclass

SAMPLE = 1000
"""Tokens that the table is asked for: below the lengths at which some models' prices change."""


@dataclass(frozen=True)
class Price:
    """US dollars a token, in and out."""

    input: float
    output: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of a call in US dollars."""
        return input_tokens * self.input + output_tokens * self.output


@functools.lru_cache(maxsize=64)
def price_of(model: str) -> Price | None:
    """Return a model's price, or None where the table does not know it."""
    from genai_prices import Usage, calc_price  # 0.1 s; only builds that call a model need it

    try:
        one = calc_price(Usage(input_tokens=SAMPLE), model_ref=model)
        other = calc_price(Usage(output_tokens=SAMPLE), model_ref=model)
    except LookupError:
        return None
    return Price(float(one.total_price) / SAMPLE, float(other.total_price) / SAMPLE)
