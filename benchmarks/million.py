"""Follows a build of a million dialogues through, by figures that were measured on smaller ones.

    python benchmarks/million.py                    # the table of docs/scale.md
    python benchmarks/million.py --measure          # measures what it rests on, about five minutes

Tokens are those of `consistent-chat estimate`: the prompts as they are sent, and the paper's mean lengths.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from made import filled, rounded
from process import fresh
from store import open_store, replay

from consistent_chat.commands.estimate import BATCH_DISCOUNT, estimate
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.store import ResponseStore
from consistent_chat.store.location import LOCAL

RECIPE = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=111_112)
CALLS_A_DIALOGUE = 2
PRICE = (1.00, 5.00)
"""US dollars for a million tokens in and out, of this model in November 2026."""
REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE, SECONDS_A_CALL = 4_000, 4_000_000, 8
"""The limits of an account, and how long a call takes: examples, not measured."""

# Measured with --measure, on one core of a two-core virtual machine; the replay with --dialogs 20000.
BYTES_A_RESPONSE = 1369
OPEN_BYTES_A_RESPONSE = 46
REPLAY_SECONDS_A_DIALOGUE = 0.000220
FIRST_REPLAY_SECONDS_A_DIALOGUE = 0.000870
"""CPU seconds with the notes that a live build leaves, and without: elsewhere, responses are checked."""


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| what | how much | from |\n|---|--:|---|"
    for what, figure, source in rows():
        yield f"| {what} | {figure} | {source} |"


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield what is told, the figure, and what it comes from."""
    plan = Plan(RECIPE)
    with tempfile.TemporaryDirectory() as empty:
        told = estimate(RECIPE, plan, ResponseStore(empty))
    tokens = told.input_tokens + told.output_tokens
    cost = (told.input_tokens * PRICE[0] + told.output_tokens * PRICE[1]) / 1e6
    least = min(sum(map(deck._combinations, pile)) for deck in plan._decks._decks for pile in deck._piles[:1])
    yield "dialogues", f"{len(plan):,}", f"{RECIPE.num_dialogs_per_intent:,} for each intent"
    yield "combinations of an intent", f"{least:,} or more", "the built-in taxonomy: none is drawn twice"
    yield "calls", f"{told.calls:,}", "two a dialogue; redraws of unusable responses are extra"
    yield "tokens", f"{_millions(told.input_tokens)} in, {_millions(told.output_tokens)} out", "`estimate`"
    yield "cost online", f"${cost:,.0f}", f"${PRICE[0]:.2f} and ${PRICE[1]:.2f} a million tokens"
    yield "cost by batch", f"${cost * BATCH_DISCOUNT:,.0f}", "half of it"
    hours = told.calls / REQUESTS_PER_MINUTE / 60
    yield "time by requests", f"{hours:.1f} h", f"{REQUESTS_PER_MINUTE:,} a minute"
    yield "time by tokens", f"{tokens / TOKENS_PER_MINUTE / 60:.1f} h", f"{TOKENS_PER_MINUTE:,} a minute"
    flight = REQUESTS_PER_MINUTE / 60 * SECONDS_A_CALL
    yield "calls in flight for that pace", f"{flight:,.0f}", f"{SECONDS_A_CALL} s a call"
    yield "store", f"{told.calls * BYTES_A_RESPONSE / 1e9:.1f} GB", f"{BYTES_A_RESPONSE:,} bytes a response, packed"
    yield "packs", f"{-(-told.calls // LOCAL.records):,} or more", f"one for {LOCAL.records:,} responses of a process"
    memory = told.calls * OPEN_BYTES_A_RESPONSE / 1e6
    yield "memory to open the store", f"{memory:,.0f} MB", f"{OPEN_BYTES_A_RESPONSE} bytes a response"
    replays = {"where the calls were made": REPLAY_SECONDS_A_DIALOGUE, "elsewhere": FIRST_REPLAY_SECONDS_A_DIALOGUE}
    for where, seconds in replays.items():
        minutes = len(plan) * seconds / 60
        yield f"replay in one process {where}", f"{minutes:.0f} min", f"{seconds * 1e6:,.0f} µs a dialogue"
        yield "the same with `num_proc=16`", f"{minutes / 16:.1f} min", "a core each"


def measure(dialogs: int) -> None:
    """Print the constants that the table rests on. Of memory it is what a response more takes."""
    dialogs = rounded(dialogs)
    responses = CALLS_A_DIALOGUE * dialogs
    with tempfile.TemporaryDirectory() as temporary:
        store, small = filled(Path(temporary), dialogs), filled(Path(temporary), rounded(dialogs // 5))
        size = sum(path.stat().st_size for path in (store / "packs").iterdir())
        print(f"BYTES_A_RESPONSE = {size / responses:.0f}")
        more = fresh(open_store, store).peak - fresh(open_store, small).peak
        print(f"OPEN_BYTES_A_RESPONSE = {more * 2**20 / (responses * 4 / 5):.0f}")
        for name, is_first in (("FIRST_REPLAY", True), ("REPLAY", False)):
            cost = fresh(replay, store, dialogs, is_first)
            print(f"{name}_SECONDS_A_DIALOGUE = {cost.cpu / dialogs:.6f}  # peak {cost.peak:.0f} MB")


def _millions(tokens: int) -> str:
    return f"{tokens / 1e6:,.0f} M"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measure", action="store_true", help="measure what the table rests on")
    parser.add_argument("--dialogs", type=int, default=200_000, help="dialogues that are measured on (200,000)")
    options = parser.parse_args()
    if options.measure:
        measure(options.dialogs)
    else:
        print(*table(), sep="\n")
