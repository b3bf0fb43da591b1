"""The plan: what each dialogue is about, computed from the recipe and an index.

plan.py    the specs of a recipe, drawn without replacement, each in constant time
splits.py  the recipes of splits, which share no topic
shards.py  parts of a plan for several machines
"""

from consistent_chat.plan.plan import Plan, Spec

__all__ = ["Plan", "Spec"]
