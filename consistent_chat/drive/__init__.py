"""Drivers run dialogues: each feeds the same generators, from the store alone or with calls to a serving."""

from consistent_chat.drive.batch import fill
from consistent_chat.drive.limits import Limits, Spent
from consistent_chat.drive.means import Means, Progress
from consistent_chat.drive.missing import Missing, Part
from consistent_chat.drive.run import run
from consistent_chat.drive.tally import Tally

__all__ = ["Limits", "Means", "Missing", "Part", "Progress", "Spent", "Tally", "fill", "run"]
