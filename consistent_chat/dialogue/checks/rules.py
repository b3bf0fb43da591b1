"""Applies the rules of a recipe to messages. docs/quality.md describes the rules.

Sensitive data (e-mail addresses, phone numbers, keys) are found by their format. Data that cannot belong to a person
are not sensitive: domains reserved for examples (RFC 2606, RFC 6761), and phone numbers reserved for fiction (NANP
555-01xx; Ofcom's numbers for drama).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.errors import RecipeError
from consistent_chat.recipe.rules import Rule, compiled, plugin
from consistent_chat.text.languages import SPACELESS

ROLES = {"users": "user", "answers": "assistant"}
MAX_DETAIL = 200


def broken(messages: Sequence[str], side: str, rules: Mapping[str, Rule], language: str) -> Iterator[Unusable]:
    """Yield a finding for each rule that a side ("users" or "answers") breaks, about its first message that breaks it.

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
            return turn, "has none of the required phrases or patterns"
    return _of_plugin(rule["plugin"], messages, side, language) if "plugin" in rule else None


def _readable(text: str) -> str:
    """Return a text with "?" for each lone surrogate, which RE2 cannot read; chats from other sources may have some."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _has_required(text: str, plain: str, rule: Rule) -> bool:
    patterns = rule.get("required_patterns", ())
    return bool(_phrase(plain, rule.get("required", ()))) or _match(text, patterns) is not None


def _forbidden_pattern(text: str, plain: str, patterns: Sequence[str]) -> str:
    found = _match(text, patterns)
    return "" if found is None else f"has {found[0][:80]!r}"


def _match(text: str, patterns: Sequence[str]) -> Any:
    """Return the match of the first pattern that matches a text, or None."""
    return next((match for pattern in patterns if (match := compiled(pattern).search(text))), None)


def _forbidden(text: str, plain: str, phrases: Sequence[str]) -> str:
    found = _phrase(plain, phrases)
    return f"has {found!r}" if found else ""


def _phrase(plain: str, phrases: Sequence[str]) -> str:
    """Return the first phrase that occurs in a text as whole words; in scripts without spaces it may occur anywhere."""
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
    """Return whether two characters (either may be missing) belong to one word."""
    return bool(_IN_WORD(before) and _IN_WORD(after))


@functools.lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """Return a text in lower case, with one kind of apostrophe and of white space."""
    return " ".join(text.casefold().replace("\u2019", "'").split())


def _least(count: Callable[[str], int], unit: str) -> Callable[[str, str, int], str]:
    return lambda text, plain, bound: f"has {count(text)} {unit}, fewer than {bound}" if count(text) < bound else ""


def _most(count: Callable[[str], int], unit: str) -> Callable[[str, str, int], str]:
    return lambda text, plain, bound: f"has {count(text)} {unit}, more than {bound}" if count(text) > bound else ""


def _words(text: str) -> int:
    return len(text.split())


def _of_plugin(name: str, messages: Sequence[str], side: str, language: str) -> tuple[int, str] | None:
    """Return what a plugin finds. Raises RecipeError if the plugin fails or returns something other than a finding."""
    try:
        found = plugin(name)(tuple(messages), side, language)
    except RecipeError:
        raise
    except Exception as error:
        raise RecipeError(f"The check {name!r} failed: {type(error).__name__}: {error}.") from error
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


def sensitive(text: str, kinds: Sequence[str]) -> str:
    """Return a description of the first sensitive data found, without showing a key; "" if there are none."""
    for kind in kinds:
        if found := _FINDERS[kind](text):
            return found
    return ""


def _email(text: str) -> str:
    if "@" not in text:
        return ""
    addresses = (match[0] for match in compiled(_EMAIL).finditer(text))
    found = next((one for one in addresses if not _RESERVED(one.lower())), "")
    return f"has the e-mail address {found!r}" if found else ""


def _phone(text: str) -> str:
    for match in compiled(_NUMBER).finditer(text):
        if _is_phone(match[0]) and not _is_continued(text, match.start(), match.end()):
            return f"has the phone number {match[0].strip()!r}"
    return ""


def _is_phone(number: str) -> bool:
    """Return whether this is a phone number: by how it begins, its number of digits, and its groups."""
    digits = re.sub(r"\D", "", number)
    if not 8 <= len(digits) <= 15 or _DATE(number) or _FICTION(digits):
        return False
    if number.lstrip("( ").startswith("+"):
        return True
    if _NANP(number):
        return True
    is_grouped = len(re.findall(r"\d+", number)) in range(2, 6)
    return digits[0] == "0" and is_grouped and 9 <= len(digits) <= 13 and not number.startswith("0.")


def _is_continued(text: str, start: int, end: int) -> bool:
    """Return whether a number is part of something else: a word, an amount, an address."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return before.isalnum() or before in {"_", "$", "€", "£", "#", "=", "/"} or after.isalnum() or after in {"%", "_"}


def _key(text: str) -> str:
    for name, pattern in _KEYS.items():
        if compiled(pattern).search(text):
            return f"has {name}"
    values = (match[1] for match in compiled(_ASSIGNED).finditer(text))
    return "has a password or key" if any(map(_is_random, values)) else ""


def _is_random(value: str) -> bool:
    """Return whether a value looks random: digits among letters, and many different characters."""
    has_both = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return has_both and len(set(value)) >= min(10, len(value) - 2) and not _PLACEHOLDER(value.lower())


_EMAIL = r"[\pL\pN._%+\-]+@(?:[\pL\pN\-]+\.)+\pL\pL+"
_RESERVED = re.compile(r".*@(?:.*\.)?(?:example\.(?:com|org|net)|[^.]+\.(?:example|test|invalid|localhost))\Z").match
_NUMBER = r"\+?\(?\d[\d \x{a0}().\-/]{6,24}\d"
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}|(?:\d{1,3}\.){3}\d{1,3}\Z").match
_NANP = re.compile(r"(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}\Z").match
_FICTION = re.compile(r"1?\d{3}55501\d\d\Z|(?:44|0)(?:7700900|1632960|2079460)\d{3}\Z").match
_KEYS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an API key": r"\b(?:sk|pk|rk)[-_](?:[a-z]+[-_]){0,3}[A-Za-z0-9]{20,}",
    "a GitHub token": r"\b(?:gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "a Slack token": r"\bxox[abeprs]-[0-9A-Za-z\-]{10,}",
    "a Google key": r"\bAIza[0-9A-Za-z_\-]{35}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}",
}
_ASSIGNED = (
    r"(?i)(?:api[_ \-]?key|access[_ \-]?key|secret|token|passw(?:or)?d|passwort|contraseña|mot de passe)"
    r"[\"'`]?\s*(?::|=|is)\s*[\"'`]?([A-Za-z0-9_\-+/=.!$%&*]{8,200})"
)
_PLACEHOLDER = re.compile(r"your|example|sample|dummy|placeholder|xxx|<|\.\.\.|1234").search
_FINDERS: dict[str, Callable[[str], str]] = {"emails": _email, "phones": _phone, "keys": _key}
