"""Seeds: rows of the user's own data that dialogues are about. They are read once, before the plan.

source.py     the clean text of one row and its digest; the messages of a given conversation
documents.py  documents as text, and the chunks of a long text
address.py    addresses that seeds may have, and how they are opened
rows.py       the rows of CSV, JSON lines and Parquet files, in bounded memory
sources.py    all sources in the order of their digests
personas.py   the personas in a column
seeds.py      the recipe field: its checks, and from a mapping to sources
"""

from consistent_chat.recipe.seeds.seeds import Seeds, UnreadSeeds, load, prepare
from consistent_chat.recipe.seeds.source import Source

__all__ = ["Seeds", "Source", "UnreadSeeds", "load", "prepare"]
