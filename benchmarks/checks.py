"""What all checks cost a dialogue of the demo, beside `datasets`' own from_generator on the same rows, in one run.

    python benchmarks/checks.py [ROUNDS]

prints microseconds a dialogue: all checks, each check, and from_generator. The aim: checks at most 60 where
from_generator takes 130.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import datasets

from consistent_chat.builder.config import DEMO
from consistent_chat.dialogue import Dialogue, checks
from consistent_chat.drivers import Limits, RunStats, run
from consistent_chat.recipe import Recipe
from consistent_chat.row import row
from consistent_chat.store import ResponseStore

COPIES = 100
"""How often the demo's rows are written by from_generator."""


def demo() -> tuple[Recipe, list[Dialogue]]:
    """Return the demo's recipe and dialogues."""
    recipe = Recipe.from_file(str(DEMO / "demo.consistent_chat.yaml"))
    store = ResponseStore(str(DEMO / "responses"))
    return recipe, list(run(recipe, range(18), store, None, Limits(), RunStats()))


def least(step: Callable[[], object], rounds: int) -> float:
    """Return the least seconds that a step takes."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def by_check(recipe: Recipe, dialogues: list[Dialogue], rounds: int) -> dict[str, float]:
    """Return the least seconds of each check over all dialogues; the first that wants a form of a text pays for it."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        taken: dict[str, float] = defaultdict(float)
        for made in dialogues:
            find = checks.signs_of(recipe.language).find
            users = checks.Side(made.user_messages, "user", find)
            answers = checks.Side(made.answers, "assistant", find)
            of_users = checks._of_users(
                users, made.user_messages, recipe.checks, recipe.language, checks._drawn(made.spec)
            )
            for check in (
                *of_users,
                *checks._of_answers(answers, made.user_messages, recipe.checks, recipe.language),
            ):
                start = time.perf_counter()
                check()
                name: Any = check
                taken[f"{name.args[0].role} {name.func.__name__}"] += time.perf_counter() - start
        best = {name: min(value, best.get(name, value)) for name, value in taken.items()}
    return best


def main(rounds: int) -> None:
    """Print the table."""
    recipe, dialogues = demo()

    def all_checks() -> None:
        for made in dialogues:
            checks.users(made.user_messages, made.spec, recipe)
            checks.answers(made.answers, made.user_messages, recipe)

    rows = [row(made, recipe) for made in dialogues] * COPIES
    with tempfile.TemporaryDirectory() as folder:
        datasets.disable_progress_bars()
        numbers = iter(range(1000))
        written = least(
            lambda: datasets.Dataset.from_generator(lambda: iter(rows), cache_dir=f"{folder}/{next(numbers)}"), 3
        )
    for name, seconds in sorted(by_check(recipe, dialogues, rounds).items(), key=lambda item: -item[1]):
        print(f"{name:32} {seconds / len(dialogues) * 1e6:7.1f} us")
    print(f"{'all checks':32} {least(all_checks, rounds) / len(dialogues) * 1e6:7.1f} us")
    print(f"{'from_generator':32} {written / len(rows) * 1e6:7.1f} us")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
