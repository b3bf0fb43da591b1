"""The counts of a run, for progress bars and the summary line."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consistent_chat.dialogue.work import Dialogue
from consistent_chat.errors import RefusedAccess, RefusedRequest, TransportError
from consistent_chat.prices import Price, Tokens, billed, cached
from consistent_chat.request import Response
from consistent_chat.text import Summarized, counted

COUNTS = ("dialogues", "calls", "retries", "substitutes", "input_tokens", "output_tokens", "cost", "failed", "marks",
          "cached_tokens", "saved", "uncounted", "unpriced", "timeouts")  # fmt: skip
PAID = ("calls", "retries", "input_tokens", "output_tokens", "cost", "cached_tokens", "saved", "uncounted", "unpriced",
        "timeouts")  # fmt: skip
"""Counts of payments and tries, which are kept even if another process does the work again."""
MOST_UNPRICED = 10_000
"""Calls after which their cost is added, so that they do not fill the memory."""
_settling = threading.Lock()


@dataclass(repr=False)
class RunStats(Summarized):
    """Counts of one run. `calls` counts answered calls, `retries` transport errors, `failed` the reasons of redraws.

    `cached_tokens` are the input tokens that came from providers' caches, `saved` the US dollars that caches saved.
    `uncounted` are the calls whose tokens the server did not count: `cost` includes an estimate of them. `unpriced` are
    the calls of models without a known price, `timeouts` those whose answer was late: `cost` does not include them.
    """

    dialogues: int = 0
    calls: int = 0
    retries: int = 0
    substitutes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    cached_tokens: int = 0
    saved: float | None = None
    uncounted: int = 0
    unpriced: int = 0
    timeouts: int = 0
    last_fault: str = ""
    failed: Counter[str] = field(default_factory=Counter)
    in_flight: dict[int, float] = field(default_factory=dict, repr=False, compare=False)
    """When each unanswered call was sent, by its number, in seconds of the monotonic clock."""
    marks: int = 0
    on_call: Callable[[RunStats], None] = field(default=lambda stats: None, repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)
    _unpriced: deque[tuple[Callable[[], Price | None], Tokens]] = field(
        default_factory=deque, repr=False, compare=False
    )

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Count a call as in flight until it ends."""
        number = next(self._numbers)
        self.in_flight[number] = time.monotonic()
        try:
            yield
        finally:
            del self.in_flight[number]

    def called(self, response: Response, taken: Tokens, price: Callable[[], Price | None]) -> None:
        """Count an answered call, whose cost `settle` adds: loading the table of prices would hold up other calls."""
        self.calls += 1
        self.paid(response, taken, price)
        self.on_call(self)

    def paid(self, response: Response, taken: Tokens, price: Callable[[], Price | None]) -> None:
        """Count the tokens of a response, also of a faulty one that is not an answer.

        `taken` are those that cost something: where the server does not count them, an estimate.
        """
        tokens = billed(response)
        self.input_tokens += int(tokens.input)
        self.output_tokens += int(tokens.output)
        self.cached_tokens += int(tokens.cache_read)
        self.uncounted += int(tokens.uncounted)
        self._unpriced.append((price, taken))
        if len(self._unpriced) >= MOST_UNPRICED:
            self.settle()

    def settle(self) -> None:
        """Add the cost of the calls so far."""
        with _settling:
            while self._unpriced:
                price_of, tokens = self._unpriced.popleft()
                if (price := price_of()) is None:
                    self.unpriced += 1
                else:
                    self._add_cost(price, tokens)

    def _add_cost(self, price: Price, tokens: Tokens) -> None:
        self.cost = (self.cost or 0.0) + price.of(tokens)
        if tokens.cache_read or tokens.cache_write:
            self.saved = (self.saved or 0.0) + price.saved(tokens)

    def retried(self, error: TransportError | RefusedRequest | RefusedAccess) -> None:
        """Count a call that is retried."""
        self.retries += 1
        self.last_fault = str(error)
        self.on_call(self)

    def finished(self, dialogue: Dialogue) -> None:
        """Count a finished dialogue."""
        self.dialogues += 1
        self.substitutes += dialogue.spec.substitute
        self.marks += dialogue.mark is not None
        if dialogue.failed:  # rarely true; updating a Counter would slow down replays
            self.failed.update(draw.reason.value for draw in dialogue.failed)

    def counts(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        self.settle()
        return {**{name: getattr(self, name) for name in COUNTS}, "failed": dict(self.failed)}

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add counts; missing ones count as 0."""
        for name, value in counts.items():
            if name == "failed":
                self.failed.update(value)
            elif value is not None:
                setattr(self, name, (getattr(self, name) or 0) + value)

    @classmethod
    @contextlib.contextmanager
    def recorded(cls, folder: str, name: str) -> Iterator[RunStats]:
        """Give counts, and at the end write them into a folder, where `summed` finds them; "" writes nothing.

        Each process of a build writes its own files, also if the build stops.
        """
        stats = cls()
        try:
            yield stats
        finally:
            if folder:
                Path(folder, f"{name}.{uuid.uuid4().hex}").write_text(json.dumps(stats.counts()))

    @classmethod
    def summed(cls, folder: str, name: str) -> RunStats:
        """Return the sum of the counts that were saved under a name."""
        total = cls()
        for path in Path(folder).glob(f"{name}.*"):
            total.add(json.loads(path.read_text()))
        return total

    def __str__(self) -> str:
        self.settle()
        parts = [counted(self.dialogues, "dialogue"), counted(self.calls, "call")]
        if self.calls:
            parts.append(f"{self.input_tokens + self.output_tokens:,} tokens")
        if self.cost is not None:
            parts.append(f"${self.cost:.4f}")
            if self.unpriced:
                parts.append(f"{counted(self.unpriced, 'call')} without a known price (not in this cost)")
        if self.cached_tokens:
            parts.append(cached(self.cached_tokens, self.input_tokens, self.saved))
        if self.uncounted:
            parts.append(f"{counted(self.uncounted, 'call')} without token counts (cost estimated)")
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.failed.items()))
            parts.append(f"{counted(self.failed.total(), 'unusable answer')} ({reasons})")
        if self.retries:
            parts.append(counted(self.retries, "retry"))
        if self.timeouts:
            parts.append(f"{counted(self.timeouts, 'timeout')} (may be billed)")
        if self.substitutes:
            parts.append(counted(self.substitutes, "substitute"))
        return ", ".join(parts)
