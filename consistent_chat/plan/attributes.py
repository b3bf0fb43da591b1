"""Draws the attributes of a dialogue, each from a digest of its combination: nothing hangs on its place in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from consistent_chat.plan.cards import Spec, hashed
from consistent_chat.recipe.attributes import Attributes, Case
from consistent_chat.recipe.shape import WEIGHT


def drawn(spec: Spec, attributes: Attributes, seed: int) -> Spec:
    """Return a spec with its attributes; a condition sees those that were drawn before it."""
    own = "" if spec.source is None else spec.source.digest
    parts = (own, spec.intent.key, spec.category, spec.topic, spec.flow.key, spec.persona, spec.manner[0])
    told, found = {**spec.names}, dict[str, str]()
    for name, cases in attributes.items():
        case = next((case for case in cases if _holds(case, told, spec.intent.key)), None)
        number = int.from_bytes(hashed(seed, "attribute", name, *parts, str(spec.repeat))[:8], "big")
        told[name] = found[name] = "" if case is None else _value(case["values"], number)
    return replace(spec, attributes=tuple(found.items()))


def _holds(case: Case, told: Mapping[str, str], intent: str) -> bool:
    """Tell whether a case's condition holds. An intent may be named by its title or its key."""
    return all(
        told[name] in texts or (name == "intent" and intent in texts) for name, texts in case.get("when", {}).items()
    )


def _value(weights: Mapping[str, float], number: int) -> str:
    """Return the value at a 64-bit number, by weights as whole numbers, which are the same on every machine."""
    parts = [(text, round(weight * WEIGHT)) for text, weight in weights.items()]
    place = number * sum(weight for _, weight in parts) >> 64
    for text, weight in parts:
        if place < weight:
            return text
        place -= weight
    raise AssertionError("unreachable: the place is below the sum")
