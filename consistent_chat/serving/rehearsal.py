"""A serving without a model, to try a run of any size.

It returns generated texts immediately, without network, key or cost. The same request always gets the same texts, and
every text says that it is a rehearsal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from consistent_chat.request import Request, Response

TOKENS_PER_WORD = 4 / 3
"""A typical figure for English text."""

_COMPARED = re.compile('^"(first|second)": (".*"),?$', re.MULTILINE)

# A text is an opening and one part of each list: about 20 words for a user, about 60 for an assistant.
USER = (
    ("I keep coming back to this,", "Before I decide anything,", "To be honest with you,", "As a next small step,"),
    ("could you tell me", "I would like to hear", "please explain to me", "let us look at"),
    ("what matters most here", "how the parts fit", "which choice is wiser", "where to begin now"),
    ("and why?", "this week?", "for us?", "in practice?"),
)
ASSISTANT = (
    ("Start with the part that you can change today,", "Begin where the effect is largest and the cost small,"),
    ("write down what you know and what you only guess,", "keep a short list of what is certain by now,"),
    ("and compare both with what you said before.", "and hold it against your earlier answers."),
    ("If the two agree, go on with the plan as it is;", "Where they match, nothing needs to change;"),
    ("if they do not, the newer fact counts,", "where they differ, trust the later one,"),
    ("and I will adjust the steps that follow.", "and the next steps change with it."),
    ("That leaves one question for you to decide on your own.", "One choice remains that only you can make."),
)


class Rehearsal:
    """Answers with generated texts. It accepts the keywords of all servings, but does not need them."""

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_concurrency: int = 30,
    ) -> None:
        pass

    async def answer(self, request: Request) -> Response:
        """Return a text for each key of the request's schema, or one text without a schema."""
        names: Mapping[str, Any] = {} if request.schema is None else request.schema.get("properties", {})
        said = {name: _value(request, name, about) for name, about in names.items()}
        said.update(compared(request))
        text = _text(request, "assistant") if request.schema is None else json.dumps(said)
        asked = len(request.system.split()) + sum(len(message["content"].split()) for message in request.messages)
        return Response(text, "stop", round(asked * TOKENS_PER_WORD), round(len(text.split()) * TOKENS_PER_WORD))


def compared(request: Request, worse: str | None = None) -> dict[str, int]:
    """Return scores of 5 and 1 for the two texts of a comparison, the same in both orders; empty for other requests.

    A text that has only characters of `worse` is the worse one.
    """
    if "first" not in request.fields:
        return {}
    lines = _COMPARED.findall(request.messages[-1]["content"])
    best = max(lines[-2:], key=lambda line: (worse is None or bool(line[1].strip(f'"{worse}')), _digest(line[1])))
    return {name: 5 if (name, text) == best else 1 for name, text in lines[-2:]}


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()


def _value(request: Request, name: str, about: Mapping[str, Any]) -> Any:
    """Return a score if the schema asks for a number (the best three times in four, else the next), or else a text.

    If the schema asks for a boolean, it is true once in four times.
    """
    if about.get("type") == "boolean":
        return hashlib.sha256(f"{request.key} {name}".encode()).digest()[0] % 4 == 0
    if "enum" not in about:
        return _text(request, name)
    is_next = hashlib.sha256(f"{request.key} {name}".encode()).digest()[0] % 4 == 0
    return about["enum"][-2 if is_next else -1]


def _text(request: Request, name: str) -> str:
    """Return the text for a request's key and the name of a message."""
    digest = hashlib.sha256(f"{request.key} {name}".encode()).digest()
    parts = ASSISTANT if request.stage in ("answers", "answer", "alternative") else USER
    chosen = (choices[byte % len(choices)] for choices, byte in zip(parts, digest))
    return f"Rehearsal {digest[-6:].hex()}, {name.replace('_', ' message ')}: {' '.join(chosen)}"
