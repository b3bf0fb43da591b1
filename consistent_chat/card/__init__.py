"""The card of a published dataset, README.md and its images: a pure function of the build and of the card before it.

about.py     what a card is made of: `About` what is published, `Seen` its dialogues
header.py    the metadata at its top, for the Hub's filters
body.py      the values for templates/, which have the words
readme.py    the whole card; what somebody has written into it stays
"""

from consistent_chat.card.about import About, Seen
from consistent_chat.card.readme import card, files

__all__ = ["About", "Seen", "card", "files"]
