"""What all checks cost a dialogue of the demo, beside `datasets`' own from_generator on the same rows, in one run.

    python benchmarks/checks.py [ROUNDS]

prints microseconds of CPU a dialogue: each check, all checks, and from_generator, with the ratio of the last two. The
aim: checks at most 60 where from_generator takes 130.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

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
    """Return the least CPU seconds that a step takes: others may share the machine."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return min(times)


def by_check(recipe: Recipe, dialogues: list[Dialogue], rounds: int) -> dict[str, float]:
    """Return the seconds of each check for all dialogues, and of preparing the texts of both sides."""
    taken: dict[str, float] = defaultdict(float)
    for made in dialogues:
        for role, messages in (("user", made.user_messages), ("assistant", made.answers)):
            prepare = partial(
                checks.Side,
                messages,
                role,
                made.user_messages,
                recipe.language,
                recipe.checks,
                checks.signs_of(recipe.language, role).find,
                made.spec.flow.steps,
            )
            taken[f"{role} texts and signs"] += least(prepare, rounds)
            side = prepare()
            for check in checks._needed(role, recipe.enabled_checks, side.signs):
                taken[f"{role} {check.__name__}"] += least(partial(check, side), rounds)
    return taken


def main(rounds: int) -> None:
    """Print the table."""
    recipe, dialogues = demo()

    def all_checks(made: Dialogue) -> None:
        checks.users(made.user_messages, made.spec, recipe)
        checks.answers(made.answers, made.user_messages, recipe)

    rows = [row(made, recipe) for made in dialogues] * COPIES
    with tempfile.TemporaryDirectory() as folder:
        datasets.disable_progress_bars()
        numbers = iter(range(1000))
        written = least(
            lambda: datasets.Dataset.from_generator(lambda: iter(rows), cache_dir=f"{folder}/{next(numbers)}"), 5
        )
    for name, seconds in sorted(by_check(recipe, dialogues, rounds).items(), key=lambda item: -item[1]):
        print(f"{name:32} {seconds / len(dialogues) * 1e6:7.1f} us")
    checked = sum(least(partial(all_checks, made), rounds) for made in dialogues) / len(dialogues)
    print(f"{'all checks':32} {checked * 1e6:7.1f} us")
    print(f"{'from_generator':32} {written / len(rows) * 1e6:7.1f} us")
    print(f"{'checks / from_generator':32} {checked / written * len(rows):7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
