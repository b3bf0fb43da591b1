"""Statistics of a dataset: the ConsistentChat paper's table, distributions, duplicates, redraws, diversity.

sample.py one dialogue, of a replay or of a dataset's row, as the statistics count it; what a word is
summary.py  the statistics of each intent and of all together; the paper's own figures
shape.py    lengths by position, outcomes and moods, openings, uses of topics; their tables as text
charts.py   the charts of them, as SVG
"""

from consistent_chat.stats.sample import DialogueSample, Failure, words
from consistent_chat.stats.summary import (
    PAPER,
    SAMPLE,
    DialogueStats,
    Distribution,
    Diversity,
    PaperFigures,
    Statistics,
)

__all__ = [
    "PAPER",
    "SAMPLE",
    "DialogueSample",
    "DialogueStats",
    "Distribution",
    "Diversity",
    "Failure",
    "PaperFigures",
    "Statistics",
    "words",
]
