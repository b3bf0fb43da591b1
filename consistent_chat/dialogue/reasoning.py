"""Takes what a model thought before its answer out of a response. It judges nothing: an answer needs no thoughts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from consistent_chat.dialogue import parse
from consistent_chat.request import Response

_TAG = re.compile(parse.REASONING_END.pattern.replace("</", "</?"), re.IGNORECASE)


def reasoning(response: Response, names: Sequence[str]) -> str:
    """Return what the model thought before the answer that `parse.messages` reads; empty where it told nothing.

    That is the response's own reasoning, or else what stands between tags such as <think> in its text: without the
    tags, and in a form that every file can hold, in which half a surrogate pair is its escape.
    """
    if response.text.strip():
        told = response.reasoning if response.reasoning.strip() else _in_text(response.text, names)
    else:
        told = _closed(response.reasoning) or _before_answer(response.reasoning, names)
    parts = (part.strip() for part in _TAG.split(told))
    return "\n\n".join(filter(None, parts)).encode("utf-8", "backslashreplace").decode("utf-8")


def _in_text(text: str, names: Sequence[str]) -> str:
    """Return what stands between tags; up to the answer where none is closed."""
    if closed := _closed(text):
        return closed
    before = _before_answer(text, names)
    opening = _TAG.search(before)
    return before[opening.start() :] if opening else ""


def _closed(text: str) -> str:
    """Return a text up to the last closing tag before the answer; many templates write the opening one themselves."""
    return text[: parse.end_of_reasoning(text, parse.candidates(text))]


def _before_answer(text: str, names: Sequence[str]) -> str:
    """Return what stands before the answer, without the line that opens a fence."""
    before = text[: parse.last_json(text, parse.reader(names))[0]].rstrip()
    head, _, last = before.rpartition("\n")
    return head if last.lstrip().startswith("```") else before
