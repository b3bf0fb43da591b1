"""Signs: what a check looks for before it looks closely. One pass over a side's text finds the signs of all checks.

RE2 finds them with one table for all patterns, in linear time. A sign must be there wherever its check could find
something, and is rare in good messages. The forms' signs stand in the modules of their checks. A phrase is its own sign
once all that RE2 cannot tell is left out of its pattern (`weaken`): it then fits more texts, never fewer.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

from consistent_chat.dialogue.checks import answers, letters, remains, roles, titles, users
from consistent_chat.dialogue.checks.phrases import phrases
from consistent_chat.dialogue.checks.side import START

ANYWHERE = ("as_assistant", "labels", "mentions", "boilerplate", "reasoning", "flips")
"""Fields of `phrases` that a message may have anywhere."""
AT_START = ("begins", "openings", "refusals")
"""Fields of `phrases` with which a message begins."""
MOST_MEMORY = 32 << 20
"""Bytes that RE2 may use for its table; a text that would need more makes it begin the table anew."""


class Signs:
    """Patterns of RE2 by name, which are looked for together."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        import re2  # here, since not all that imports the checks runs them

        options = re2.Options()
        options.log_errors = False
        options.max_mem = MOST_MEMORY
        self._names = tuple(patterns)
        self._set = re2.Set.SearchSet(options)
        for pattern in patterns.values():
            self._set.Add(pattern)
        self._set.Compile()

    def find(self, text: str) -> frozenset[str]:
        """Return the names of the patterns that a text fits."""
        return frozenset([self._names[at] for at in self._set.Match(text.encode("utf-8", "replace")) or ()])


@functools.lru_cache(maxsize=64)
def signs_of(language: str) -> Signs:
    """Return the signs of all checks for a recipe's language."""
    known = phrases(language)._asdict()
    spoken = {name: weaken(known[name].pattern) for name in ANYWHERE}
    spoken |= {name: rf"{START}[ *_#¡!]*{weaken(known[name].pattern)}" for name in AT_START}
    spoken |= {"marked": START + weaken(remains.NUMBER.pattern), "prompted": _any_of(titles.prompted())}
    return Signs({**spoken, **answers.SIGNS, **roles.SIGNS, **letters.SIGNS, **remains.SIGNS, **users.SIGNS})


def _any_of(sentences: Iterable[str]) -> str:
    return "|".join(sorted(re.escape(sentence.replace("\u2019", "'").lower()) for sentence in sentences))


def weaken(pattern: str) -> str:
    """Return a pattern of RE2 that fits wherever a regex of Python does, and elsewhere too.

    Anchors, boundaries and looks ahead and behind are left out; classes of characters are those of Unicode, or larger.
    """
    parts = _PARTS(_LOOK.sub("", pattern))
    return f"(?:{''.join(map(_weaken, parts))})"


def _weaken(part: str) -> str:
    if part[0] != "[":
        return _WIDER.get(part, part)
    if part[1] == "^" and _SHORTHAND(part):
        return "(?s:.)"
    return _SHORTHAND_SUB(lambda match: _INSIDE[match[0]], part)


_PARTS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|[^\\]", re.DOTALL).findall
_LOOK = re.compile(r"\(\?<?[!=](?:\\.|\[(?:\\.|[^\]\\])*\]|\((?:\\.|[^()\\])*\)|[^()\\])*\)")
_SHORTHAND = re.compile(r"\\[wWdDsS]").search
_SHORTHAND_SUB = re.compile(r"\\[wds]").sub
_INSIDE = {r"\w": r"\pL\pN_", r"\d": r"\pN", r"\s": r"\s\pZ\x1c-\x1f\x{85}"}
_WIDER = {
    **dict.fromkeys(("^", "$", r"\b", r"\A", r"\Z"), ""),
    **{shorthand: f"[{inside}]" for shorthand, inside in _INSIDE.items()},
    r"\W": "[^a-z0-9_]",
}
