"""The layouts of dialogues as rows: the names of their columns and fields.

A dialogue is one row in the layouts of `LAYOUTS`. Of the layouts of `PAIRS`, "preference" has a row for each pair of
answers, and "kto" a row for each judged dialogue.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from consistent_chat.dialogue.work import Dialogue, FailedDraw, Pair, is_low
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.shape import FACETS


@dataclass(frozen=True)
class Layout:
    """The names of the messages' column, of the fields of a message, and of the roles.

    `reasoning` is the field of an assistant message with the model's reasoning; empty if the layout has none.
    """

    column: str
    role: str
    text: str
    user: str
    assistant: str
    system: str = "system"
    reasoning: str = ""


BARE = "bare"
"""The layout whose rows have only messages."""
LAYOUTS = {
    "conversation": Layout("conversation", "role", "value", "user", "assistant"),
    "messages": Layout("messages", "role", "content", "user", "assistant", reasoning="reasoning_content"),
    "sharegpt": Layout("conversations", "from", "value", "human", "gpt"),
    BARE: Layout("messages", "role", "content", "user", "assistant", reasoning="reasoning_content"),
}
COLUMNS = tuple(dict.fromkeys(layout.column for layout in LAYOUTS.values()))
"""The columns that can have the messages; rows of pairs do not have them."""
PAIRED = LAYOUTS["messages"]
"""The names in the messages of pairs, as TRL expects them."""
REASONING = "reasoning"
"""The column with the model's reasoning before its answers."""


def rows(dialogue: Dialogue, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the rows of plain values for one position in the plan: one row, or any number in a layout of pairs."""
    made = _OF_PAIRS.get(recipe.layout)
    return [row(dialogue, recipe)] if made is None else made(dialogue, recipe)


def row(dialogue: Dialogue, recipe: Recipe) -> dict[str, Any]:
    """Return a dialogue as a row of plain values. For a layout of pairs, use the layout "messages"."""
    layout = LAYOUTS.get(recipe.layout, PAIRED)
    messages = _messages(dialogue, recipe, layout)
    if recipe.layout == BARE:
        if recipe.reasoning:
            _add_reasoning(messages, layout, dialogue.thoughts or (dialogue.reasoning,))
        return {layout.column: messages}
    values: dict[str, Any] = {"category": dialogue.spec.category, layout.column: messages}
    if recipe.reasoning:
        values[REASONING] = dialogue.reasoning or None
        if layout.reasoning:
            _add_reasoning(messages, layout, dialogue.thoughts or (dialogue.reasoning,))
    if dialogue.judgement is not None:
        values["judgement"] = dialogue.judgement.plain()
    return {**values, "provenance": provenance(dialogue, recipe)} if recipe.provenance else values


def _messages(dialogue: Dialogue, recipe: Recipe, layout: Layout) -> list[dict[str, str | None]]:
    role, text, user, assistant = layout.role, layout.text, layout.user, layout.assistant
    system = dialogue.spec.system_prompt(recipe.system_prompt)
    messages: list[dict[str, str | None]] = [] if system is None else [{role: layout.system, text: system}]
    for asked, answered in zip(dialogue.user_messages, dialogue.answers):
        messages += ({role: user, text: asked}, {role: assistant, text: answered})
    return messages


def _preference(dialogue: Dialogue, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the pair that was made, or else a pair for each worse dialogue with the same user messages, in order.

    Worse dialogues are rejected ones and alternatives with a lower score.
    """
    if dialogue.pair is not None:
        return [_made_pair(dialogue, dialogue.pair, recipe)]
    worse = [one for one in dialogue.alternatives if _is_worse(one, dialogue, recipe)]
    others = (*dialogue.rejected, *worse)
    same = (one for one in _distinct(dialogue, others) if one.user_messages == dialogue.user_messages)
    return [_pair(dialogue, one, recipe) for one in same]


def _made_pair(dialogue: Dialogue, pair: Pair, recipe: Recipe) -> dict[str, Any]:
    until = dialogue._replace(
        user_messages=dialogue.user_messages[: pair.turn + 1], answers=dialogue.answers[: pair.turn + 1]
    )
    both = {"chosen": pair.chosen, "rejected": pair.rejected}
    values = {
        "category": dialogue.spec.category,
        "prompt": _messages(until, recipe, PAIRED)[:-1],
        **{name: [{PAIRED.role: PAIRED.assistant, PAIRED.text: text}] for name, (text, *_) in both.items()},
        **{f"score_{name}": score for name, (_, score, *_) in both.items()},
        **{f"reason_{name}": reason for name, (_, _, reason, _) in both.items()},
        "judgement": dialogue.judgement and dialogue.judgement.plain(),
    }
    if recipe.provenance:
        models = {f"{name}_model": model for name, (*_, model) in both.items()}
        own = {"turn": pair.turn + 1, **models, "pair_request_keys": list(pair.keys)}
        values["provenance"] = {**provenance(dialogue, recipe), "id": _id((*dialogue.keys, *pair.keys)), **own}
    return values


def _is_worse(one: Dialogue, chosen: Dialogue, recipe: Recipe) -> bool:
    return is_low(one.judgement, recipe) or (_score(one) or 0.0) < (_score(chosen) or 0.0)


def _distinct(dialogue: Dialogue, others: Sequence[Dialogue]) -> list[Dialogue]:
    """Return the other dialogues at a position that differ from each other and from the accepted one."""
    first: dict[tuple[tuple[str, ...], ...], Dialogue] = {}
    for one in others:
        first.setdefault((one.user_messages, one.answers), one)
    first.pop((dialogue.user_messages, dialogue.answers), None)
    return list(first.values())


def _pair(chosen: Dialogue, rejected: Dialogue, recipe: Recipe) -> dict[str, Any]:
    both = {"chosen": chosen, "rejected": rejected}
    values = {
        "category": chosen.spec.category,
        **{name: _messages(one, recipe, PAIRED) for name, one in both.items()},
        **{f"score_{name}": _score(one) for name, one in both.items()},
        **{f"judgement_{name}": one.judgement and one.judgement.plain() for name, one in both.items()},
    }
    if recipe.provenance:
        values["provenance"] = {
            **provenance(chosen, recipe),
            "id": _id((*chosen.keys, *rejected.keys)),
            "rejected_request_keys": list(rejected.keys),
        }
    return values


def _labelled(dialogue: Dialogue, recipe: Recipe) -> list[dict[str, Any]]:
    """Return a row for each judged dialogue at a position, in order, with a label that tells whether it passed."""
    made: list[dict[str, Any]] = []
    others = _distinct(dialogue, (*dialogue.rejected, *dialogue.alternatives))
    for one in (*others, dialogue):
        messages = _messages(one, recipe, PAIRED)
        first = 1 + next(at for at, message in enumerate(messages) if message[PAIRED.role] == PAIRED.user)
        values = {
            "category": one.spec.category,
            "prompt": messages[:first],
            "completion": messages[first:],
            "label": not is_low(one.judgement, recipe),
            "score": _score(one),
            "judgement": one.judgement and one.judgement.plain(),
        }
        made.append({**values, "provenance": provenance(one, recipe)} if recipe.provenance else values)
    return made


def _score(dialogue: Dialogue) -> float | None:
    return None if dialogue.judgement is None else float(dialogue.judgement.score)


_OF_PAIRS: dict[str, Callable[[Dialogue, Recipe], list[dict[str, Any]]]] = {
    "preference": _preference,
    "kto": _labelled,
}


def _add_reasoning(messages: list[dict[str, str | None]], layout: Layout, thoughts: Sequence[str]) -> None:
    """Add the reasoning before each answer; reasoning before all answers is added to the first."""
    for message in messages:
        message[layout.reasoning] = None
    answers = (message for message in messages if message[layout.role] == layout.assistant)
    for message, thought in zip(answers, thoughts):
        message[layout.reasoning] = thought or None


def provenance(dialogue: Dialogue, recipe: Recipe) -> dict[str, Any]:
    """Return the provenance of a dialogue. Tokens and draws include unusable responses."""
    spec = dialogue.spec
    return {
        "id": _id(dialogue.keys),
        "index": spec.index,
        "language": spec.language or recipe.language,
        "intent": spec.intent.key,
        "topic": spec.topic,
        "information_flow": spec.flow.title,
        "persona": spec.persona,
        "manner": spec.manner[0],
        **dict(zip(FACETS, _names_of(spec.shape))),
        **({} if spec.source is None else {"source": spec.source.digest}),
        **({} if recipe.attributes is None else {"attributes": dict(spec.attributes)}),
        **({} if recipe.user_model is None else {"user_model": recipe.user_model}),
        "sensitive": spec.sensitive,
        "model": recipe.model,
        "draws": dialogue.draws,
        "request_keys": list(dialogue.keys),
        "input_tokens": dialogue.input_tokens,
        "output_tokens": dialogue.output_tokens,
        **({} if recipe.loaded_review is None else {"edited": list(dialogue.edited)}),
    }


_names_of = operator.attrgetter(*(f"{facet}.name" for facet in FACETS))


def _id(keys: Sequence[str]) -> str:
    """Return the id of a row: 16 hex digits of the digest of its request keys, the same on every machine."""
    return hashlib.sha256("\n".join(keys).encode("ascii")).hexdigest()[:16]


def failures(dialogue: Dialogue) -> list[dict[str, Any]]:
    """Return the unusable responses of a dialogue as rows, with their unchanged text."""
    return [failure(draw) for draw in dialogue.failed]


def failure(draw: FailedDraw) -> dict[str, Any]:
    """Return an unusable response as a row."""
    return {
        "index": draw.spec.index,
        "intent": draw.spec.intent.key,
        "category": draw.spec.category,
        "topic": draw.spec.topic,
        "substitute": draw.spec.substitute,
        "stage": draw.stage,
        "draw": draw.draw,
        "reason": draw.reason.value,
        "detail": draw.detail,
        "response": draw.response.text.encode("utf-8", "backslashreplace").decode("utf-8"),
        "finish": draw.response.finish,
        "request_key": draw.key,
    }
