"""Extracts the reasoning before a model's answer from a response.

It raises no errors, because reasoning is optional.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from consistent_chat.dialogue import parse
from consistent_chat.request import Response

_TAG = re.compile(parse.REASONING_END.pattern.replace("</", "</?"), re.IGNORECASE)


def reasoning(response: Response, names: Sequence[str]) -> str:
    """Return the model's reasoning before the answer that `parse.messages` reads; empty if there is none.

    That is the response's `reasoning`, or else the text between tags such as <think>. Lone surrogates are replaced by
    their escapes, so that every file format can store the text.
    """
    if response.text.strip():
        told = response.reasoning if response.reasoning.strip() else _in_text(response.text, names)
    else:
        told = _closed(response.reasoning) or _before_answer(response.reasoning, names)
    return _cleaned(told)


def thought_before(response: Response, answer: str) -> str:
    """Return the model's reasoning before an answer of a chat; the answer is the end of the response's text."""
    before = response.text[: len(response.text) - len(answer)]
    return _cleaned(response.reasoning if response.reasoning.strip() else before)


def _cleaned(told: str) -> str:
    parts = (part.strip() for part in _TAG.split(told))
    return "\n\n".join(filter(None, parts)).encode("utf-8", "backslashreplace").decode("utf-8")


def _in_text(text: str, names: Sequence[str]) -> str:
    """Return the text between tags; without a closing tag, the text up to the answer."""
    if closed := _closed(text):
        return closed
    before = _before_answer(text, names)
    opening = _TAG.search(before)
    return before[opening.start() :] if opening else ""


def _closed(text: str) -> str:
    """Return a text up to the last closing tag before the answer; many templates write the opening tag."""
    return text[: parse.end_of_reasoning(text, parse.candidates(text))]


def _before_answer(text: str, names: Sequence[str]) -> str:
    """Return the text before the answer, without the line that opens a fence."""
    before = text[: parse.last_json(text, parse.reader(names))[0]].rstrip()
    head, _, last = before.rpartition("\n")
    return head if last.lstrip().startswith("```") else before
