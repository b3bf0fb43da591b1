"""Measures the response store: what a replay, opening, finding and keeping cost, beside their targets.

    python benchmarks/store.py            # 10,000 dialogues replayed, 100,000 records opened
    python benchmarks/store.py --full     # 100,000 and 1,000,000: the targets' own sizes

All run on one core, each measurement in a fresh process, so that its peak of memory is its own. Where two are compared
they take turns, and figures are medians; where others share the machine, go by CPU time. The texts are made up: words
of a made-up language in the frequencies of a real one, so that they compress like text. Requests are those of a real
plan. Stores that `--folder` keeps are those of the code that filled them.

Memory is resident memory, file pages mapped into the process included, above what it was after the imports.
"""

from __future__ import annotations

import argparse
import collections
import functools
import gc
import itertools
import json
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import constants
from made import Author, built, conversed, filled, finished, rounded
from process import Cost, cost_of, fresh

from consistent_chat.store import ResponseStore

datasets.disable_progress_bars()

RESPONSES = 2
"""Requests, and so responses, of a dialogue: one for the user messages, one for the answers."""

SAMPLE = 1_000
"""Dialogues whose responses are looked up in random order: each may cost the decoding of a whole group."""

Rows = Iterator[tuple[str, str, str]]
"""What was measured, the figure, the target."""


def main() -> None:
    """Fill the stores, unless that was done before; measure; print the table."""
    options = _options()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the processes started below inherit it
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        sections = (
            compare_replay(folder, options.dialogs, options.rounds),
            compare_memory(folder, options.dialogs),
            measure_opening(folder, options.openable, options.rounds),
            measure_finding(folder, options.dialogs),
            measure_keeping(folder, options.dialogs),
        )
        print(f"| {'what':<66} | {'measured':>12} | {'target':>8} |\n|{'-' * 68}|{'-' * 13}:|{'-' * 9}:|", flush=True)
        for what, measured, target in itertools.chain(*sections):
            print(f"| {what:<66} | {measured:>12} | {target:>8} |", flush=True)


# What is measured


def compare_replay(folder: Path, dialogs: int, rounds: int) -> Rows:
    """Set a replay through the builder against `datasets` writing the same finished rows."""
    store, rows = filled(folder, dialogs), finished(folder, dialogs)
    kinds = {
        "first replay of {}, which checks responses": functools.partial(replay, store, dialogs, True),
        "later replay of {}, with notes of the first": functools.partial(replay, store, dialogs, False),
        "from_generator of {}, rows ready in memory": functools.partial(generate, rows, True),
        "from_generator of {}, rows read from JSON lines": functools.partial(generate, rows, False),
    }
    taken: dict[str, list[Cost]] = {what: [] for what in kinds}
    for _ in range(rounds):
        for what, measure in kinds.items():
            taken[what].append(fresh(measure))
    seconds = [statistics.median(cost.seconds for cost in costs) for costs in taken.values()]
    cpu = [statistics.median(cost.cpu for cost in costs) for costs in taken.values()]
    for what, elapsed, busy in zip(kinds, seconds, cpu):
        yield what.format(f"{dialogs:,} dialogues"), f"{elapsed:.2f} s", ""
        yield "CPU time of that", f"{busy:.2f} s", ""
    for which, kind in enumerate(("first", "later")):
        for number, rows_are in ((2, "ready in memory"), (3, "read from JSON lines")):
            what = f"{kind} replay / from_generator, rows {rows_are}"
            yield what, f"{seconds[which] / seconds[number]:.2f}", "2.0"
            yield "the same by CPU time", f"{cpu[which] / cpu[number]:.2f}", "2.0"


def compare_memory(folder: Path, dialogs: int) -> Rows:
    """Set the peak of a long replay against that of a short one."""
    many, few = (fresh(replay, filled(folder, number), number).peak for number in (dialogs, rounded(1_000)))
    yield f"peak memory of a replay of {dialogs:,} dialogues", f"{many:.0f} MB", ""
    yield "more than a replay of 1,000 dialogues", f"{many - few:.0f} MB", "100 MB"


def measure_opening(folder: Path, dialogs: int, rounds: int) -> Rows:
    """Open a store that one run left behind, and one that a hundred runs did."""
    for packs in (1, 100):
        store = filled(folder, dialogs, packs)
        costs = [fresh(open_store, store) for _ in range(rounds)]
        what = f"opening {dialogs * RESPONSES:,} responses of {packs} run{'s' * (packs > 1)}"
        yield what, f"{statistics.median(cost.seconds for cost in costs):.2f} s", "3 s"
        yield f"{what}: memory", f"{statistics.median(cost.peak for cost in costs):.0f} MB", "300 MB"


def measure_finding(folder: Path, dialogs: int) -> Rows:
    """Look responses up, in the order of the plan and in none."""
    for order in ("plan", "random"):
        cost, count = fresh(find_all, filled(folder, dialogs), dialogs, order == "random")
        target = "100 µs" if order == "random" else ""
        yield f"find in {order} order, CPU, of {dialogs * RESPONSES:,}", f"{cost.cpu / count * 1e6:.0f} µs", target


def measure_keeping(folder: Path, dialogs: int) -> Rows:
    """Keep responses, and do what is left when the store is closed."""
    count = min(dialogs, 10_000) * RESPONSES
    keeping, closing = fresh(keep_all, folder, count // RESPONSES)
    yield f"keep, CPU, of {count:,} responses", f"{keeping.cpu / count * 1e6:.0f} µs", "100 µs"
    yield "keep, elapsed", f"{keeping.seconds / count * 1e6:.0f} µs", ""
    yield "close after them, CPU a response", f"{closing.cpu / count * 1e6:.0f} µs", ""
    yield "close after them: memory", f"{closing.peak:.0f} MB", ""


# What runs in a process of its own


def replay(store: Path, dialogs: int, is_first: bool = True) -> Cost:
    """Build the dataset from the store, on a machine without notes about it, or on one that has replayed it before."""
    home = store.with_name(f"{store.name}-home")
    if is_first:
        shutil.rmtree(home, ignore_errors=True)
    constants.HF_HOME = str(home)  # the notes are there
    with tempfile.TemporaryDirectory(dir=store.parent) as cache:
        return cost_of(lambda: built(store, dialogs, cache))


def generate(rows: Path, ready: bool) -> Cost:
    """Let `datasets` write rows that are ready in memory, or that it reads as it goes."""
    global READY
    features = datasets.Features.from_dict(json.loads(rows.with_suffix(".features").read_text()))
    READY = list(_lines(rows)) if ready else _lines(rows)
    gc.collect()
    gc.freeze()  # or the collector walks over the rows again and again, at the cost of `datasets`
    with tempfile.TemporaryDirectory(dir=rows.parent) as cache:
        return cost_of(lambda: datasets.Dataset.from_generator(_ready, features=features, cache_dir=cache))


def open_store(store: Path) -> Cost:
    """Open the store."""
    return cost_of(lambda: ResponseStore(str(store)))


def find_all(store: Path, dialogs: int, shuffled: bool) -> tuple[Cost, int]:
    """Look up the responses of the first dialogues, or of a sample of all in random order; return how many too."""
    some = random.Random(0).sample(range(dialogs), min(SAMPLE, dialogs)) if shuffled else range(min(10_000, dialogs))
    requests = [request for request, _ in conversed(dialogs, sorted(some), ResponseStore(str(store)).find)]
    if shuffled:
        random.Random(1).shuffle(requests)
    opened = ResponseStore(str(store))
    gc.collect()
    gc.freeze()  # or the collector walks over the requests, and over all that is loaded
    return cost_of(lambda: collections.deque(map(opened.find, requests), 0)), len(requests)


def keep_all(folder: Path, dialogs: int) -> tuple[Cost, Cost]:
    """Keep responses, then close. The requests' keys are known by then, as in a run, which looks before it asks."""
    pairs = [pair for pair in conversed(dialogs, range(dialogs), Author(0)) if pair[0].key]
    gc.freeze()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store = ResponseStore(place)
        store.prepare()
        keeping = cost_of(lambda: collections.deque(itertools.starmap(store.keep, pairs), 0))
        return keeping, cost_of(store.close)


READY: Iterable[dict[str, Any]] = ()
"""What `_ready` yields. As an argument of it, `datasets` would hash all of it before it began."""


def _ready() -> Iterator[dict[str, Any]]:
    yield from READY


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path) as file:
        yield from map(json.loads, file)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dialogs", type=int, default=10_000, help="dialogues that are replayed (10,000)")
    parser.add_argument(
        "--records", type=int, default=100_000, help="responses in the stores that are opened (100,000)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--full", action="store_true", help="100,000 dialogues and 1,000,000 records, once each")
    parser.add_argument("--folder", type=Path, help="keep the filled stores there for the next time")
    options = parser.parse_args()
    if options.full:
        options.dialogs, options.records, options.rounds = 100_000, 1_000_000, 1
    options.dialogs, options.openable = rounded(options.dialogs), rounded(options.records // RESPONSES)
    return options


if __name__ == "__main__":
    main()
