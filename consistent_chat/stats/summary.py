"""The statistics of a dataset, added up dialogue by dialogue. Only counts and a sample are held in memory."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, zip_longest
from typing import Any, NamedTuple

from consistent_chat.recipe.taxonomy import builtin
from consistent_chat.stats.sample import DialogueSample, Failure, content, words


class PaperFigures(NamedTuple):
    """The figures that a paper reports: the lowest and the highest value of each among its intents."""

    source: str
    dialogues: int
    dialogues_per_intent: tuple[int, int]
    utterances: tuple[float, float]
    query_words: tuple[float, float]
    most_query_words: tuple[int, int]
    response_words: tuple[float, float]
    most_response_words: tuple[int, int]


PAPER = PaperFigures(
    source="ConsistentChat, arXiv 2506.03558",
    dialogues=14_461,
    dialogues_per_intent=(1_551, 1_637),
    utterances=(15.4, 15.7),
    query_words=(18.7, 20.8),
    most_query_words=(37, 46),
    response_words=(55.6, 62.9),
    most_response_words=(118, 135),
)
"""The figures of the ConsistentChat paper, over its nine intents."""


SAMPLE = 100
"""Size of the sample on which diversity is measured, for each intent and for all together. The share of distinct words
falls with the length of a text, so only samples of the same size can be compared."""


class Diversity(NamedTuple):
    """The diversity of the words in a sample of `dialogues` dialogues.

    distinct_1, distinct_2: the share of distinct words, and of distinct pairs of neighbouring words, in lower case
        (distinct-n of Li et al. 2016, arXiv 1510.03055); 1 if all differ.
    self_similarity: the mean Jaccard index of the sets of word pairs, over all pairs of dialogues; 0 if they share
        nothing, 1 if all are equal.
    """

    dialogues: int
    distinct_1: float
    distinct_2: float
    self_similarity: float


def diversity(dialogues: Sequence[Sequence[str]]) -> Diversity:
    """Return the diversity of dialogues, each given as its messages."""
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    sets = []
    for messages in dialogues:
        texts = _contents(messages)
        own = _pairs(texts)
        singles.update(word for text in texts for word in text)
        pairs.update(own)
        sets.append(frozenset(own))
    return Diversity(len(dialogues), _distinct(singles), _distinct(pairs), similarity(sets))


def _distinct(counts: Counter[Any]) -> float:
    return len(counts) / (counts.total() or 1)


def word_pairs(messages: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of neighbouring words of some messages."""
    return _pairs(_contents(messages))


def _contents(messages: Sequence[str]) -> list[list[str]]:
    return [[content(word) for word in words(message)] for message in messages]


def _pairs(texts: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    return [pair for text in texts for pair in zip(text, text[1:])]


def similarity(sets: Sequence[frozenset[Any]]) -> float:
    """Return the mean Jaccard index over all pairs of sets; 0 if there is no pair."""
    shares = [_jaccard(one, other) for one, other in combinations(sets, 2)]
    return sum(shares) / (len(shares) or 1)


def _jaccard(one: frozenset[Any], other: frozenset[Any]) -> float:
    shared = len(one & other)
    return shared / ((len(one) + len(other) - shared) or 1)


class Distribution(Counter[int]):
    """A counter of whole numbers."""

    @property
    def mean(self) -> float:
        """The arithmetic mean; 0 if empty."""
        return self.sum / (self.total() or 1)

    @property
    def sum(self) -> int:
        """The sum of all numbers."""
        return sum(value * count for value, count in self.items())

    @property
    def variation(self) -> float:
        """The coefficient of variation: the standard deviation of all numbers, divided by their mean; 0 if empty."""
        mean = self.mean
        spread = sum(count * (value - mean) ** 2 for value, count in self.items()) / (self.total() or 1)
        return math.sqrt(spread) / (mean or 1)

    @property
    def largest(self) -> int:
        """The maximum; 0 if empty."""
        return max(self, default=0)

    @property
    def smallest(self) -> int:
        """The minimum; 0 if empty."""
        return min(self, default=0)

    def quantile(self, share: float) -> int:
        """Return the lowest number that a share (0 to 1) of all numbers does not exceed; 0 if empty."""
        left = share * self.total()
        for value in sorted(self):
            left -= self[value]
            if left <= 0:
                return value
        return self.largest


def together(distributions: Iterable[Distribution]) -> Distribution:
    """Return the distribution of the numbers of several distributions."""
    whole = Distribution()
    for distribution in distributions:
        whole.update(distribution)
    return whole


@dataclass
class DialogueStats:
    """The statistics of some dialogues. `queries[i]` and `answers[i]` count the words of the messages of turn i + 1."""

    utterances: Distribution = field(default_factory=Distribution)
    queries: list[Distribution] = field(default_factory=list)
    answers: list[Distribution] = field(default_factory=list)
    categories: Counter[str] = field(default_factory=Counter)
    input_tokens: Distribution = field(default_factory=Distribution)
    output_tokens: Distribution = field(default_factory=Distribution)
    draws: int = 0
    substitutes: int = 0
    failed: Counter[Failure] = field(default_factory=Counter)
    duplicates: int = 0
    sample: list[tuple[int, tuple[str, ...]]] = field(default_factory=list, repr=False)

    @property
    def dialogues(self) -> int:
        """The number of dialogues."""
        return self.utterances.total()

    @property
    def query_words(self) -> Distribution:
        """The number of words of a user message, over all turns."""
        return together(self.queries)

    @property
    def response_words(self) -> Distribution:
        """The number of words of an answer, over all turns."""
        return together(self.answers)

    @property
    def reasons(self) -> dict[str, int]:
        """The number of unusable responses by reason, the most frequent reason first."""
        counts: Counter[str] = Counter()
        for failure, count in self.failed.items():
            counts[failure.reason] += count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def diversity(self) -> Diversity:
        """The diversity of a sample. The same dialogues give the same sample."""
        return diversity([messages for _, messages in sorted(self.sample, reverse=True)])

    def add(self, talk: DialogueSample, digest: int, is_duplicate: bool) -> None:
        """Add a dialogue. The dialogues with the lowest digests are the sample."""
        self.utterances[len(talk.user_messages) + len(talk.answers)] += 1
        _count(self.queries, talk.user_messages)
        _count(self.answers, talk.answers)
        self.categories[talk.category] += 1
        self.input_tokens[talk.input_tokens] += 1
        self.output_tokens[talk.output_tokens] += 1
        self.draws += talk.draws
        self.substitutes += talk.substitutes
        self.failed.update(talk.failed)
        self.duplicates += is_duplicate
        self._take((-digest, (*talk.user_messages, *talk.answers)))

    def merge(self, other: DialogueStats) -> None:
        """Add the statistics of other dialogues."""
        for name in ("utterances", "categories", "input_tokens", "output_tokens", "failed"):
            getattr(self, name).update(getattr(other, name))
        for name in ("draws", "substitutes", "duplicates"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("queries", "answers"):
            turns = zip_longest(getattr(self, name), getattr(other, name), fillvalue=Distribution())
            setattr(self, name, [together(turn) for turn in turns])
        for entry in other.sample:
            self._take(entry)

    def _take(self, entry: tuple[int, tuple[str, ...]]) -> None:
        if len(self.sample) < SAMPLE:
            heapq.heappush(self.sample, entry)
        elif entry > self.sample[0]:
            heapq.heapreplace(self.sample, entry)


class Statistics:
    """The statistics of a dataset: `intents` by key, in the order in which they first occur, and their `total`.

    `total.duplicates` counts the dialogues whose messages all equal those of an earlier dialogue.
    """

    def __init__(self, talks: Iterable[DialogueSample] = ()) -> None:
        self.intents: dict[str, DialogueStats] = {}
        self._seen: set[bytes] = set()
        self._added = 0
        for talk in talks:
            self.add(talk)

    def add(self, talk: DialogueSample) -> None:
        """Add a dialogue. It keeps a digest of 16 bytes of each dialogue, and the messages of the sampled ones."""
        digest = hashlib.blake2b(repr((*talk.user_messages, "", *talk.answers)).encode("utf-8", "replace"))
        content = digest.digest()[:16]
        digest.update(b"%d" % self._added)  # so that equal dialogues are sampled independently of each other
        group = self.intents.setdefault(talk.intent, DialogueStats())
        group.add(talk, int.from_bytes(digest.digest()[:8], "big"), content in self._seen)
        self._seen.add(content)
        self._added += 1

    def is_comparable(self, languages: Collection[str]) -> bool:
        """Return whether there are English dialogues of the paper's intents, which can be compared with `PAPER`.

        `languages` are those of the dialogues, by their English names; "" means unknown.
        """
        known = builtin().intents
        occur = any(group.dialogues > 0 and key in known for key, group in self.intents.items())
        return occur and not {"", "English"}.isdisjoint(languages)

    @property
    def total(self) -> DialogueStats:
        """The statistics of all intents together."""
        total = DialogueStats()
        for group in self.intents.values():
            total.merge(group)
        return total


def _count(turns: list[Distribution], messages: Sequence[str]) -> None:
    while len(turns) < len(messages):
        turns.append(Distribution())
    for turn, message in zip(turns, messages):
        turn[len(words(message))] += 1
