"""Measures the online driver on a server on this machine, beside a bare client and the targets.

    python benchmarks/online.py           # all rows, about six minutes
    python benchmarks/online.py a e       # some of them

Ours is `load_dataset` from the call to its return: prompts, the provider's SDK, parsing, store, packs and Arrow. The
bare client sends the same requests with aiohttp and a semaphore, all of them made in advance, and keeps nothing. Each
runs in a fresh process on one core, the server on another where there is one. Imports are not measured.

The limit is the sum of all service times divided by the calls in flight, which no client can beat; used is the share of
the slots' time in which the server was at work. In row h answers are made in the process, and it is the share in which
a call was in flight. Memory is the peak of the whole process, the imports included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from clients import Run, bare, chained, fields_of, ours
from process import fresh
from provider import Manner, Seen, provider, seen

HEAVY = Manner(sigma=1.0)
FAULTY = Manner(faults=5)

Row = tuple[str, ...]
HEAD = ("what", "limit", "bare", "ours", "ours/bare", "used", "CPU/call", "bare's", "memory", "target")


def main() -> None:
    """Measure and print a table."""
    options = _options()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the clients inherit it; the server takes the others
    print(_line(HEAD), "|---" + "|--:" * (len(HEAD) - 1) + "|", sep="\n", flush=True)
    for name in options.rows or ROWS:
        for row in ROWS[name]():
            print(_line([f"({name}) {row[0]}", *row[1:]]), flush=True)


# What is measured


def compare(what: str, dialogs: int, concurrency: int, manner: Manner, target: str, taken: int | None = None) -> Row:
    """Set a build against the bare client, which keeps to the calls at once that are `taken`."""
    slots = taken or concurrency
    with provider(manner) as url:
        other: Run = fresh(bare, url, dialogs, slots, manner)
        sent = seen(url)
    with provider(manner) as url:
        own: Run = fresh(ours, url, dialogs, concurrency)
        counted = seen(url)
    if sent.requests != counted.requests - counted.refused:
        what += f" [{counted.requests} requests, bare {sent.requests}]"
    limit = counted.seconds / slots
    return (
        what,
        f"{limit:.2f} s",
        f"{other.seconds:.2f} s",
        f"{own.seconds:.2f} s",
        f"{own.seconds / other.seconds:.3f}",
        f"{limit / own.seconds:.3f}",
        f"{own.cpu / counted.requests * 1000:.2f} ms",
        f"{other.cpu / sent.requests * 1000:.2f} ms",
        f"{own.peak:.0f} MB",
        target,
    )


def steady() -> Iterator[Row]:
    """Calls that all take as long."""
    yield compare("180 dialogues, 30 in flight, 0.2 s a call", 180, 30, Manner(), "ours/bare 1.05")


def heavy() -> Iterator[Row]:
    """Calls of which some take very long."""
    yield compare("180, heavy tail", 180, 30, HEAVY, "")
    yield compare("1,800, heavy tail", 1800, 30, HEAVY, "used 0.9")


def faulty() -> Iterator[Row]:
    """Calls of which a quarter is in vain."""
    yield compare("180, 5 % each of 429, 500, malformed, truncated, wrong count", 180, 30, FAULTY, "")


def rate_limited() -> Iterator[Row]:
    """A server that takes fewer calls than are set."""
    yield compare("180, 30 set, 20 taken", 180, 30, Manner(places=20), "ours 1.2 x limit", taken=20)


def many() -> Iterator[Row]:
    """As many calls as one process makes."""
    yield compare("1,800, 100 in flight", 1800, 100, Manner(), "1.10, 1.5 ms, 300 MB")


def chains() -> Iterator[Row]:
    """Dialogues made message by message, each a chain of calls."""
    used, own = fresh(chained, 1800, 100, 1.0)
    yield (
        "1,800 turn by turn, 100 in flight, 1 s a call",
        "",
        "",
        f"{own.seconds:.2f} s",
        "",
        f"{used:.3f}",
        *[""] * 3,
        "used 0.9",
    )


def killed() -> Iterator[Row]:
    """A build that is killed and run again."""
    with provider(Manner()) as url, tempfile.TemporaryDirectory() as store:
        first = multiprocessing.get_context("spawn").Process(target=ours, args=(url, 180, 30, store))
        first.start()
        _until(lambda: seen(url).requests >= 270)
        first.kill()
        first.join()
        before = seen(url)
        fresh(ours, url, 180, 30, store)
        after = seen(url)
    again = after.requests - 360
    yield f"killed after {before.requests} of 360 requests, run again: sent twice", "", "", f"{again}", *[""] * 5, "30"


def starting() -> Iterator[Row]:
    """The command line, from its start to the first request at the server; nothing is imported yet."""
    with provider(Manner(median=0.01)) as url, tempfile.TemporaryDirectory() as folder:
        fields = {**fields_of(9), "serving": "anthropic", "base_url": url, "api_key": "a-key"}
        options = [text for name, value in fields.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "consistent_chat", "build", *options, "--output", f"{folder}/made.parquet"]
        began = time.monotonic()
        environment = {**os.environ, "HF_HOME": folder}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        first: Seen = seen(url)
    memory = usage.ru_maxrss / 1024
    yield "start to first request", "", "", f"{first.first - began:.2f} s", *[""] * 4, f"{memory:.0f} MB", "3 s"


ROWS: dict[str, Callable[[], Iterator[Row]]] = {
    "a": steady,
    "b": heavy,
    "c": faulty,
    "d": rate_limited,
    "e": many,
    "f": killed,
    "g": starting,
    "h": chains,
}


def _until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)


def _line(cells: Any) -> str:
    return f"| {cells[0]:<64} | " + " | ".join(f"{cell:>9}" for cell in cells[1:]) + " |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which of {', '.join(ROWS)} (all)")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    main()
