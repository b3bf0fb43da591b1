"""What a dataset is like, in numbers: the ConsistentChat paper's table, distributions, duplicates, redraws, diversity.

talk.py          a dialogue as it is counted, of a replay or of a row of a dataset
statistics.py    the numbers, of each intent and of all
words.py         what a word is
distribution.py  mean, maximum and quantiles
diversity.py     distinct-n and self-similarity
paper.py         what the paper reports
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
