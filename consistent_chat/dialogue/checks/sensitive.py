"""Sensitive data in a text: e-mail addresses, phone numbers and keys, found by their form.

Data that can belong to no one is not sensitive: domains that are reserved for examples (RFC 2606, RFC 6761), and
numbers that are reserved for fiction (NANP 555-01xx; Ofcom's numbers for drama).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from consistent_chat.recipe.rules import compiled


def sensitive(text: str, kinds: Sequence[str]) -> str:
    """Return what is found, of which kind, without showing a key; "" if nothing is."""
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
    """Tell a phone number by how it begins, its number of digits, and its groups."""
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
    """Tell whether a number is a part of something else: a word, an amount, an address."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return before.isalnum() or before in {"_", "$", "€", "£", "#", "=", "/"} or after.isalnum() or after in {"%", "_"}


def _key(text: str) -> str:
    for name, pattern in _KEYS.items():
        if compiled(pattern).search(text):
            return f"has {name}"
    values = (match[1] for match in compiled(_ASSIGNED).finditer(text))
    return "has a password or key" if any(map(_is_random, values)) else ""


def _is_random(value: str) -> bool:
    """Tell whether a value looks drawn at random: digits among letters, and many different characters."""
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
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of an API": r"\b(?:sk|pk|rk)[-_](?:[a-z]+[-_]){0,3}[A-Za-z0-9]{20,}",
    "a token of GitHub": r"\b(?:gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{30,}",
    "a token of Slack": r"\bxox[abeprs]-[0-9A-Za-z\-]{10,}",
    "a key of Google": r"\bAIza[0-9A-Za-z_\-]{35}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}",
}
_ASSIGNED = (
    r"(?i)(?:api[_ \-]?key|access[_ \-]?key|secret|token|passw(?:or)?d|passwort|contraseña|mot de passe)"
    r"[\"'`]?\s*(?::|=|is)\s*[\"'`]?([A-Za-z0-9_\-+/=.!$%&*]{8,200})"
)
_PLACEHOLDER = re.compile(r"your|example|sample|dummy|placeholder|xxx|<|\.\.\.|1234").search
_FINDERS: dict[str, Callable[[str], str]] = {"emails": _email, "phones": _phone, "keys": _key}
