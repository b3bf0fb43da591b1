"""The plan: what each dialogue is about, computed from the recipe and an index.

cards.py    the combination drawn for one use of a topic or a source
plan.py     the specs of a recipe, drawn without replacement, each in constant time; the specs of its sources
splits.py   the recipes of splits, which share no topic and no source; shards, parts of a plan for several machines
"""

from consistent_chat.plan.cards import Spec
from consistent_chat.plan.plan import Plan

__all__ = ["Plan", "Spec"]
