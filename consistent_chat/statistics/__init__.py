"""What a dataset is like, in numbers: the ConsistentChat paper's table, distributions, duplicates, redraws, diversity.

talk.py          a dialogue as it is counted, of a replay or of a row of a dataset
statistics.py    the numbers, of each intent and of all
words.py         what a word is
distribution.py  mean, maximum and quantiles
diversity.py     distinct-n and self-similarity
paper.py         what the paper reports
"""

from consistent_chat.statistics.distribution import Distribution
from consistent_chat.statistics.diversity import SAMPLE, Diversity
from consistent_chat.statistics.paper import PAPER, Published
from consistent_chat.statistics.statistics import Group, Statistics
from consistent_chat.statistics.talk import Failure, Talk
from consistent_chat.statistics.words import words

__all__ = [
    "PAPER",
    "SAMPLE",
    "Distribution",
    "Diversity",
    "Failure",
    "Group",
    "Published",
    "Statistics",
    "Talk",
    "words",
]
