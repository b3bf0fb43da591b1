"""Makes the same number of dialogues with this project and its peers, against the same server, and prints a table.

    nox -s peers                                              # each peer in an environment of its own
    python benchmarks/peers/compare.py ours=python distilabel=/path/to/python --dialogs 1800

All have 100 calls in flight. Curator and distilabel send this project's prompts in two stages; DataFlow's operator has
prompts of its own. Each runs in a process of its own: its wall time and CPU time have the imports in them, CPU time
also that of the processes that it starts, and memory is the peak of the largest process.

| column | meaning |
|---|---|
| calls | seconds from the first call to the last answer, so without imports |
| rows | dialogues with six messages and six answers |
| of 5 x 5 % | the same where a quarter of the calls has a fault: 429, 500, malformed, truncated, an answer short |
| again | calls that are made again for the same request after a kill in the middle |
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent.absolute()
TURNS = 6
FAULTS = 5
LIMIT = 300.0
"""Seconds after which a run is killed and told as such."""
HEAD = ("what", "wall", "calls", "CPU", "memory", "rows", "of 5 x 5 %", "again")


class Run(NamedTuple):
    """Wall seconds, those from the first call to the last answer, CPU seconds, MB of memory, rows with all turns."""

    wall: float
    calls: float
    cpu: float
    memory: float
    rows: int


def main() -> None:
    """Run each peer three times, and print its line."""
    options = _options()
    print(_line(HEAD), "|---" + "|--:" * (len(HEAD) - 1) + "|", sep="\n", flush=True)
    for given in options.peers:
        name, _, python = given.partition("=")
        peer = Peer(name, python or sys.executable, options.dialogs)
        clean, faulty, again = _tried(partial(peer.run, 0)), _tried(partial(peer.run, FAULTS)), _tried(peer.repeated)
        cells = _cells(clean) if isinstance(clean, Run) else (clean, "", "", "", "")
        print(_line((name, *cells, faulty.rows if isinstance(faulty, Run) else faulty, again)), flush=True)


def _tried(measure: Callable[[], Run | int]) -> Run | int | str:
    """Return what is measured, or how it failed."""
    try:
        return measure()
    except subprocess.CalledProcessError as error:
        return f"exit code {error.returncode}"
    except subprocess.TimeoutExpired:
        return f"over {LIMIT:.0f} s"


def _cells(run: Run) -> tuple[object, ...]:
    return f"{run.wall:.1f} s", f"{run.calls:.1f} s", f"{run.cpu:.1f} s", f"{run.memory:.0f} MB", run.rows


class Peer:
    """A peer: a script in this folder, run by a Python that has what it needs."""

    def __init__(self, name: str, python: str, dialogs: int) -> None:
        found = os.path.abspath(shutil.which(python) or python)  # it runs in another folder
        self._command = [found, str(HERE / f"run_{name}.py")]
        self._dialogs = dialogs

    def run(self, faults: int) -> Run:
        """Run it from the beginning to the end."""
        with server(faults) as url, tempfile.TemporaryDirectory() as folder:
            return self._finished(url, Path(folder))

    def repeated(self) -> int:
        """Kill it when half of the calls were made, run it again, and count the calls that were made twice."""
        with server(0) as url, tempfile.TemporaryDirectory() as folder:
            process = self._started(url, Path(folder))
            while process.poll() is None and seen(url)["calls"] < self._dialogs:
                time.sleep(0.02)
            _kill(process)
            self._finished(url, Path(folder))
            counted = seen(url)
        return counted["calls"] - counted["requests"]

    def _started(self, url: str, folder: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "HF_HOME": str(folder / "home"), "OPENAI_API_KEY": "a-key", "DF_API_KEY": "a-key"}
        log = open(folder / "log", "ab")  # noqa: SIM115  the process writes to it
        given = [url, str(self._dialogs), str(folder)]
        files: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": folder}
        return subprocess.Popen([*self._command, *given], env=environment, start_new_session=True, **files)

    def _finished(self, url: str, folder: Path) -> Run:
        began, process = time.monotonic(), self._started(url, folder)
        status, usage = self._end(process)
        if code := os.waitstatus_to_exitcode(status):
            sys.stderr.write((folder / "log").read_text("utf-8", "replace")[-4000:])
            raise subprocess.CalledProcessError(code, self._command)
        wall = time.monotonic() - began
        _kill(process)  # what it started and left
        return Run(
            wall,
            seen(url)["seconds"],
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024,
            rows(folder / "rows.jsonl"),
        )

    def _end(self, process: subprocess.Popen[bytes]) -> tuple[int, resource.struct_rusage]:
        """Wait for the end of a process; kill it after LIMIT."""
        began = time.monotonic()
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                return status, usage
            if time.monotonic() - began > LIMIT:
                _kill(process)
                raise subprocess.TimeoutExpired(self._command, LIMIT)
            time.sleep(0.02)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        process.wait()


def rows(path: Path) -> int:
    """Return how many conversations of a file have all turns, each with a text."""
    with open(path, encoding="utf-8") as file:
        return sum(_is_whole(json.loads(line)) for line in file)


def _is_whole(conversation: list[str]) -> bool:
    return len(conversation) == 2 * TURNS and all(isinstance(text, str) and text.strip() for text in conversation)


@contextlib.contextmanager
def server(faults: int) -> Iterator[str]:
    """Run the server; give its address."""
    command = [sys.executable, str(HERE / "server.py"), str(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def seen(url: str) -> dict[str, Any]:
    """Ask the server for the number of its calls, and of different requests among them."""
    with urllib.request.urlopen(f"{url}/seen") as response:
        counted: dict[str, Any] = json.load(response)
    return counted


def _line(cells: tuple[object, ...]) -> str:
    return f"| {cells[0]!s:<12} | " + " | ".join(f"{cell!s:>10}" for cell in cells[1:]) + " |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peers", nargs="+", metavar="NAME=PYTHON", help="ours, curator, distilabel or dataflow")
    parser.add_argument("--dialogs", type=int, default=1800, help="dialogues to make, a multiple of nine (1,800)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
