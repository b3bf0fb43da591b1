"""Measures how long it takes until something happens, beside `python -c "import datasets"` in the same run.

    python benchmarks/startup.py              # medians of 9 rounds, about two minutes
    python benchmarks/startup.py --rounds 3

All that is compared runs in processes of its own, one after the other, in rounds: what else the machine does falls on
all alike. The live build is `load_dataset` with an empty store and a server on this machine; its time is that from
the end of `import datasets` to the arrival of the first request there, so it holds the imports of this package and of
whatever it calls with, the plan, and the opening of the store.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from provider import Manner, provider, seen

PYTHON = sys.executable
COMMAND = (PYTHON, "-m", "consistent_chat")
REFERENCE = "import datasets"
MODELS = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-5"}

LIVE = """
import sys, time
import datasets
imported, busy = time.monotonic(), []

def note(event, given):
    if event == "socket.connect":
        busy.append(time.process_time() - before)

before = time.process_time()
sys.addaudithook(note)
import consistent_chat
url, folder, serving, model = sys.argv[1:]
datasets.load_dataset(
    "consistent_chat", serving=serving, model=model, base_url=url, api_key="a-key", num_dialogs_per_intent=1,
    num_turns_per_dialog=1, responses=folder + "/responses", cache_dir=folder + "/cache",
)
print(imported, busy[0])
"""


def main() -> None:
    """Measure in rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    taken = [{name: measure() for name, measure in MEASURES.items()} for _ in range(rounds)]
    medians = {name: statistics.median(one[name] for one in taken) for name in MEASURES}
    print("| what | seconds | of import datasets |", "|---|--:|--:|", sep="\n")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.3f} | {seconds / medians[REFERENCE]:.2f} |")


def process(*command: str, code: int = 0) -> float:
    """Return the seconds that a command takes from its start to its end, with this exit code."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != code:
        raise RuntimeError(f"{command} ended with {done.returncode}, not {code}: {done.stderr}")
    return seconds


def first_request(serving: str, of_cpu: bool = False) -> float:
    """Return the seconds of a live build from the end of `import datasets` to its first request.

    With `of_cpu` they are those of the processor until it connects, on which the load of the machine bears less.
    """
    with provider(Manner(median=0.0)) as url, tempfile.TemporaryDirectory() as folder:
        command = (PYTHON, "-c", LIVE, url, folder, serving, MODELS[serving])
        options = {"HF_HOME": folder, "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **options}, check=False)
        first = seen(url).first
    if done.returncode:
        raise RuntimeError(f"The build failed: {done.stderr}")
    imported, busy = map(float, done.stdout.split())
    return busy if of_cpu else first - imported


MEASURES: dict[str, Callable[[], float]] = {
    REFERENCE: lambda: process(PYTHON, "-c", "import datasets"),
    "python -c pass": lambda: process(PYTHON, "-c", "pass"),
    "import consistent_chat": lambda: process(PYTHON, "-c", "import consistent_chat"),
    "consistent-chat --version": lambda: process(*COMMAND, "--version"),
    "consistent-chat --help": lambda: process(*COMMAND, "--help"),
    "wrong usage": lambda: process(*COMMAND, "biuld", code=2),
    "datasets imported to first request": lambda: first_request("anthropic"),
    "the same, CPU (at most 0.5)": lambda: first_request("anthropic", of_cpu=True),
}

if __name__ == "__main__":
    main()
