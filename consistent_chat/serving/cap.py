"""Fits requests into a server's limits: the longest answer, and the context, which prompt and answer share.

Both limits are stated by the user or read from the server's refusals. The tokens of a prompt are estimated from its
bytes until the server has counted the tokens of one.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from consistent_chat.errors import RefusedRequest, ServingError
from consistent_chat.request import Request
from consistent_chat.serving.http import LOOKED_AT, Fault

FLOOR = 256
"""Tokens. Lower limits are not tried, because few dialogues fit into them."""

_log = logging.getLogger(__name__)


MESSAGE_TOKENS = {"skeleton": 35, "answers": 88}
"""Tokens of a typical message in JSON by stage: 1.35 per word.

The ConsistentChat paper (arXiv 2506.03558) reports a mean of 19.8 words for user messages and 59.3 for answers.
"""
LEAST_TOKENS = 16
"""Minimum tokens of a message. An answer with less space is not requested."""
SPARE_TOKENS = 16
"""Tokens that a chat template adds to a prompt."""
MARGIN = 1.1
"""The prompts of a run have at most this many times the tokens per byte of the prompt that the server counted."""


class Limits(Protocol):
    """The token limits of a form, as stated or read from a refusal; None if unknown.

    `cap` is the longest answer, `context` bounds prompt and answer together, `density` is the number of tokens per byte
    of a prompt.
    """

    @property
    def cap(self) -> int | None:
        """The tokens of the longest answer."""

    @property
    def context(self) -> int | None:
        """The tokens of a prompt and its answer together."""

    @property
    def density(self) -> float | None:
        """The tokens of a prompt per byte."""


AnyLimits = TypeVar("AnyLimits", bound=Limits)


def limit(request: Request, form: Limits) -> int:
    """Return the token limit to send: the request's, or less if the model's longest answer or context is shorter.

    Raises RefusedRequest if the context has space for the prompt but not for an answer.
    """
    most = request.max_tokens if form.cap is None else min(request.max_tokens, form.cap)
    if form.context is None:
        return most
    least = LEAST_TOKENS * max(1, len(request.fields))
    if form.context - fewest_tokens(request) < least:
        raise RefusedRequest(
            f"A prompt of {_size(request):,} bytes and an answer of at least {least:,} tokens do not fit into a "
            f"context of {form.context:,} tokens. Lower num_turns_per_dialog=, shorten what the recipe adds to "
            "prompts, or use a server with a larger context (context_tokens=)."
        )
    return max(least, min(most, form.context - prompt_tokens(request, form.density)))


def check_fits(request: Request, form: Limits) -> None:
    """Raise ServingError, before any call is paid for, if no dialogue of this length fits into the context.

    This follows from the first stage: the second has about the same prompt, plus the user messages, and longer answers.
    """
    if form.context is None or request.stage != "skeleton":
        return
    each, turns = sum(MESSAGE_TOKENS.values()), len(request.fields)
    prompt = fewest_tokens(request)
    if prompt + turns * each > form.context:
        fitting = max(0, (form.context - prompt) // each)
        advice = f"Set num_turns_per_dialog= to {fitting} or less" if fitting else "Shorten the prompts"
        raise ServingError(
            f"A dialogue of {turns} turns takes about {prompt + turns * each:,} tokens, prompt and answers together, "
            f"and the context of the model {request.model!r} has {form.context:,}. {advice}, or use a server with a "
            "larger context (context_tokens=)."
        )


def prompt_tokens(request: Request, density: float | None = None) -> int:
    """Return the largest likely number of tokens of a prompt.

    It uses the server's count if there is one. Otherwise it assumes one token for three bytes of ASCII, and two for
    three other bytes, because older tokenizers use two tokens for a Thai or Chinese letter of three bytes.
    """
    if density is not None:
        return math.ceil(_size(request) * density * MARGIN) + SPARE_TOKENS
    ascii_bytes = sum(character.isascii() for text in _texts(request) for character in text)
    return ascii_bytes // 3 + (_size(request) - ascii_bytes) * 2 // 3 + SPARE_TOKENS


def fewest_tokens(request: Request) -> int:
    """Return the smallest likely number of tokens of a prompt: one per six bytes."""
    return _size(request) // 6


def _size(request: Request) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in _texts(request))


def _texts(request: Request) -> list[str]:
    return [request.system, *(message["content"] for message in request.messages)]


def lowered_form(form: AnyLimits, request: Request, fault: Fault, asked: int) -> AnyLimits | None:
    """Return the form to try after a refusal of `asked` tokens, or None if nothing is left to try.

    A server that counts the prompt reports its context and the density of prompts, which fit all later requests.
    """
    changed: Any = form
    counted = _counted(fault.message[:LOOKED_AT], asked)
    if counted is not None:
        context, density = counted[0], counted[1] / max(1, _size(request))
        if 1 / 12 <= density <= 1:
            other: AnyLimits = replace(changed, context=context, density=max(density, form.density or 0.0))
            if limit(request, other) < asked:
                return other
    cap = lowered_to_fit(fault, asked)
    lower: AnyLimits | None = None if cap is None else replace(changed, cap=cap)
    return lower


def _counted(message: str, asked: int) -> tuple[int, int] | None:
    """Return (tokens of the context, tokens of the prompt), or None if a refusal does not have both numbers."""
    for pattern in _CONTEXTS:
        if found := re.search(pattern, message, re.IGNORECASE | re.DOTALL):
            context, prompt = (int(digits.replace(",", "")) for digits in found.groups())
            return context, prompt
    total = _total(message, asked)
    return None if total is None else (total[1], total[0] - asked)


def is_too_high(fault: Fault, asked: int | None = None) -> bool:
    """Return whether a refusal means that the token limit is too high, not that its parameter has another name.

    The wording does not matter: the refusal mentions tokens and a number that could be the limit, as `lowered_to_fit`
    reads it. A message with braces may repeat the whole request, and is not read this way.
    """
    if fault.status not in (400, 413, 422):
        return False
    message = fault.message[:LOOKED_AT]
    if _TOO_HIGH.search(f"{fault.param or ''} {message}") is not None:
        return True
    if asked is None or "token" not in message.lower() or "{" in message:
        return False
    return _total(message, asked) is not None or _smaller(message, asked) is not None


def _total(message: str, asked: int) -> tuple[int, int] | None:
    """Return (total tokens requested, tokens that the model accepts), or None if a message does not have both."""
    numbers = _numbers(message)
    requested = [number for number in numbers if number > asked]
    takes = [number for number in numbers if requested and FLOOR <= number < requested[-1] and number != asked]
    return (requested[-1], takes[-1]) if takes else None


def _smaller(message: str, asked: int) -> int | None:
    """Return the largest number below the requested one."""
    return max((number for number in _numbers(message) if FLOOR <= number < asked), default=None)


def _numbers(message: str) -> list[int]:
    return sorted({int(digits.replace(",", "")) for digits in re.findall(r"(?<![\d.])\d[\d,]{2,11}", message)})


def lowered_to_fit(fault: Fault, asked: int) -> int | None:
    """Return the cap to try after a refusal of this many tokens, or None if nothing is left to try."""
    message = fault.message[:LOOKED_AT]
    total = _total(message, asked)
    if total is not None and FLOOR <= asked - (total[0] - total[1]) < asked:
        return asked - (total[0] - total[1])
    if _TOO_HIGH.search(f"{fault.param or ''} {message}") is None and (named := _smaller(message, asked)) is not None:
        return named
    return lowered(fault, asked)


def lowered(fault: Fault, asked: int) -> int | None:
    """Return the cap to try next: the maximum that the server names if it is below `asked`, else half of `asked`.

    If that is below FLOOR, return None, so that the server's refusal becomes the error.
    """
    named = [number for number in _named(fault.message[:LOOKED_AT]) if number < asked]
    cap = named[0] if named else max(asked // 2, FLOOR)
    if not FLOOR <= cap < asked:
        return None
    _log.debug("The server does not accept a limit of %d tokens; using %d for the rest of the run.", asked, cap)
    return cap


def _named(message: str) -> list[int]:
    """Return the numbers that read like a maximum, the most specific first."""
    found = (re.search(pattern, message, re.IGNORECASE | re.DOTALL) for pattern in _MAXIMA)
    groups = ([int(digits.replace(",", "")) for digits in match.groups()] for match in found if match)
    return [numbers[0] - sum(numbers[1:]) for numbers in groups]


_N = r"(\d[\d,]{0,11})"
# How servers name their context and the prompt that they counted.
_CONTEXTS = (
    rf">\s*{_N} - {_N}",  # vLLM: (20000 > 8192 - 1000)
    rf"context length is {_N}.{{1,80}}?\b{_N} (?:input tokens|in the messages|in your prompt)",  # OpenAI, older vLLM
)
# How servers name their maximum. With two numbers, the second is the prompt's and is subtracted from the first.
_MAXIMA = (
    *_CONTEXTS,
    rf"(?<!-)>\s*{_N}",  # Anthropic: 14336 > 8192
    rf"<=\s*{_N}",
    rf"at most\D{{0,20}}{_N}",
    rf"(?:less|lower|smaller|greater|larger) than(?: or equal to)?\D{{0,5}}{_N}",
    rf"\[\d+,\s*{_N}\]",  # DeepSeek: the valid range is [1, 8192]
    rf"between \d+ and {_N}",
    rf"maximum(?! input)\D{{0,60}}{_N}",
)
# The parameter and, shortly after it in the same object, words about size. "limit was reached" is about an answer that
# was cut; "use max_completion_tokens instead" is about the name.
_TOO_HIGH = re.compile(
    r"max(?:imum)?[_ ](?:completion_|new_|output_)?tokens\b[^{}]{0,100}?"
    r"(?:too (?:large|high|big|long|many)|(?<!-)>\s*\d|<=|at most|maximum|exceed|(?:less|lower|smaller) than"
    r"|cannot be (?:greater|larger)|between \d|should be \[|\brange\b)"
    r"|\d in the completion\b|requested \d+ output tokens|exceeds? the (?:available |maximum )?context",
    re.IGNORECASE,
)
