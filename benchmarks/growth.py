"""Measures how time and memory grow: dialogues, calls in flight, turns and the size of the store are doubled.

    python benchmarks/growth.py              # from 900 dialogues, 250 calls in flight, 6 turns; about five minutes
    python benchmarks/growth.py --base 45 --rounds 1    # in a minute; small figures are less exact

For each it prints the exponent: 1 is in proportion, 0 is constant. It is the slope of a line through the logarithms of
medians (least squares), and none may be above 1.05. Time is CPU time of the process, memory is its peak above what it
had after the imports. Each measurement runs in a process of its own, with all checks on and no notes of earlier ones;
sizes take turns, so that other work on the machine slows all of them. A live build runs as in `load_dataset`: with the
garbage collector seldom at work, and writing notes.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import constants
from made import Author, conversed, filled, rounded
from process import Cost, cost_of

from consistent_chat import drivers
from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.builder.hooks import heap_frozen
from consistent_chat.dialogue import checks  # noqa: F401  so that its import is not measured
from consistent_chat.dialogue.check_identity import key_identity
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.used import UsedResponses

datasets.disable_progress_bars()

MOST = 1.05
"""The largest exponent that is allowed."""
LATENCY = 0.5
"""Seconds that a call takes."""
TURNS = (6, 12, 24)
LOOKUPS = 400
"""Responses that are looked up in stores of each size, in random order."""

Measure = Callable[[int], Cost]


def main() -> None:
    """Measure and print a table; exit with 1 if something grows faster than it may."""
    options = _options()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        print(f"| {'what is doubled':<32} | {'from, to':>14} | {'time':>5} | {'memory':>6} |")
        print(f"|{'-' * 34}|{'-' * 15}:|{'-' * 6}:|{'-' * 7}:|", flush=True)
        for what, sizes, measure in sections(Path(folder), options.base):
            rounds = [[_measured(folder, measure, size) for size in sizes] for _ in range(options.rounds)]
            costs = [_median(of_size) for of_size in zip(*rounds)]
            time, memory = (exponent(sizes, values, least) for values, least in zip(zip(*costs), (0.001, 1.0)))
            faults += max(time, memory) > MOST
            ends = f"{sizes[0]:,}, {sizes[-1]:,}"
            print(f"| {what:<32} | {ends:>14} | {time:>5.2f} | {memory:>6.2f} |", flush=True)
    if faults:
        sys.exit(f"{faults} of these grow faster than with the exponent {MOST}.")


def sections(folder: Path, base: int) -> Iterator[tuple[str, Sequence[int], Measure]]:
    """Yield what is doubled, its sizes, and what is measured at each."""
    dialogs = [rounded(base) * factor for factor in (1, 2, 4)]
    for number in dialogs:
        filled(folder, number)
    yield "dialogues: a build live", dialogs, partial(live, turns=6, in_flight=100)
    yield "dialogues: a replay", dialogs, partial(replay, folder)
    in_flight = [most for most in (62, 125, 250, 500, 1000) if most <= max(250, base)]
    yield "calls in flight, and dialogues", in_flight, lived
    yield "turns: a build live", TURNS, partial(of_turns, rounded(base // 3))
    yield "responses in the store: opening", dialogs, partial(opened, folder)
    yield f"the same: {LOOKUPS} looked up", dialogs, partial(looked_up, folder)


def exponent(sizes: Sequence[int], values: Sequence[float], least: float) -> float:
    """Return the slope of the line through the logarithms. What is far below `least` is noise, so that is added."""
    across, up = [math.log(size) for size in sizes], [math.log(value + least) for value in values]
    return statistics.linear_regression(across, up).slope


# What runs in a process of its own


def live(dialogs: int, turns: int, in_flight: int) -> Cost:
    """Run dialogues online, by a serving in memory that answers after a while."""
    recipe = Recipe(model="benchmark", num_dialogs_per_intent=-(-dialogs // 9), num_turns_per_dialog=turns)
    warm = Recipe(model="benchmark", num_dialogs_per_intent=1, num_turns_per_dialog=1)
    with tempfile.TemporaryDirectory() as place:
        _run(warm, 9, f"{place}/warm", 9)  # imports, and patterns of the checks
        return cost_of(lambda: _run(recipe, dialogs, f"{place}/store", in_flight))


def lived(in_flight: int) -> Cost:
    """Run as many dialogues as calls may be in flight, all at once."""
    return live(in_flight, 6, in_flight)


def of_turns(dialogs: int, turns: int) -> Cost:
    """Run dialogues of so many turns."""
    return live(dialogs, turns, 100)


def replay(folder: Path, dialogs: int) -> Cost:
    """Replay a store, from the plan to the finished dialogues."""
    store, recipe = str(filled(folder, dialogs)), _recipe(dialogs)
    limits = Limits()
    next(drivers.run(recipe, range(1), ResponseStore(store), None, limits, RunStats()))
    count = range(1, len(Plan(recipe)))
    return cost_of(lambda: sum(1 for _ in drivers.run(recipe, count, ResponseStore(store), None, limits, RunStats())))


def opened(folder: Path, dialogs: int) -> Cost:
    """Open a store, and verify it."""
    place = str(filled(folder, dialogs))
    return cost_of(lambda: [ResponseStore(place).has(f"sha256:{number:064x}") for number in range(9)])


def looked_up(folder: Path, dialogs: int) -> Cost:
    """Look as many responses up in a store of any size, in random order."""
    place = str(filled(folder, dialogs))
    some = sorted(random.Random(0).sample(range(dialogs), min(dialogs, LOOKUPS // 2)))
    requests = [request for request, _ in conversed(dialogs, some, ResponseStore(place).find) if request.key]
    random.Random(1).shuffle(requests)
    store = ResponseStore(place)
    store.find(requests[0])
    return cost_of(lambda: list(map(store.find, requests)))


class Serving:
    """Answers in memory, after a while."""

    def __init__(self) -> None:
        self._author = Author(0)

    async def answer(self, request: Request) -> Response:
        """Return made-up texts."""
        await asyncio.sleep(LATENCY)
        return self._author(request)


def _run(recipe: Recipe, dialogs: int, place: str, in_flight: int) -> None:
    limits, notes = Limits(max_concurrency=in_flight), UsedResponses(key_identity(fingerprint(recipe)))
    with heap_frozen():
        for _ in drivers.run(recipe, range(dialogs), ResponseStore(place), Serving, limits, RunStats(), notes=notes):
            pass


def _recipe(dialogs: int) -> Recipe:
    return Recipe(model="benchmark", num_dialogs_per_intent=dialogs // 9, num_turns_per_dialog=6)


def _measured(folder: str, measure: Measure, size: int) -> Cost:
    """Measure in a process of its own whose home is new: it finds no notes of checked responses.

    The process is forked where that is possible: to import everything anew takes longer than to measure.
    """
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    with tempfile.TemporaryDirectory(dir=folder) as home, ProcessPoolExecutor(1, context) as process:
        return process.submit(_at_home, home, measure, size).result()


def _at_home(home: str, measure: Measure, size: int) -> Cost:
    constants.HF_HOME = home
    return measure(size)


def _median(costs: Sequence[Cost]) -> tuple[float, float]:
    return statistics.median(cost.cpu for cost in costs), statistics.median(cost.peak for cost in costs)


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", type=int, default=900, help="dialogues to begin with (900)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
