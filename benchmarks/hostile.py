"""How the time of checks, parser, prompt patterns and readers grows with hostile input: each is doubled, and fitted.

    python -m benchmarks.hostile [LETTERS]

prints the slowest inputs with the exponent of their growth (1 is linear) and the microseconds of the processor at the
largest size.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable

from consistent_chat.dialogue import checks, parse, prompts
from consistent_chat.recipe.rules import DEFAULTS
from consistent_chat.request import Response
from consistent_chat.text.sanitize import sanitize_line, without_secrets
from tests.fuzz import TARGETS

DOUBLINGS = 4
PIECES = {
    "one letter": "a",
    "one letter of Thai": "ก",
    "words": "the user wants it ",
    "questions": "what is it? it is it. ",
    "capital words": "Title Of It and ",
    "quotes": '"',
    "backticks": "`",
    "fences": "```\n",
    "brackets": "[",
    "placeholders": "[your name ",
    "braces": "{ ",
    "keys": '","a',
    "tags": "<think",
    "entities": "&amp",
    "escapes": "\\n",
    "colons": "user: ",
    "numbers": "1. ",
    "digits": "1",
    "addresses": "://",
    "passwords": "://a:",
    "joined emoji": "\u200d👩",
    "spaces": " ",
    "lines": "\n",
    "dashes": "- ",
    "courtesies": "thank you, ",
    "let me know": "let me know if you need anything ",
    "mojibake": "Ã©",
    "mojibake of Cyrillic": "\u0420\u00b0",
    "scripts": "a 你 ",
    "an ai": "as an ai ",
    "questions by number": "question 1 ",
    "the messages": "your messages ",
    "long words": f"{'x' * 40} ",
    "fixed texts of a prompt": "Intent: ()\nCategory: \nTopic: \nInformation flow: \nPersona of the user: ",
    "mixed": 'a "b" `c` [d] 1. e? f! ',
}


def chats(text: str) -> object:
    """Check a text as a message of each side."""
    return checks.findings([text, text + "x"], [text, text + "y"], DEFAULTS, "English")


def parsed(text: str) -> object:
    """Parse a text as a response."""
    try:
        return parse.messages(Response(text), ("user_1", "user_2"))
    except parse.Unusable as error:
        return error


def quoted(text: str) -> object:
    """Parse a text as a message in a response."""
    return parsed(json.dumps({"user_1": text, "user_2": text}))


def pattern(text: str) -> object:
    """Read a text as a prompt that was filled in."""
    return [prompts.blanks(name, text) for name in prompts.NAMES]


def printed(text: str) -> object:
    """Make a text visible, without secrets of addresses."""
    return sanitize_line(without_secrets(f"@{text} @"))


def reader(name: str) -> Callable[[str], object]:
    """Return what reads a text as a file: a recipe, a manifest, a card, a journal."""

    def read(text: str) -> object:
        return TARGETS[name](text.encode("utf-8", "replace"))

    read.__name__ = name
    return read


def seconds(step: Callable[[str], object], text: str) -> float:
    """Return the least time of the processor of three: another process does not change it."""
    times = []
    for _ in range(3):
        start = time.process_time()
        step(text)
        times.append(time.process_time() - start)
        if times[-1] > 2:
            break
    return min(times)


def main(letters: int) -> None:
    """Print the table, the slowest first."""
    logging.disable(logging.WARNING)  # each damaged journal is reported
    found = []
    readers = map(reader, ("recipe", "manifest", "card", "journal"))
    for step in (chats, parsed, quoted, pattern, printed, *readers):
        step("warm up ")
        for name, piece in PIECES.items():
            sizes = [letters >> shift for shift in range(DOUBLINGS, -1, -1)]
            times = [seconds(step, piece * (size // len(piece))) for size in sizes]
            exponent = math.log2(times[-1] / times[-3]) / 2
            found.append((times[-1], exponent, step.__name__, name))
    for taken, exponent, step, name in sorted(found, reverse=True)[:25]:
        print(f"{step:8} {name:22} {taken * 1e6:12,.0f} us  exponent {exponent:5.2f}")
    print(f"worst exponent over 2 ms: {max((e for t, e, *_ in found if t > 0.002), default=0):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 32_000)
