"""How varied the words of dialogues are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

from consistent_chat.statistics.words import content, words

SAMPLE = 100
"""Dialogues of an intent, and of all, on which diversity is measured: a share of distinct words falls with length, so
that only samples of one size compare."""


class Diversity(NamedTuple):
    """How varied the words of `dialogues` sampled ones are.

    distinct_1, distinct_2: distinct words, and pairs of neighbouring words, over all of them (distinct-n of Li et al.
        2016, arXiv 1510.03055), in lower case; 1 is all different. `self_similarity` is the mean over all pairs of
        dialogues of the Jaccard index of their sets of word pairs; 0 is nothing in common, 1 all the same.
    """

    dialogues: int
    distinct_1: float
    distinct_2: float
    self_similarity: float


def diversity(dialogues: Sequence[Sequence[str]]) -> Diversity:
    """Measure the messages of each dialogue."""
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    sets = []
    for messages in dialogues:
        texts = [[content(word) for word in words(message)] for message in messages]
        own = [pair for text in texts for pair in zip(text, text[1:])]
        singles.update(word for text in texts for word in text)
        pairs.update(own)
        sets.append(frozenset(own))
    return Diversity(len(dialogues), _distinct(singles), _distinct(pairs), _similarity(sets))


def _distinct(counts: Counter[Any]) -> float:
    return len(counts) / (counts.total() or 1)


def _similarity(sets: Sequence[frozenset[Any]]) -> float:
    """Return the mean Jaccard index of all pairs of sets; 0 where there is no pair."""
    shares = [_jaccard(one, other) for one, other in combinations(sets, 2)]
    return sum(shares) / (len(shares) or 1)


def _jaccard(one: frozenset[Any], other: frozenset[Any]) -> float:
    shared = len(one & other)
    return shared / ((len(one) + len(other) - shared) or 1)
