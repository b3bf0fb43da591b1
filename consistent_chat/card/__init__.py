"""The card of a published dataset, README.md and its images: a pure function of the build and of the card before it.

about.py     what a card is made of: `About` what is published, `Seen` its dialogues
card.py      the card, whole; what somebody has written into it stays
header.py    the metadata at its top, for the Hub's filters
sections.py  what it says
html.py      how text of models and strangers is put into it: as text, whatever it is
"""

from consistent_chat.card.about import About, Seen
from consistent_chat.card.header import card, files

__all__ = ["About", "Seen", "card", "files"]
