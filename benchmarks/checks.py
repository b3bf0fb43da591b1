"""What all checks cost a dialogue of the demo, beside `datasets`' own from_generator on the same rows, in one run.

    python benchmarks/checks.py [ROUNDS]

prints microseconds of CPU a dialogue: each check, all checks, and from_generator, with the ratio of the last two; the
milliseconds that the signs take at first; and all checks of dialogues as `benchmarks/provider.py` writes them, whose
messages differ in a number alone. from_generator gets separate rows and their features, as in `benchmarks/store.py`.
The aim: checks at most 60 where it takes 130.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import datasets
from provider import FILLER

from consistent_chat.builder.config import DEMO
from consistent_chat.dialogue import Dialogue, checks
from consistent_chat.dialogue.checks import signs
from consistent_chat.dialogue.checks.side import APART
from consistent_chat.dialogue.parse import Unusable
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


class Rows:
    """Rows in memory, which from_generator does not pickle to name its cache."""

    def __init__(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        self.rows = rows

    def __reduce__(self) -> tuple[type[Rows], tuple[()]]:
        return Rows, ()


def each(ready: Rows) -> Iterator[dict[str, Any]]:
    """Yield the rows."""
    yield from ready.rows


def written(rows: Sequence[dict[str, Any]], rounds: int) -> float:
    """Return the seconds that from_generator takes for COPIES of each row."""
    datasets.disable_progress_bars()
    features = datasets.Dataset.from_list(list(rows)).features
    ready, numbers = Rows([json.loads(json.dumps(one)) for _ in range(COPIES) for one in rows]), iter(range(rounds))
    gc.collect()
    gc.freeze()  # or the collector walks over the rows again and again
    with tempfile.TemporaryDirectory() as folder:
        return least(
            lambda: datasets.Dataset.from_generator(
                each, gen_kwargs={"ready": ready}, features=features, cache_dir=f"{folder}/{next(numbers)}"
            ),
            rounds,
        )


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
                checks._drawn(made.spec),
            )
            taken[f"{role} texts and signs"] += least(prepare, rounds)
            side = prepare()
            for check in checks._needed(role, recipe.enabled_checks, side.signs):
                taken[f"{role} {check.__name__}"] += least(partial(check, side), rounds)
    return taken


def first_search(recipe: Recipe, dialogues: Sequence[Dialogue], role: str) -> float:
    """Return the seconds that the signs of a side take to be compiled and searched for in all dialogues once.

    RE2 builds its table while it searches, and each process has to.
    """
    texts = [APART.join(made.user_messages if role == "user" else made.answers) for made in dialogues]
    checks.signs_of.cache_clear()
    signs._signs_of.cache_clear()
    start = time.process_time()
    for text in texts:
        checks.signs_of(recipe.language, role).find(text.lower().encode())
    return time.process_time() - start


def all_checks(asked: Sequence[str], answered: Sequence[str], made: Dialogue, recipe: Recipe) -> None:
    """Run all checks of both sides."""
    with contextlib.suppress(Unusable):
        checks.users(asked, made.spec, recipe)
        checks.answers(answered, asked, recipe)


def of_provider(number: int, role: str) -> list[str]:
    """Return messages as `benchmarks/provider.py` writes them."""
    return [f"{role}_{turn} of {hashlib.sha256(bytes([number])).hexdigest()[:10]}{FILLER}" for turn in range(1, 7)]


def main(rounds: int) -> None:
    """Print the table."""
    recipe, dialogues = demo()
    from_generator = written([row(made, recipe) for made in dialogues], 3) / COPIES / len(dialogues)
    for name, seconds in sorted(by_check(recipe, dialogues, rounds).items(), key=lambda item: -item[1]):
        print(f"{name:32} {seconds / len(dialogues) * 1e6:7.1f} us")
    for role in ("user", "assistant"):
        first = min(first_search(recipe, dialogues, role) for _ in range(5))
        print(f"{role + ' signs, first search':32} {first * 1e3:7.1f} ms in all")
    demo_s, online = (
        sum(least(partial(all_checks, *sides, made, recipe), rounds) for sides, made in some) / len(dialogues)
        for some in (
            [((made.user_messages, made.answers), made) for made in dialogues],
            [((of_provider(at, "user"), of_provider(at, "assistant")), made) for at, made in enumerate(dialogues)],
        )
    )
    print(f"{'all checks':32} {demo_s * 1e6:7.1f} us")
    print(f"{'all checks, provider':32} {online * 1e6:7.1f} us")
    print(f"{'from_generator':32} {from_generator * 1e6:7.1f} us")
    print(f"{'checks / from_generator':32} {demo_s / from_generator:7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
