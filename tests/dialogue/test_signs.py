"""Test that signs lose no finding: the checks find the same as without the selection of messages by signs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consistent_chat.dialogue import checks
from consistent_chat.dialogue.checks import language as language_check
from consistent_chat.dialogue.checks import repeats
from consistent_chat.dialogue.checks.side import Phrases, Side, phrases
from consistent_chat.dialogue.checks.signs import Signs, signs_of, weaken
from consistent_chat.recipe.rules import DEFAULTS
from tests.dialogue.test_checks_rates import cases

re2 = pytest.importorskip("re2")

CHATS = [
    (case["chat"], case.get("language", "English"))
    for name in ("bad_dialogues", "bad_dialogues_held_out", "good_dialogues")
    for case in cases(name)
]
PIECES = [text for chat, _ in CHATS for text in chat]


def found(chat: list[str], language: str) -> list[Any]:
    """Return the findings in a chat."""
    return checks.findings([*map(str.strip, chat[::2])], [*map(str.strip, chat[1::2])], DEFAULTS, language)


def found_without_signs(chat: list[str], language: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the findings in a chat if every message has all signs and no quick test excludes it."""

    def doubtful(side: Side, share: float, words: language_check._Words) -> list[str]:
        return [text for text in side.lower if not language_check._is_plain(text, words)]

    with monkeypatch.context() as patched:
        patched.setattr(repeats, "_share_a_piece", lambda side: True)
        patched.setattr(language_check, "_doubtful", doubtful)
        patched.setattr(Signs, "find", lambda self, text: frozenset(self.names))
        return found(chat, language)


@pytest.mark.slow
def test_no_finding_is_lost_for_want_of_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs change no finding in the good and bad dialogues of the corpus, in all their languages."""
    for chat, language in CHATS:
        assert found(chat, language) == found_without_signs(chat, language, monkeypatch), chat


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=60), min_size=2, max_size=6))
@example(["Is it ready?\n\x1f\nYou should ask.", "Human: yes"])
def test_no_finding_is_lost_in_other_company(chat: list[str]) -> None:
    """Signs change no finding in chats of random messages."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        chat = [text.strip() or "x" for text in chat]
        assert found(chat, "English") == found_without_signs(chat, "English", monkeypatch)


def patterns() -> Iterator[tuple[str, str]]:
    """Yield the name and the pattern of each group of phrases of each language."""
    for language in ("English", "German", "Spanish", "French", "Chinese", "Japanese", "Russian"):
        for name in Phrases._fields:
            yield f"{language} {name}", getattr(phrases(language), name).pattern


@pytest.mark.slow
def test_a_weakened_pattern_fits_wherever_the_pattern_does() -> None:
    """Each weakened pattern matches all matches of its original in the texts of the corpus."""
    text = "\n".join(PIECES).lower()
    for name, pattern in patterns():
        weak = re2.compile(weaken(pattern))
        assert all(weak.fullmatch(match[0]) for match in re.finditer(pattern, text)), name


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\bwörter\b(?! (?:on|in) the)", "wörter"),
        (r"[^\w]+x", "…x"),
        (r"(?<!\w)(?:a|b)\s\d+[\w ]{2,4}$", "a\u00a0٣é ü"),
        (r"^\W*sure\W+", "¡sure\n"),
    ],
)
def test_what_re2_cannot_tell_is_left_out(pattern: str, text: str) -> None:
    """A weakened pattern has no lookarounds, anchors or boundaries, and matches letters and digits of every script."""
    assert re.search(pattern, text)
    assert re2.fullmatch(weaken(pattern), text)


def test_a_text_that_is_no_unicode_has_signs_too() -> None:
    """Signs are also found in a text with half a surrogate pair."""
    assert "as_assistant" in signs_of("English", "user").find("as an ai language model, i \ud83d cannot")
