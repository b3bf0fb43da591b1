"""Near-duplicates are found in any script, as exact comparison finds them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from consistent_chat.duplicates import LEAST, THRESHOLD, NearDuplicates, dialogue_text, near_duplicates, sketched
from tests.drivers.similarity import similarity

WORDS = [f"word{number}" for number in range(40)]


TEXTS = st.lists(st.lists(st.sampled_from(WORDS[:12]), min_size=1, max_size=12).map(" ".join), max_size=12)


def one_by_one(texts: list[str], threshold: float) -> list[tuple[int, int, float]]:
    """Compare every text with every text that was kept, without an index."""
    kept: list[int] = []
    found = []
    for number, text in enumerate(texts):
        like = [(other, similarity(texts[other], text)) for other in kept]
        near = [(number, other, value) for other, value in like if value >= threshold]
        found += near[:1]
        kept += [] if near else [number]
    return found


@pytest.mark.slow
@settings(derandomize=True)
@given(TEXTS, st.sampled_from([LEAST, 0.35, 0.5, THRESHOLD, 0.8, 1.0]))
def test_the_index_finds_what_comparing_all_would(texts: list[str], threshold: float) -> None:
    """The index gives the exact similarities and the first kept matches that comparing all texts gives."""
    found = near_duplicates(texts, threshold)
    assert list(found.matches) == one_by_one(texts, threshold)
    assert found.texts == len(texts)


@pytest.mark.slow
def test_next_to_none_is_overlooked_right_at_the_threshold() -> None:
    """All 300 pairs just above the threshold are found; each pair shares 83 of 117 runs of words (0.709)."""
    pairs = [
        ([f"{n}w{w}" for w in range(102)], [f"{n}w{w}" if w < 85 else f"{n}x{w}" for w in range(102)])
        for n in range(300)
    ]
    found = near_duplicates(" ".join(words) for pair in pairs for words in pair)
    assert {match.similarity for match in found.matches} == {83 / 117}
    assert len(found.matches) == 300


def edited(text: str, words: int) -> str:
    """Replace a number of words of a text, evenly spread."""
    parts = text.split()
    for number in range(words):
        parts[number * len(parts) // words] = f"other{number}"
    return " ".join(parts)


@pytest.fixture(scope="module")
def written() -> list[str]:
    """Return the user messages of the demo's dialogues."""
    rows = load_dataset("consistent_chat", "demo", split="train")
    return [dialogue_text([message["value"] for message in row["conversation"][::2]]) for row in rows]


@pytest.mark.slow
def test_written_dialogues_are_no_duplicates(written: list[str]) -> None:
    """The demo's dialogues and even their halves, which share a subject, are not near-duplicates."""
    assert near_duplicates(written, 0.2).matches == ()
    halves = [part for text in written for part in (text[: len(text) // 2], text[len(text) // 2 :])]
    assert near_duplicates(halves, 0.2).matches == ()


def test_a_dialogue_that_was_edited_a_little_is_one(written: list[str]) -> None:
    """One word in twenty replaced, or capitals without punctuation, makes a duplicate; one word in five does not."""
    shouted = "".join(character for character in written[0].upper() if character.isalnum() or character.isspace())
    few, many = (edited(written[0], len(written[0].split()) // every) for every in (20, 5))
    found = near_duplicates([*written, few, many, shouted])
    assert [(match.number, match.earlier) for match in found.matches] == [(18, 0), (20, 0)]
    assert 0.7 < found.matches[0].similarity < 0.8
    assert found.clusters == {0: [18, 20]}
    assert found.rate == 2 / 21


@pytest.mark.parametrize(
    ("one", "like", "other"),
    [
        (
            "昨日焼いたパンが膨らみませんでした。酵母が古いのでしょうか、それとも部屋が寒すぎたのでしょうか。",
            "昨日焼いたパンが膨らみませんでした。酵母が古いのでしょうか、それとも台所が寒すぎたのでしょうか?",
            "来週から夜勤が始まります。昼間によく眠るには、どのように部屋を暗くすればいいのでしょうか。",
        ),
        (
            "ขนมปังที่อบเมื่อวานไม่ขึ้นฟูเลย ยีสต์เก่าเกินไปหรือเปล่า",
            "ขนมปังที่อบเมื่อวานไม่ขึ้นฟูเลย ยีสต์เก่าไปหรือเปล่า",
            "สัปดาห์หน้าฉันต้องทำงานกะกลางคืน จะนอนตอนกลางวันอย่างไรดี",
        ),
        (
            "خبزي الذي خبزته أمس لم ينتفخ أبدا، هل الخميرة قديمة أم أن المطبخ بارد جدا في هذا الشتاء؟",
            "خبزي الذي خبزته أمس لم ينتفخ أبدا! هل الخميرة قديمة أم أن المطبخ بارد جدا في هذا الخريف؟",
            "سأعمل ليلا من الأسبوع القادم، كيف أنام في النهار وغرفتي مضيئة والجيران يعملون في الحديقة؟",
        ),
    ],
)
def test_scripts_with_and_without_spaces(one: str, like: str, other: str) -> None:
    """Similar texts are found in Japanese, Thai and Arabic; without spaces, each character counts as a word."""
    assert [(match.number, match.earlier) for match in near_duplicates([one, other, like]).matches] == [(2, 0)]


def test_sketches_are_the_same_everywhere() -> None:
    """The numbers of a sketch are fixed and the same on every machine."""
    assert sketched("a b c").shingles.tolist() == [8388279268673178672]
    values = sketched("Is it far to the station?").minhash.hashvalues[:4].tolist()
    assert values == [531203927, 603585952, 2850949586, 573103139]


def test_texts_of_no_words() -> None:
    """Texts without words are all equal, and an empty list has a rate of 0."""
    assert [match.number for match in near_duplicates(["", "?!", "words", "\n"]).matches] == [1, 3]
    assert near_duplicates([]) == NearDuplicates(0, ())
    assert near_duplicates([]).rate == 0.0


def test_any_text_can_be_compared() -> None:
    """Half of a surrogate pair, a very long word and very many words can be compared."""
    odd = ["\ud800 half", "x" * 1_000_000, " ".join(map(str, range(50_000)))]
    assert [match.earlier for match in near_duplicates([*odd, *odd]).matches] == [0, 1, 2]


def test_it_is_imported_only_when_it_is_needed() -> None:
    """The import of datasketch takes a second, so it is imported only when it is needed."""
    script = "import sys, consistent_chat.cli, consistent_chat.duplicates; sys.exit('datasketch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
