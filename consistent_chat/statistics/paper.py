"""What the ConsistentChat paper reports of its own dataset."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """What a paper reports: the lowest and the highest of its intents' values."""

    source: str
    dialogues: int
    dialogues_per_intent: tuple[int, int]
    utterances: tuple[float, float]
    query_words: tuple[float, float]
    most_query_words: tuple[int, int]
    response_words: tuple[float, float]
    most_response_words: tuple[int, int]


PAPER = Published(
    source="ConsistentChat, arXiv 2506.03558",
    dialogues=14_461,
    dialogues_per_intent=(1_551, 1_637),
    utterances=(15.4, 15.7),
    query_words=(18.7, 20.8),
    most_query_words=(37, 46),
    response_words=(55.6, 62.9),
    most_response_words=(118, 135),
)
"""The paper's own dataset, over its nine intents."""
