"""What something costs, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Seconds elapsed, CPU seconds of all threads, and MB of memory above what there was before."""

    seconds: float
    cpu: float
    peak: float


def cost_of(act: Callable[[], Any]) -> Cost:
    """Do something and say what it cost."""
    before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    act()
    return Cost(time.perf_counter() - start, time.process_time() - cpu, memory("VmHWM") - before)


def memory(kind: str) -> float:
    """Return this process's resident memory in MB, now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux hands the peak that getrusage tells down from the process that started this one
        return int(re.search(rf"{kind}:\s*(\d+)", status.read_text())[1]) / 1024
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def fresh(measure: Callable[..., Any], *given: Any) -> Any:
    """Call in a new process and return what comes back."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *given).result()
