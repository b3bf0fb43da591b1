"""How a dialogue is laid out as a row: the names of its columns and fields, in three layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consistent_chat.dialogue.at_once import Dialogue, FailedDraw
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.shape import FACETS


@dataclass(frozen=True)
class Layout:
    """Names of the messages' column, of the fields of a message, and of the roles.

    `reasoning` is the field of an assistant's message with what the model thought; empty where the layout has none.
    """

    column: str
    role: str
    text: str
    user: str
    assistant: str
    system: str = "system"
    reasoning: str = ""


LAYOUTS = {
    "conversation": Layout("conversation", "role", "value", "user", "assistant"),
    "messages": Layout("messages", "role", "content", "user", "assistant", reasoning="reasoning_content"),
    "sharegpt": Layout("conversations", "from", "value", "human", "gpt"),
}
REASONING = "reasoning"
"""The column with what the model thought before it answered."""


def row(dialogue: Dialogue, recipe: Recipe) -> dict[str, Any]:
    """Return a dialogue as a row of plain values."""
    layout = LAYOUTS[recipe.layout]
    role, text, user, assistant = layout.role, layout.text, layout.user, layout.assistant
    system = dialogue.spec.system_prompt(recipe.system_prompt)
    messages: list[dict[str, str | None]] = [] if system is None else [{role: layout.system, text: system}]
    for asked, answered in zip(dialogue.user_messages, dialogue.answers):
        messages += ({role: user, text: asked}, {role: assistant, text: answered})
    values: dict[str, Any] = {"category": dialogue.spec.category, layout.column: messages}
    if recipe.reasoning:
        values[REASONING] = dialogue.reasoning or None
        if layout.reasoning:
            _add_reasoning(messages, layout, dialogue.reasoning)
    if dialogue.judgement is not None:
        values["judgement"] = dialogue.judgement.plain()
    return {**values, "provenance": provenance(dialogue, recipe)} if recipe.provenance else values


def _add_reasoning(messages: list[dict[str, str | None]], layout: Layout, thought: str) -> None:
    """Put what the model thought where it stands: before the first answer, as all answers were written after it."""
    for message in messages:
        message[layout.reasoning] = None
    first = next(message for message in messages if message[layout.role] == layout.assistant)
    first[layout.reasoning] = thought or None


def provenance(dialogue: Dialogue, recipe: Recipe) -> dict[str, Any]:
    """Return where a dialogue comes from. Tokens and draws are those of all its responses, unusable ones too."""
    spec = dialogue.spec
    return {
        "index": spec.index,
        "intent": spec.intent.key,
        "topic": spec.topic,
        "information_flow": spec.flow.title,
        "persona": spec.persona,
        "manner": spec.manner[0],
        **{facet: getattr(spec.shape, facet).name for facet in FACETS},
        **({} if spec.source is None else {"source": spec.source.digest}),
        "sensitive": spec.sensitive,
        "model": recipe.model,
        "draws": dialogue.draws,
        "request_keys": list(dialogue.keys),
        "input_tokens": dialogue.input_tokens,
        "output_tokens": dialogue.output_tokens,
    }


def failures(dialogue: Dialogue) -> list[dict[str, Any]]:
    """Return the unusable responses on the way to a dialogue as rows, with what was said, word for word."""
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
