"""The numbers of a dataset, added up one dialogue at a time: only counts and a sample are kept."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from consistent_chat.statistics.distribution import Distribution, together
from consistent_chat.statistics.diversity import SAMPLE, Diversity, diversity
from consistent_chat.statistics.talk import Failure, Talk
from consistent_chat.statistics.words import words


@dataclass
class Group:
    """The numbers of some dialogues. `queries[i]` and `answers[i]` are the words of the messages of turn i + 1."""

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
        """How many dialogues there are."""
        return self.utterances.total()

    @property
    def query_words(self) -> Distribution:
        """The words of user messages, whatever their turn."""
        return together(self.queries)

    @property
    def response_words(self) -> Distribution:
        """The words of answers, whatever their turn."""
        return together(self.answers)

    @property
    def reasons(self) -> dict[str, int]:
        """How often a response was of no use, by reason, the most frequent first."""
        counts: Counter[str] = Counter()
        for failure, count in self.failed.items():
            counts[failure.reason] += count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def diversity(self) -> Diversity:
        """How varied a sample of the dialogues is: always the same one of the same dialogues."""
        return diversity([messages for _, messages in sorted(self.sample, reverse=True)])

    def add(self, talk: Talk, digest: int, is_duplicate: bool) -> None:
        """Count a dialogue; those with the lowest digests are sampled."""
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

    def merge(self, other: Group) -> None:
        """Add the numbers of other dialogues."""
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
    """The numbers of a dataset: `intents` by key, in the order in which they come, and their `total`.

    `total.duplicates` counts dialogues whose messages are all the same as an earlier one's.
    """

    def __init__(self, talks: Iterable[Talk] = ()) -> None:
        self.intents: dict[str, Group] = {}
        self._seen: set[bytes] = set()
        self._added = 0
        for talk in talks:
            self.add(talk)

    def add(self, talk: Talk) -> None:
        """Count a dialogue. Of those before, a digest of 16 bytes each is kept, and the sampled ones' messages."""
        digest = hashlib.blake2b(repr((*talk.user_messages, "", *talk.answers)).encode("utf-8", "replace"))
        content = digest.digest()[:16]
        digest.update(b"%d" % self._added)  # so that equal dialogues are sampled independently of each other
        group = self.intents.setdefault(talk.intent, Group())
        group.add(talk, int.from_bytes(digest.digest()[:8], "big"), content in self._seen)
        self._seen.add(content)
        self._added += 1

    @property
    def total(self) -> Group:
        """The numbers of all intents together."""
        total = Group()
        for group in self.intents.values():
            total.merge(group)
        return total


def _count(turns: list[Distribution], messages: Sequence[str]) -> None:
    while len(turns) < len(messages):
        turns.append(Distribution())
    for turn, message in zip(turns, messages):
        turn[len(words(message))] += 1
