"""The plan: what each dialogue is about, computed from the recipe and an index alone.

plan.py    the specs of a recipe, dealt without replacement, in constant time
splits.py  recipes of splits that share no topic
shards.py  parts of a plan for several machines
"""

from consistent_chat.plan.plan import Plan, Spec

__all__ = ["Plan", "Spec"]
