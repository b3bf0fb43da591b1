"""Reads a server's refusal of a limit of tokens that is above what its model can write, and says what to ask for."""

from __future__ import annotations

import logging
import re

from consistent_chat.request import Request
from consistent_chat.serving.http import LOOKED_AT, Fault

FLOOR = 256
"""Tokens. No lower limit is tried: hardly a dialogue fits into fewer."""

_log = logging.getLogger(__name__)


def limit(request: Request, cap: int | None, context: int | None = None) -> int:
    """Return the limit of tokens to send: the request's, or what the model can write or its context holds, if lower."""
    most = request.max_tokens if cap is None else min(request.max_tokens, cap)
    return most if context is None else max(1, min(most, context - prompt_tokens(request)))


def prompt_tokens(request: Request) -> int:
    """Return the most tokens that a prompt likely has: one for three bytes, the length of many scripts' letters."""
    said = len(request.system.encode("utf-8", "replace"))
    said += sum(len(message["content"].encode("utf-8", "replace")) + 12 for message in request.messages)
    return said // 3 + 16


def is_too_high(fault: Fault, asked: int | None = None) -> bool:
    """Tell whether a refusal says that the limit of tokens is too high, and not that it has another name.

    Whatever its words: one that speaks of tokens and names a number that fits, as `lowered_to_fit` reads it. A message
    with braces may repeat the whole request, and is not read so.
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
    """Return (what was requested in all, what the model takes) where a message has both numbers."""
    numbers = _numbers(message)
    requested = [number for number in numbers if number > asked]
    takes = [number for number in numbers if requested and FLOOR <= number < requested[-1] and number != asked]
    return (requested[-1], takes[-1]) if takes else None


def _smaller(message: str, asked: int) -> int | None:
    """Return the largest number below what was asked."""
    return max((number for number in _numbers(message) if FLOOR <= number < asked), default=None)


def _numbers(message: str) -> list[int]:
    return sorted({int(digits.replace(",", "")) for digits in re.findall(r"(?<![\d.])\d[\d,]{2,11}", message)})


def lowered_to_fit(fault: Fault, asked: int) -> int | None:
    """Return the cap to try next for a refusal of so many tokens; None where nothing is left to try."""
    message = fault.message[:LOOKED_AT]
    total = _total(message, asked)
    if total is not None and FLOOR <= asked - (total[0] - total[1]) < asked:
        return asked - (total[0] - total[1])
    if _TOO_HIGH.search(f"{fault.param or ''} {message}") is None and (named := _smaller(message, asked)) is not None:
        return named
    return lowered(fault, asked)


def lowered(fault: Fault, asked: int) -> int | None:
    """Return the cap to try next: the maximum that the server names if it is below `asked`, else half of `asked`.

    None if that is below FLOOR, so that the server's refusal becomes the error.
    """
    named = [number for number in _named(fault.message[:LOOKED_AT]) if number < asked]
    cap = named[0] if named else max(asked // 2, FLOOR)
    if not FLOOR <= cap < asked:
        return None
    _log.debug("The server takes no limit of %d tokens; %d is tried for the rest of the run.", asked, cap)
    return cap


def _named(message: str) -> list[int]:
    """Return the numbers that read like a maximum, the most telling first."""
    found = (re.search(pattern, message, re.IGNORECASE | re.DOTALL) for pattern in _MAXIMA)
    groups = ([int(digits.replace(",", "")) for digits in match.groups()] for match in found if match)
    return [numbers[0] - sum(numbers[1:]) for numbers in groups]


_N = r"(\d[\d,]{0,11})"
# How servers name their maximum. Where there are two numbers, the prompt takes the second from the first.
_MAXIMA = (
    rf">\s*{_N} - {_N}",  # vLLM: (20000 > 8192 - 1000)
    rf"context length is {_N}.{{1,80}}?\b{_N} (?:input tokens|in the messages|in your prompt)",  # OpenAI, older vLLM
    rf"(?<!-)>\s*{_N}",  # Anthropic: 14336 > 8192
    rf"<=\s*{_N}",
    rf"at most\D{{0,20}}{_N}",
    rf"(?:less|lower|smaller|greater|larger) than(?: or equal to)?\D{{0,5}}{_N}",
    rf"\[\d+,\s*{_N}\]",  # DeepSeek: the valid range is [1, 8192]
    rf"between \d+ and {_N}",
    rf"maximum(?! input)\D{{0,60}}{_N}",
)
# The parameter and, soon after and in the same object, words of size. "limit was reached" is about an answer that
# was cut; "use max_completion_tokens instead" is about the name.
_TOO_HIGH = re.compile(
    r"max(?:imum)?[_ ](?:completion_|new_|output_)?tokens\b[^{}]{0,100}?"
    r"(?:too (?:large|high|big|long|many)|(?<!-)>\s*\d|<=|at most|maximum|exceed|(?:less|lower|smaller) than"
    r"|cannot be (?:greater|larger)|between \d|should be \[|\brange\b)"
    r"|\d in the completion\b|requested \d+ output tokens",
    re.IGNORECASE,
)
