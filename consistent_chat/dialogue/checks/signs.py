"""Signs: patterns that select the messages which a check examines.

One pass over a side's text finds all signs: RE2 searches for all patterns together, in linear time. A sign must occur
wherever its check could find something, and should be rare in good messages. Signs that are not phrases are in the
modules of their checks. A phrase is its own sign, after `weaken` has removed what RE2 does not support: the sign then
matches more texts, never fewer.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from consistent_chat.dialogue.checks import answers, letters, remains, roles, titles, users
from consistent_chat.dialogue.checks.side import BOUNDARY, END, START, any_of, listed

ANYWHERE = {
    "user": ("as_assistant", "labels", "reasoning"),
    "assistant": ("labels", "mentions", "boilerplate", "reasoning", "flips"),
}
"""Fields of `phrases` that a message of a role may have anywhere."""
AT_START = {"user": "openings", "assistant": "refusals"}
"""The field of `phrases` that a message of a role may have at its start."""
MOST_MEMORY = 32 << 20
"""Bytes that RE2 may use for its table; it rebuilds the table for a text that needs more."""
_compiling = threading.Lock()
_NONE: frozenset[str] = frozenset()
_EDGES = (b"\x1f\n", b"\n\x1f")
"""What stands before and after the joined messages, so that each message has START and END."""


class Signs:
    """RE2 patterns by name that are searched for together.

    A name in `hints` has a second pattern, which occurs in every text with the first, and is found more quickly. Its
    own is only searched for where the hint occurs.
    """

    def __init__(self, patterns: Mapping[str, str], hints: Mapping[str, str]) -> None:
        self.names, self._patterns, self._hints = tuple(patterns), patterns, hints
        self._match = _matcher([hints.get(name, pattern) for name, pattern in patterns.items()])
        self._named = functools.lru_cache(maxsize=1024)(self._names_of)
        self._confirm = functools.lru_cache(maxsize=None)(lambda name: _matcher([self._patterns[name]]))

    def find(self, text: bytes) -> frozenset[str]:
        """Return the names of the patterns that match a text in UTF-8."""
        text = text.join(_EDGES)
        places = self._match(text)
        if not places:
            return _NONE
        certain, hinted = self._named(tuple(places))
        return certain.union([name for name in hinted if self._confirm(name)(text)]) if hinted else certain

    def _names_of(self, places: tuple[int, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
        """Return the names whose patterns were found, and those of which only the hint was."""
        found = [self.names[at] for at in places]
        return frozenset(found).difference(self._hints), tuple(name for name in found if name in self._hints)


def _matcher(patterns: Iterable[str]) -> Callable[[bytes], list[int] | None]:
    """Return a function that returns the places of the patterns that match a text, in linear time."""
    import re2  # imported here, since not every module that imports the checks runs them

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_MEMORY
    together = re2.Set.SearchSet(options)
    for pattern in patterns:
        together.Add(pattern)
    together.Compile()
    match: Callable[[bytes], list[int] | None] = together.Match
    return match


@functools.lru_cache(maxsize=128)
def signs_of(language: str, role: str) -> Signs:
    """Return the signs of all checks of the messages of a role ("user" or "assistant") for a recipe's language.

    Of two threads that need them, one compiles them.
    """
    with _compiling:
        return _signs_of(language, role)


@functools.lru_cache(maxsize=128)
def _signs_of(language: str, role: str) -> Signs:
    spoken = {name: anywhere(listed(name, language)) for name in ANYWHERE[role]}
    start = AT_START[role]
    spoken[start] = rf"{START}[ *_#¡!]*{weaken(any_of(listed(start, language)))}"
    number = START + weaken(remains.NUMBER.pattern)
    spoken["marked"] = f"{number}(?s:.*){number}"
    if role == "assistant":
        courtesies = weaken(any_of(listed("courtesies", language)))
        spoken["courteous"] = rf"{START}{_JOINED}(?:{courtesies}{_JOINED})*{END}"
    own = users.SIGNS if role == "user" else answers.SIGNS
    return Signs(spoken | own | titles.signs(role) | roles.SIGNS | letters.SIGNS | remains.SIGNS, {"marked": number})


def anywhere(regexes: Iterable[str]) -> str:
    """Return an RE2 pattern that matches wherever one of the regexes does, with the character before some of them.

    Most begin at the start of a word or of a message. All of these share one pattern for the character before: so RE2
    passes over the rest of each word in one state, and builds a fifth of its table.
    """
    free, bounded = list[str](), list[str]()
    for regex in regexes:
        for one in _alternatives(_LOOK.sub("", regex)):
            leading = _LEADING(one)
            (bounded if leading else free).append(weaken(one[leading.end() :] if leading else one))
    return "|".join([f"{BOUNDARY}(?:{'|'.join(bounded)})"] * bool(bounded) + free)


def _alternatives(regex: str) -> Iterator[str]:
    """Yield the alternatives of a regex that are not in a group."""
    depth, start, end = 0, 0, 0
    for part in _PARTS(regex):
        depth += (part == "(") - (part == ")")
        if part == "|" and not depth:
            yield regex[start:end]
            start = end + 1
        end += len(part)
    yield regex[start:]


def weaken(pattern: str) -> str:
    """Return an RE2 pattern that matches wherever a Python regex does, and possibly elsewhere.

    Anchors, boundaries, lookaheads and lookbehinds are left out; character classes match all characters beyond ASCII.
    """
    parts = _PARTS(_LOOK.sub("", pattern))
    return f"(?:{''.join(map(_weaken, parts))})"


def _weaken(part: str) -> str:
    if part[0] != "[":
        return _WIDER.get(part, part)
    if part[1] == "^" and _SHORTHAND(part):
        return "(?s:.)"
    return _SHORTHAND_SUB(lambda match: _INSIDE[match[0]], part)


_JOINED = r"[^a-z0-9]*(?:(?:and|so|but|und|y|et)[^a-z0-9]*)*"
"""What may stand before, between and after the courtesies of an answer: punctuation and conjunctions."""
_PARTS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|[^\\]", re.DOTALL).findall
_LEADING = re.compile(r"\\b|\^(?:\\W\*)?").match
_LOOK = re.compile(r"\(\?<?[!=](?:\\.|\[(?:\\.|[^\]\\])*\]|\((?:\\.|[^()\\])*\)|[^()\\])*\)")
_SHORTHAND = re.compile(r"\\[wWdDsS]").search
_SHORTHAND_SUB = re.compile(r"\\[wds]").sub
_INSIDE = {r"\w": r"0-9A-Za-z_\x{80}-\x{10ffff}", r"\d": r"\pN", r"\s": r"\s\pZ\x1c-\x1f\x{85}"}
_WIDER = {
    **dict.fromkeys(("^", "$", r"\b", r"\A", r"\Z"), ""),
    **{shorthand: f"[{inside}]" for shorthand, inside in _INSIDE.items()},
    r"\W": "[^a-z0-9_]",
}
