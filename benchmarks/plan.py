"""Measures the plan: how long it takes to open, to give any spec, and what memory it holds.

    python benchmarks/plan.py

Each row is of a fresh process. Opening is everything between the recipe's fields and a plan that gives specs, the
reading of the taxonomy included; imports are not. A single spec is timed five times, of which the best counts: the
others tell what else the machine does.
"""

from __future__ import annotations

import argparse
import random
import time
import timeit
import tracemalloc
from collections.abc import Iterator

from process import fresh

from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe, taxonomy
from consistent_chat.recipe.taxonomy import reader

INTENTS = 9
PLACES = 100_000
"""Places of a plan that are asked for, at random."""


def opened(dialogs: int) -> tuple[float, Plan]:
    """Return the seconds that it takes to open a plan of so many dialogues, and the plan."""
    taxonomy.builtin.cache_clear()
    reader._builtin_data.cache_clear()
    start = time.perf_counter()
    plan = Plan(Recipe(num_dialogs_per_intent=-(-dialogs // INTENTS)))
    return time.perf_counter() - start, plan


def measure(dialogs: int) -> tuple[float, float, float, int, int]:
    """Return the seconds to open; of a spec the mean and the slowest; the bytes at first, and after walking on it."""
    seconds, plan = opened(dialogs)
    rng = random.Random(0)
    places = [rng.randrange(len(plan)) for _ in range(PLACES)]
    start = time.perf_counter()
    for place in places:
        plan[place]
    mean = (time.perf_counter() - start) / PLACES
    slowest = max(min(timeit.repeat(lambda: plan[place], number=1, repeat=5)) for place in places[:10_000])  # noqa: B023
    return seconds, mean, slowest, *memory(dialogs, places)


def memory(dialogs: int, places: list[int]) -> tuple[int, int]:
    """Return the bytes that a plan holds, when it is opened and when many of its specs were given."""
    taxonomy.builtin()
    tracemalloc.start()
    plan = Plan(Recipe(num_dialogs_per_intent=-(-dialogs // INTENTS)))
    before = tracemalloc.get_traced_memory()[0]
    for place in places[:10_000]:
        plan[place]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return before, after


def rows(counts: list[int]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| dialogues | opens in | mean plan[i] | slowest of 10,000 | holds | after 10,000 specs |"
    yield "|---" + "|--:" * 5 + "|"
    for count in counts:
        seconds, mean, slowest, before, after = fresh(measure, count)
        cells = (f"{count:,}", f"{seconds * 1e3:.0f} ms", f"{mean * 1e6:.1f} µs", f"{slowest * 1e6:.0f} µs")
        yield f"| {' | '.join(cells)} | {before / 1024:.0f} KB | {after / 1024:.0f} KB |"
    yield "| target | 100 ms | 50 µs | | | no more |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("counts", nargs="*", type=int, default=[10_000, 1_000_000, 10_000_000, 9 * 10**9])
    for row in rows(parser.parse_args().counts):
        print(row, flush=True)
