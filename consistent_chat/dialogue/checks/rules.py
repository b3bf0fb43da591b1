"""The rules of a recipe, applied to messages. What they mean is told in docs/quality.md."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from consistent_chat.dialogue.checks.sensitive import sensitive
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.errors import RecipeError
from consistent_chat.recipe.rules import Rule, compiled, plugin
from consistent_chat.text.languages import SPACELESS

ROLES = {"users": "user", "answers": "assistant"}
MAX_DETAIL = 200


def broken(messages: Sequence[str], side: str, rules: Mapping[str, Rule], language: str) -> Iterator[Unusable]:
    """Yield a finding for each rule that the messages of a side ("users" or "answers") break, about the first such one.

    Raises RecipeError if a plugin fails.
    """
    for name, rule in rules.items():
        if rule.get("side", side) == side and _speaks(rule, language):
            found = _first(messages, side, rule, language)
            if found is not None:
                turn, detail = found
                yield Unusable(Reason.RULE, f"{ROLES[side]}_{turn} breaks {name!r}: {detail[:MAX_DETAIL]}", turn)


def _speaks(rule: Rule, language: str) -> bool:
    return "languages" not in rule or language.casefold() in map(str.casefold, rule["languages"])


def _first(messages: Sequence[str], side: str, rule: Rule, language: str) -> tuple[int, str] | None:
    for turn, text in enumerate(map(_readable, messages), 1):
        plain = _plain(text)
        for field, check in _CHECKS.items():
            if field in rule and (detail := check(text, plain, rule[field])):
                return turn, detail
        if ("required" in rule or "required_patterns" in rule) and not _has_required(text, plain, rule):
            return turn, "has nothing of what is required"
    return _of_plugin(rule["plugin"], messages, side, language) if "plugin" in rule else None


def _readable(text: str) -> str:
    """Return a text with "?" for each lone surrogate, which RE2 cannot read; chats from elsewhere may have some."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _has_required(text: str, plain: str, rule: Rule) -> bool:
    patterns = rule.get("required_patterns", ())
    return bool(_phrase(plain, rule.get("required", ()))) or _match(text, patterns) is not None


def _forbidden_pattern(text: str, plain: str, patterns: Sequence[str]) -> str:
    found = _match(text, patterns)
    return "" if found is None else f"has {found[0][:80]!r}"


def _match(text: str, patterns: Sequence[str]) -> Any:
    """Return the match of the first pattern that fits a text, or None."""
    return next((match for pattern in patterns if (match := compiled(pattern).search(text))), None)


def _forbidden(text: str, plain: str, phrases: Sequence[str]) -> str:
    found = _phrase(plain, phrases)
    return f"has {found!r}" if found else ""


def _phrase(plain: str, phrases: Sequence[str]) -> str:
    """Return the first of the phrases that stands in a text as whole words; letters of scripts without spaces do."""
    return next((one for one in phrases if _stands(plain, _plain(one))), "")


def _stands(text: str, phrase: str) -> bool:
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if not (_is_joined(text[at - 1 : at], phrase[0]) or _is_joined(phrase[-1], text[end : end + 1])):
            return True
        at = text.find(phrase, at + 1)
    return False


def _is_joined(before: str, after: str) -> bool:
    """Tell whether two characters, or none, belong to one word."""
    return bool(_IN_WORD(before) and _IN_WORD(after))


@functools.lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """Return a text without differences of case, of apostrophes and of white space."""
    return " ".join(text.casefold().replace("\u2019", "'").split())


def _least(count: Callable[[str], int], unit: str) -> Callable[[str, str, int], str]:
    return lambda text, plain, bound: f"has {count(text)} {unit}, fewer than {bound}" if count(text) < bound else ""


def _most(count: Callable[[str], int], unit: str) -> Callable[[str, str, int], str]:
    return lambda text, plain, bound: f"has {count(text)} {unit}, more than {bound}" if count(text) > bound else ""


def _words(text: str) -> int:
    return len(text.split())


def _of_plugin(name: str, messages: Sequence[str], side: str, language: str) -> tuple[int, str] | None:
    """Return what a plugin finds. Raises RecipeError if it fails, or if its answer is no finding."""
    try:
        found = plugin(name)(tuple(messages), side, language)
    except RecipeError:
        raise
    except Exception as error:
        raise RecipeError(f"The check {name!r} has failed: {type(error).__name__}: {error}.") from error
    if found is None:
        return None
    if isinstance(found, tuple) and len(found) == 2 and found[0] in range(1, len(messages) + 1):
        return int(found[0]), str(found[1])
    raise RecipeError(f"The check {name!r} must return None or (turn from 1, detail), not {found!r:.80}.")


_IN_WORD = re.compile(rf"[^\W{SPACELESS}]").match
_CHECKS: dict[str, Callable[[str, str, Any], str]] = {
    "forbidden": _forbidden,
    "forbidden_patterns": _forbidden_pattern,
    "min_words": _least(_words, "words"),
    "max_words": _most(_words, "words"),
    "min_characters": _least(len, "characters"),
    "max_characters": _most(len, "characters"),
    "sensitive": lambda text, plain, kinds: sensitive(text, kinds),
}
