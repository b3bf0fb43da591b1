"""The dataset card: README.md and its images, computed from the build and from the previous card.

header.py    the input: `About` describes what is published, `Seen` collects the dialogues; the YAML metadata at the
             top, by which the Hub filters
readme.py    the whole file, from templates/; keeps the text that users have added to the previous card
"""

from consistent_chat.card.header import About, Seen
from consistent_chat.card.readme import card, files

__all__ = ["About", "Seen", "card", "files"]
