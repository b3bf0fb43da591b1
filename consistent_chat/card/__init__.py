"""The dataset card: README.md and its images, computed from the build and from the previous card.

about.py     the input: `About` describes what is published, `Seen` collects the dialogues
header.py    the YAML metadata at the top, which the Hub filters by
readme.py    the whole file, from templates/; keeps the text that users have added to the previous card
"""

from consistent_chat.card.about import About, Seen
from consistent_chat.card.readme import card, files

__all__ = ["About", "Seen", "card", "files"]
