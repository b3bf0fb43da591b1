"""Measures how often a judge agrees with this package's labelled dialogues, for `consistent-chat judge --calibrate`.

Each entry of calibration.yaml is a good dialogue and two with a flaw, one subtle and one plain. A judge agrees if the
score for the criterion of the flaw is at least `GOOD` for the good dialogue, and lower for the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple

import yaml

from consistent_chat.dialogue.judge import Judgement
from consistent_chat.drivers import RunStats
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.reports.judging import Chat, Verdict, opened

LEVELS = ("good", "subtle", "plain")
GOOD = 4
"""The minimum score that counts as good. On the judge's scale, 4 allows a flaw that does not mislead the user."""
COLUMNS = (*LEVELS, "in order", "at fault")


class Labelled(NamedTuple):
    """A labelled dialogue: the number of its entry, its kind and level, the flaw's criterion, and whose fault it is."""

    entry: int
    kind: str
    level: str
    criterion: str
    fault: str
    chat: Chat


class Share(NamedTuple):
    """The number of labels that a judge agrees with, and the number of all labels."""

    agreed: int = 0
    of: int = 0

    def plus(self, agrees: bool) -> Share:
        """Return the share with one more label."""
        return Share(self.agreed + agrees, self.of + 1)

    def __str__(self) -> str:
        return f"{self.agreed}/{self.of}"


Shares = dict[tuple[str, str], Share]
"""Shares by kind and column."""


@dataclass
class Calibration:
    """The agreement of each judge with the labels, by kind of flaw: at each level, in order, and at fault.

    "in order" counts the entries whose good dialogue has a higher score than both others; "at fault" counts the flawed
    dialogues in which the judge finds the right side at fault.
    """

    judges: dict[str, Shares] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Share)))
    unjudged: int = 0
    stats: RunStats = field(default_factory=RunStats)

    def add(self, judge: str, kind: str, column: str, agrees: bool) -> None:
        """Count a label for its kind and for all kinds."""
        shares = self.judges[judge]
        for name in (kind, ALL):
            shares[name, column] = shares[name, column].plus(agrees)

    def agreement(self, judge: str, kind: str = "") -> float:
        """Return the share of dialogues (0 to 1), of one kind or all, whose level the judge agrees with."""
        shares = [self.judges[judge][kind or ALL, level] for level in LEVELS]
        return sum(share.agreed for share in shares) / max(1, sum(share.of for share in shares))

    def __str__(self) -> str:
        tables = [line for judge in self.judges for line in self._table(judge)]
        unjudged = [f"{self.unjudged} dialogues could not be judged"] if self.unjudged else []
        return "\n".join([*tables, *unjudged])

    def _table(self, judge: str) -> Iterator[str]:
        shares = self.judges[judge]
        kinds = [kind for kind in dict.fromkeys(kind for kind, _ in shares) if kind != ALL]
        width = max(map(len, kinds), default=0)
        yield f"{judge}: agrees with {self.agreement(judge):.0%} of the labels"
        yield "  ".join([" " * width, *COLUMNS])
        for kind in (*kinds, ALL):
            cells = (str(shares[kind, column]).rjust(len(column)) for column in COLUMNS)
            yield "  ".join([kind.ljust(width), *cells])


ALL = "all"
"""The row of a table for all kinds."""


def calibrate(**options: Any) -> Calibration:
    """Have the labelled dialogues judged by the built-in criteria, and return the agreement of each judge.

    `options` are those of `judging.judge`. Raises RecipeError for other criteria, and the errors of a build.
    """
    if "criteria" in (options.get("judge") or ()):
        raise RecipeError("The labels are about the built-in criteria. Leave criteria out of judge.")
    verdicts, report = opened(options)
    labels, made = labelled(), Calibration(stats=report.stats)
    found = list(zip(labels, verdicts((one.chat for one in labels), "English")))
    for label, verdict in found:
        made.unjudged += verdict.judgement is None
        for judge, own in _each(verdict):
            _compare(made, judge, label, own)
    _compare_order(made, found)
    if made.unjudged == len(labels):
        raise ConsistentChatError(f"No labelled dialogue could be judged: {found[0][1].error}.")
    return made


def labelled() -> list[Labelled]:
    """Return the labelled dialogues of this package."""
    text = resources.files("consistent_chat.reports").joinpath("calibration.yaml").read_text("utf-8")
    return [one for number, entry in enumerate(yaml.safe_load(text)) for one in _levels(number, entry)]


def _levels(number: int, entry: dict[str, Any]) -> Iterator[Labelled]:
    for level in LEVELS:
        changed = entry.get(level, {})
        said = [changed.get(place, text) for place, text in enumerate(entry["messages"], 1)]
        chat = Chat(f"{number + 1} {level}", tuple(said[::2]), tuple(said[1::2]))
        yield Labelled(number, entry["kind"], level, entry["criterion"], entry["fault"], chat)


def _each(verdict: Verdict) -> list[tuple[str, Judgement]]:
    """Return the verdict of each judge."""
    said = verdict.judgement
    opinions = () if said is None else said.opinions
    return [(one.model, Judgement(said.criteria, (one,))) for one in opinions if said is not None]


def _compare(made: Calibration, judge: str, label: Labelled, said: Judgement) -> None:
    is_good = said.scores[label.criterion] >= GOOD
    made.add(judge, label.kind, label.level, is_good == (label.level == "good"))
    if label.level != "good":
        made.add(judge, label.kind, "at fault", said.fault == label.fault)


def _compare_order(made: Calibration, found: list[tuple[Labelled, Verdict]]) -> None:
    """Compare the scores of the dialogues of each entry."""
    for first in range(0, len(found), len(LEVELS)):
        label = found[first][0]
        each = [dict(_each(verdict)) for _, verdict in found[first : first + len(LEVELS)]]
        for judge in set.intersection(*map(set, each)):
            good, *others = (said[judge].scores[label.criterion] for said in each)
            made.add(judge, label.kind, "in order", good > max(others))
