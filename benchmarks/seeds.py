"""How long a million rows of one's own take to open, in how much memory, and what a spec of them costs.

Bounds: 10 s of CPU and 300 MB more than the imports to open, 50 microseconds for `plan[i]`.

    python benchmarks/seeds.py [rows]
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

ROWS = 1_000_000
SPECS = 20_000
MAX_SECONDS, MAX_MEGABYTES, MAX_MICROSECONDS = 10.0, 300.0, 50.0


def peak() -> float:
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(path: Path, rows: int) -> None:
    """Write rows of about 140 characters as CSV."""
    with path.open("w") as file:
        file.write("subject,body\n")
        for number in range(rows):
            file.write(f'Parcel {number},"Parcel {number} was sent on 3 May, paid with {number % 997} euros, ')
            file.write('and has not arrived.\nThe customer asks for the money back."\n')


def measure(path: Path) -> bool:
    """Print what it takes, and return whether that is within the bounds."""
    from consistent_chat.plan import Plan
    from consistent_chat.recipe import Recipe
    from consistent_chat.recipe.seeds import sources

    assert sources
    plain = Plan(Recipe(model="m"))[0]
    before, start = peak(), time.process_time()
    recipe = Recipe(model="m", seeds={"data": str(path), "fields": {"topic": "subject", "source": "body"}})
    seconds, plan = time.process_time() - start, Plan(recipe)
    memory, start = peak() - before, time.process_time()
    for index in range(0, len(plan), max(1, len(plan) // SPECS)):
        plain = plan[index]
    each = (time.process_time() - start) / SPECS * 1e6
    print(f"{len(plan):,} sources: {seconds:.1f} s, {memory:.0f} MB; plan[i]: {each:.1f} us ({plain.topic})")
    return seconds < MAX_SECONDS and memory < MAX_MEGABYTES and each < MAX_MICROSECONDS


def main() -> int:
    """Return 0 if all is within the bounds."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_HOME"] = folder
        write(Path(folder) / "rows.csv", rows)
        return 0 if measure(Path(folder) / "rows.csv") else 1


if __name__ == "__main__":
    sys.exit(main())
