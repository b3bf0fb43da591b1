"""Drivers run dialogues: each feeds the same generators, from the store alone or with calls to a serving."""

from consistent_chat.drive.limits import Limits, Spent
from consistent_chat.drive.run import run
from consistent_chat.drive.tally import Tally

__all__ = ["Limits", "Spent", "Tally", "run"]
