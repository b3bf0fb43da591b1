"""The figures of a report: statistics by intent, failed draws, tokens and their cost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from markupsafe import Markup

from consistent_chat import duplicates
from consistent_chat.errors import ConsistentChatError
from consistent_chat.prices import Tokens, cached, price_of, without_counts
from consistent_chat.reports.check import AlarmCounter
from consistent_chat.reports.records import ReportRow
from consistent_chat.stats import PAPER, DialogueStats, Distribution, Failure, Statistics
from consistent_chat.stats.shape import ShapeStats
from consistent_chat.text import Summarized, counted
from consistent_chat.text.sanitize import sanitize

COMPARED = 10_000
"""Number of dialogues, from the first, that are compared. Each takes half a millisecond and ten kilobytes."""


class NearDuplicateCounter:
    """Counts near-duplicates among the first texts. `found` is None if `datasketch` is not installed."""

    def __init__(self) -> None:
        self.compared, self._matches = 0, 0
        try:
            self._kept: duplicates.KeptTexts | None = duplicates.KeptTexts(duplicates.THRESHOLD)
        except ConsistentChatError:
            self._kept = None

    @property
    def found(self) -> int | None:
        """The number of texts that nearly repeat an earlier one."""
        return None if self._kept is None else self._matches

    def add(self, messages: Sequence[str]) -> None:
        """Compare the messages of one side of a dialogue with those of the earlier dialogues."""
        if self._kept is None or self.compared == COMPARED:
            return
        sketch = duplicates.sketched(duplicates.dialogue_text(messages))
        if self._kept.like(self.compared, sketch) is None:
            self._kept.add(self.compared, sketch)
        else:
            self._matches += 1
        self.compared += 1


NOT_KNOWN = "not known"


class Used(NamedTuple):
    """A model's billed tokens, 0 if its provider gave no counts, and the US dollars, None without a price."""

    model: str
    tokens: Tokens
    cost: float | None

    def cells(self) -> list[str]:
        """Return input tokens, output tokens and cost as text."""
        if not self.total:
            return [NOT_KNOWN] * 3
        cost = NOT_KNOWN if self.cost is None else f"${self.cost:,.4f}"
        return [f"{self.tokens.input:,}", f"{self.tokens.output:,}", cost]

    @property
    def total(self) -> int:
        """The tokens in and out."""
        return int(self.tokens.input + self.tokens.output)


@dataclass(repr=False)
class Summary(Summarized):
    """The figures of the entries read.

    `titles` are the intents' titles by their keys, in display order. `tokens` are by model: those of rows, whose
    provenance includes their failed draws, and those of other failed draws that have counts. `scores` are additional
    columns of whole numbers, such as a judge's. `compared_texts`, if it is a list, collects the user messages of the
    first dialogues.
    """

    title: str
    titles: Mapping[str, str]
    statistics: Statistics = field(default_factory=Statistics)
    shape: ShapeStats = field(default_factory=ShapeStats)
    alike: NearDuplicateCounter = field(default_factory=NearDuplicateCounter)
    alike_answers: NearDuplicateCounter = field(default_factory=NearDuplicateCounter)
    alarms: AlarmCounter = field(default_factory=AlarmCounter)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    _uncounted: int = 0
    scores: dict[str, Distribution] = field(default_factory=dict)
    writers: set[str] = field(default_factory=set)
    languages: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    compared_texts: list[str] | None = None

    def add(self, entry: ReportRow) -> None:
        """Add an entry."""
        if entry.row is not None:
            self.alarms.add(entry.row)
            self._add_dialogue(entry)
        for used in entry.used:
            self._use(*used)
        for failure in entry.failures:
            if entry.row is None:
                group = self.statistics.intents.setdefault(failure.get("intent") or "", DialogueStats())
                group.failed[Failure(failure["stage"], failure["reason"])] += 1
            counts = (failure.get(name) or 0 for name in ("input_tokens", "output_tokens"))
            self._use(failure.get("model"), Tokens(*counts))

    def _add_dialogue(self, entry: ReportRow) -> None:
        talk = entry.talk()
        self.statistics.add(talk)
        self.shape.add(talk)
        if self.compared_texts is not None and len(self.compared_texts) < COMPARED:
            self.compared_texts.append(duplicates.dialogue_text(talk.user_messages))
        self.alike.add(talk.user_messages)
        self.alike_answers.add(talk.answers)
        judges = entry.judges
        judged = functools.reduce(Tokens.plus, (tokens for _, tokens in judges), Tokens())
        own = Tokens(talk.input_tokens - judged.input, talk.output_tokens - judged.output)
        self.writers |= {entry.origin.get("model") or "", entry.writer}
        self.languages.add(entry.origin.get("language") or "")
        self._use(entry.writer or None, own)
        for model, tokens in judges:
            self._use(model, tokens)
        for name, value in entry.scores.items():
            self.scores.setdefault(name, Distribution())[value] += 1

    @property
    def intents(self) -> list[tuple[str, DialogueStats]]:
        """The intents that occur, as (title, statistics)."""
        order = {key: place for place, key in enumerate(self.titles)}
        keys = sorted(self.statistics.intents, key=lambda key: (order.get(key, len(order)), key))
        return [(self.title_of(key), self.statistics.intents[key]) for key in keys]

    @property
    def used(self) -> list[Used]:
        """The known tokens and costs by model."""
        return [Used(model, tokens, _cost(model, tokens)) for model, tokens in sorted(self.tokens.items())]

    @property
    def caches(self) -> str:
        """A phrase about the prompt tokens from providers' caches and the savings at list prices; may be empty."""
        total = functools.reduce(Tokens.plus, self.tokens.values(), Tokens())
        prices = [(price_of(model), tokens) for model, tokens in self.tokens.items() if any(tokens[2:4])]
        saved = [None if price is None else price.saved(tokens) for price, tokens in prices]
        whole = None if None in saved else sum(each for each in saved if each is not None)
        return cached(total.cache_read, total.input, whole) if total.cache_read else ""

    @property
    def uncounted(self) -> str:
        """A phrase about responses whose tokens are not among the known ones; empty if all or no tokens are known."""
        return without_counts(self._uncounted) if self._uncounted and self.has_tokens else ""

    @cached_property
    def total(self) -> DialogueStats:
        """The statistics of all intents together. They are computed once, so read them after all entries were added."""
        return self.statistics.total

    @property
    def judges(self) -> set[str]:
        """The models that did not write dialogues."""
        return self.tokens.keys() - self.writers

    @property
    def has_tokens(self) -> bool:
        """Whether any tokens are known."""
        return any(each.total for each in self.used)

    @property
    def figures(self) -> list[tuple[str, str, str]]:
        """The main figures as (name, value, remark)."""
        total = self.total
        tokens = sum(each.total for each in self.used)
        costs = [each.cost for each in self.used]
        cost = f"${sum(filter(None, costs)):,.2f}" if tokens and None not in costs else NOT_KNOWN
        intents = sum(group.dialogues > 0 for group in self.statistics.intents.values())
        among = f"of {counted(intents, 'intent')}, {counted(len(total.categories), 'category')}"
        return [
            ("Dialogues", f"{total.dialogues:,}", among),
            ("Utterances each", f"{total.utterances.mean:.1f}", f"{total.utterances.sum:,} in all"),
            ("Words of a query", f"{total.query_words.mean:.1f}", f"at most {total.query_words.largest:,}"),
            ("Words of a response", f"{total.response_words.mean:.1f}", f"at most {total.response_words.largest:,}"),
            ("Duplicates", f"{total.duplicates:,}", self.repeated),
            ("Failed draws", f"{total.failed.total():,}", "unusable responses, requested again"),
            ("Tokens", f"{tokens:,}" if tokens else NOT_KNOWN, ""),
            ("Cost", cost, "by the list prices" if cost != NOT_KNOWN else ""),
        ]

    @property
    def is_comparable(self) -> bool:
        """Whether there are English dialogues of the paper's intents, which can be compared with its figures."""
        return self.statistics.is_comparable(self.languages)

    @property
    def repeated(self) -> str:
        """The remark on repeated dialogues, as text."""
        users, answers = self.alike.found, self.alike_answers.found
        if users is None or answers is None:
            return "word for word"
        among = f" among the first {COMPARED:,}" if self.alike.compared == COMPARED else ""
        return f"word for word; {counted(users, 'near-duplicate')} by user messages, {answers:,} by answers{among}"

    def __str__(self) -> str:
        said = [f"{name.lower()}: {value}" for name, value, _ in self.figures if value != NOT_KNOWN]
        return f"{self.title}: {', '.join(said)}"

    def _repr_html_(self) -> str:
        """Return the main figures as a table."""
        row = Markup('<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td><td>{}</td></tr>')
        rows = Markup("").join(row.format(*map(sanitize, figure)) for figure in self.figures)
        return str(Markup("<table><caption>{}</caption>{}</table>").format(sanitize(self.title), rows))

    def title_of(self, intent: str) -> str:
        """Return the title of an intent."""
        return self.titles.get(intent) or intent or "not stated"

    def _use(self, model: str | None, tokens: Tokens) -> None:
        if model:
            self._uncounted += int(tokens.uncounted)  # a file of rows does not tell it, and has the same tokens
            self.tokens[model] = self.tokens.get(model, Tokens()).plus(tokens._replace(uncounted=0))


class Measure(NamedTuple):
    """A column of the table of statistics: its group, its value, and the figures of the paper."""

    over: str
    name: str
    value: Callable[[DialogueStats], float]
    paper: tuple[float, float]
    decimals: int


MEASURES = (
    Measure("", "dialogues", lambda group: group.dialogues, PAPER.dialogues_per_intent, 0),
    Measure("utterances", "each", lambda group: group.utterances.mean, PAPER.utterances, 1),
    Measure("query words", "mean", lambda group: group.query_words.mean, PAPER.query_words, 1),
    Measure("query words", "max", lambda group: group.query_words.largest, PAPER.most_query_words, 0),
    Measure("response words", "mean", lambda group: group.response_words.mean, PAPER.response_words, 1),
    Measure("response words", "max", lambda group: group.response_words.largest, PAPER.most_response_words, 0),
)
"""The statistics of the ConsistentChat paper. A query is a user message, a response an answer."""


def words(name: str) -> str:
    """Return the name of a reason or column in words."""
    return name.replace("_", " ")


def cells(group: DialogueStats, measures: Sequence[Measure] = MEASURES) -> list[str]:
    """Return the values of some measures as text."""
    return [f"{measure.value(group):,.{measure.decimals}f}" for measure in measures]


def paper_cells() -> list[str]:
    """Return the paper's values, each as the range over its nine intents."""
    return ["\N{EN DASH}".join(f"{value:,.{measure.decimals}f}" for value in measure.paper) for measure in MEASURES]


def _cost(model: str, tokens: Tokens) -> float | None:
    price = price_of(model)
    return None if price is None else price.of(tokens)
