"""The taxonomy: what dialogues can be about, how they proceed, and who the users are.

types.py   what a taxonomy is, and which persona fits which topic
reader.py  the built-in one, and a user's own that replaces or extends it; checks of every value
*.yaml     the built-in one; topics/ has a file for each intent
"""

from consistent_chat.recipe.taxonomy.reader import as_topics, builtin, load, manners, personas
from consistent_chat.recipe.taxonomy.types import Category, Flow, Intent, Manner, Persona, Tags, Taxonomy, Topic

__all__ = [
    "Category",
    "Flow",
    "Intent",
    "Manner",
    "Persona",
    "Tags",
    "Taxonomy",
    "Topic",
    "as_topics",
    "builtin",
    "load",
    "manners",
    "personas",
]
