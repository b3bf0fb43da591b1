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
from consistent_chat.dialogue.checks import repeats, titles
from consistent_chat.dialogue.checks.side import APART, FIELDS, Side, listed, phrases
from consistent_chat.dialogue.checks.signs import ANYWHERE, Signs, anywhere, signs_of, weaken
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
        patched.setattr(repeats, "_digits", lambda text: frozenset({b"0"}))
        patched.setattr(repeats, "_share_a_piece", lambda texts, joined: True)
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
        for name in FIELDS:
            yield f"{language} {name}", getattr(phrases(language), name).pattern


@pytest.mark.slow
def test_a_weakened_pattern_fits_wherever_the_pattern_does() -> None:
    """Each weakened pattern matches all matches of its original in the texts of the corpus."""
    text = "\n".join(PIECES).lower()
    for name, pattern in patterns():
        weak = re2.compile(weaken(pattern))
        assert all(weak.fullmatch(match[0]) for match in re.finditer(pattern, text)), name


@pytest.mark.slow
def test_the_sign_of_phrases_occurs_wherever_one_of_them_does() -> None:
    """The pattern for a field of the phrases matches where a phrase does, together with the character before it."""
    texts = [text.lower() for text in PIECES]
    for language in ("English", "German", "Spanish", "French", "Chinese", "Japanese", "Russian"):
        for name in {*ANYWHERE["user"], *ANYWHERE["assistant"]}:
            sign, phrase = re2.compile(anywhere(listed(name, language))), getattr(phrases(language), name)
            assert all(sign.search(f"\n{text}") for text in texts if phrase.search(text)), (language, name)


@pytest.mark.parametrize("language", ["English", "German", "Spanish", "French", "Italian", "Portuguese", "Russian"])
def test_a_boundary_stands_before_a_word(language: str) -> None:
    """What follows a boundary at the start of a phrase is a letter or digit: only so another character is before it."""
    for name in {*ANYWHERE["user"], *ANYWHERE["assistant"]}:
        for regex in listed(name, language):
            assert all(re.match(r"(?:\(\?:)*[^\W_]", rest) for rest in re.findall(r"(?:^|\|)\\b(.+)", regex)), regex


@pytest.mark.parametrize("regexes", [[r"\ba|b", r"^\W*c\b", "(?:^|x)d|^e"], [r"\ba"], ["b", r"\?\bd"]])
@pytest.mark.parametrize("text", ["a", "-a", "xa", "b", "xb", "c", "(c", "xd", "e", "?d", ""])
def test_where_a_phrase_begins_with_a_word_the_sign_has_the_character_before(regexes: list[str], text: str) -> None:
    """A text of a phrase has its sign, if a character is before it that is not of a word."""
    assert not re.search("|".join(regexes), text) or re2.search(anywhere(regexes), f"\n{text}")
    assert not re2.search(anywhere([r"\ba", r"^c"]), "xa xc")


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


@given(st.lists(st.text("12٣५ab_.,: é\ud83d\n", max_size=12), min_size=2, max_size=2), st.randoms())
@example(["1,5 b2", "b2 1,5"], None)
def test_texts_with_the_same_numbers_have_the_same_digits(texts: list[str], random: Any) -> None:
    """Two texts with the same numbers, also in another order, are not taken for different by their digits."""
    if random is not None:
        words = texts[0].split()
        random.shuffle(words)
        texts.append(" ".join(words))
    one, *others = texts
    for other in others:
        assert repeats._numbers(one) != repeats._numbers(other) or repeats._digits(one) == repeats._digits(other)


@pytest.mark.parametrize("around", ["{}", "- {}:\nAnd more.", "{}. And more.", "{}!\nAnd more.", "* {} -"])
def test_a_sentence_of_a_prompt_begins_its_message(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign of a prompt's sentences, which it has at the start of a message, loses none that the check finds."""
    for sentence in sorted(titles._prompted())[::7]:
        for chat in (["Is it far?", around.format(sentence)], ["Hm.", "Yes.", around.format(sentence), "No."]):
            assert found(chat, "English") == found_without_signs(chat, "English", monkeypatch), chat
            assert around[0] != "{" or "leaks_prompt" in [finding.reason for finding in found(chat, "English")], chat


def test_where_a_hint_occurs_its_pattern_is_searched_for() -> None:
    """A name with a hint is found where its pattern matches, and not where only the hint does."""
    signs = Signs({"two": "a[^a]*a", "three": "c"}, {"two": "a"})
    texts = ("", "a", "abba", "ac", "abac", "c")
    assert [signs.find(text.encode()) for text in texts] == [
        frozenset(),
        frozenset(),
        {"two"},
        {"three"},
        {"two", "three"},
        {"three"},
    ]


@given(st.lists(st.sampled_from(["1. a", "2) b", "turn 3: c", "a", "(4", "\n6. x"]) | st.text(max_size=9), max_size=5))
def test_numbers_have_their_hint(texts: list[str]) -> None:
    """The hint of numbered messages occurs wherever their sign does."""
    patterns, text = signs_of("English", "user")._patterns, APART.join(["", *texts, ""]).lower()
    hint, pattern = (re2.compile(name) for name in (signs_of("English", "user")._hints["marked"], patterns["marked"]))
    assert hint.search(text) or not pattern.search(text)


def test_a_text_that_is_no_unicode_has_signs_too() -> None:
    """Signs are also found in a text with half a surrogate pair."""
    messages = ["As an AI language model, I \ud83d cannot"]
    side = Side(messages, "user", messages, "English", DEFAULTS, signs_of("English", "user").find)
    assert "as_assistant" in side.signs
