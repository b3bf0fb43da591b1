"""Measures how long it takes to find near-duplicates, and in how much memory, one in forty among them.

    python benchmarks/duplicates.py            # 20,000 dialogues of six user messages

Runs on one core, in a fresh process. The texts are made up: 120 words each, of 4,000 words of a made-up language.
"""

from __future__ import annotations

import argparse
import random

from process import Cost, cost_of, fresh

from consistent_chat.duplicates import NearDuplicates, near_duplicates, sketched

WORDS, VOCABULARY = 120, 4_000
"""Six user messages have about 120 words in the ConsistentChat paper (arXiv 2506.03558)."""


def texts(count: int) -> list[str]:
    """Make up texts; one in forty is an earlier one in which four words are others."""
    choice = random.Random(0)
    made = [[f"w{choice.randrange(VOCABULARY)}" for _ in range(WORDS)] for _ in range(count)]
    for later in range(count - count // 40, count):
        made[later] = made[count - 1 - later].copy()
        for place in choice.sample(range(WORDS), 4):
            made[later][place] = "other"
    return [" ".join(words) for words in made]


def measure(count: int) -> tuple[Cost, NearDuplicates]:
    """Compare so many texts, after the imports."""
    given, found = texts(count), []
    sketched("")
    cost = cost_of(lambda: found.append(near_duplicates(given)))
    return cost, found[0]


def main() -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=20_000)
    count = parser.parse_args().dialogues
    cost, found = fresh(measure, count)
    each = cost.peak * 1024 / count
    print(
        f"{count:,} dialogues: {cost.seconds:.1f} s, {cost.peak:,.0f} MB ({each:.1f} KB each), {found.rate:.2%} found"
    )


if __name__ == "__main__":
    main()
