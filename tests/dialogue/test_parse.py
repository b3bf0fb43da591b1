"""Test the parser: the text around the JSON that it accepts, and the reasons for which it refuses answers."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consistent_chat.dialogue import parse
from consistent_chat.dialogue.parse import Reason, Unusable, is_empty, messages
from consistent_chat.recipe.rules import CHECK_NAMES
from consistent_chat.request import Response

LAW = settings(derandomize=True)
ASKED = ("user_1", "user_2")
ANSWERED = ("assistant_1", "assistant_2")
GOOD = '{"user_1": "Hello?", "user_2": "And then?"}'
SAID = ("Hello?", "And then?")
DRAFT = '{"user_1": "a draft", "user_2": "another"}'


PIECES = [
    '"a"',
    '"b"',
    '"\\u0061"',
    ":",
    ",",
    "{",
    "}",
    "[",
    "]",
    "1",
    "NaN",
    "null",
    " ",
    "\n",
    '"\\""',
    '"\\\\"',
    '"\\\\\\""',
]
PIECES += [
    '"a": "x"',
    '{"a": "x", ',
    '"b": "\\\\"}',
    '"b": "\\"}"}',
    '"\ud83d"',
    '"\\ud83d"',
    '"\x01"',
    '"a": "\\\\", "a": "y"',
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@example('{"a": "x", "a": "y"}')
@example('{"a\\\\": "x\\\\", "a\\\\": "y\\\\"}')
@example('{"a": "x", "\\u0061": "y"}')
def test_an_object_of_texts_is_read_as_the_slow_decoder_reads_it(text: str) -> None:
    """The quick reading of an answer gives the decoder's value, and leaves all other texts to the decoder."""
    quick = parse._texts(text)
    if quick is not None:
        value, end = parse._DECODER.raw_decode(text.strip())
        assert (value, end, type(value)) == (quick, len(text.strip()), dict)


def test_an_answer_of_texts_is_read_quickly() -> None:
    """Quotation marks, line breaks and letters of any script do not keep an answer from the quick reading."""
    said = {"assistant_1": 'She said "no".\nThen she left.', "assistant_2": "Ça va? 😀"}
    assert parse._texts(json.dumps(said)) == parse._texts(json.dumps(said, ensure_ascii=False)) == said


def said(text: str, names: tuple[str, ...] = ASKED) -> tuple[str, ...]:
    """Return the messages of a raw answer."""
    return messages(Response(text), names)


def refusal(text: str, names: tuple[str, ...] = ASKED, finish: str = "stop") -> Unusable:
    """Return why a raw answer is unusable."""
    with pytest.raises(Unusable) as caught:
        messages(Response(text, finish), names)
    return caught.value


def names_of(texts: list[str], role: str = "assistant") -> tuple[str, ...]:
    """Return as many keys as there are texts."""
    return tuple(f"{role}_{number}" for number in range(1, len(texts) + 1))


SNIPPETS = ["```python\nd = {'a': [1]}\n```"]
SNIPPETS += ['{"user_1": "x"}', '["x"]', "</think>", "<think>", "{", "]", "\\", '"', "\n"]
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.lists(st.sampled_from(SNIPPETS) | st.text(LETTERS, max_size=8), min_size=1).map("".join)
MESSAGES = st.lists(
    TEXT.map(str.strip).filter(lambda text: bool(text) and not is_empty(text, "assistant_1")), min_size=1, max_size=6
)
PROSE = st.sampled_from(
    ["", "Here you are:", "[1]", "}", 'It uses values["key"] and {x}.', 'They are ["one"], I think.', '{"note": "no"}']
)
REASONING = st.sampled_from(
    [
        "",
        f"<think>Perhaps {DRAFT}? No.</think>",
        f"<thinking>\n```json\n{DRAFT}\n```\n</thinking>",
        '<think>It begins with {"assistant_1": "</think>',
        'Let me see: {"assistant_1": "only one", "assistant_1": "twice"}</think>',
        "<think>" + 'x[i] = {y["z"]: [' * 300 + "</think>",
        "<Thought>{[</Thought>",
    ]
)


@LAW
@given(MESSAGES, PROSE, PROSE, REASONING, st.booleans(), st.booleans(), st.sampled_from([None, 2]))
def test_packaging_changes_no_message(
    texts: list[str], before: str, after: str, reasoning: str, fenced: bool, ascii_only: bool, indent: int | None
) -> None:
    """Reasoning with drafts, prose and fences around the JSON do not change a message."""
    names = names_of(texts)
    bare = json.dumps(dict(zip(names, texts)), ensure_ascii=ascii_only, indent=indent)
    body = f"```json\n{bare}\n```" if fenced else bare
    assert said(f"{reasoning}\n{before}\n{body}\n{after}", names) == tuple(texts)


@LAW
@given(MESSAGES, st.booleans(), st.booleans())
def test_a_list_of_as_many_texts_is_read_the_same_way(texts: list[str], fenced: bool, wrapped: bool) -> None:
    """A list of texts without keys is accepted if the number is right, because some models omit the keys."""
    body = json.dumps({"answers": texts} if wrapped else texts)
    assert said(f"```json\n{body}\n```" if fenced else body, names_of(texts)) == tuple(texts)


@LAW
@given(MESSAGES)
def test_raw_line_breaks_in_strings_are_kept(texts: list[str]) -> None:
    """Raw line breaks in strings are accepted although they are invalid JSON, because nothing is lost."""
    body = ", ".join(f'"{name}": "{"a" + chr(10) + str(n)}"' for n, name in enumerate(names_of(texts)))
    assert said(f"{{{body}}}", names_of(texts)) == tuple(f"a\n{n}" for n in range(len(texts)))


def test_the_order_is_that_of_the_turns() -> None:
    """Messages are in the order of their numbers, not in the order in which the model wrote the keys."""
    assert said('{"user_2": "And then?", "user_1": "Hello?"}') == SAID


def test_white_space_around_a_message_goes() -> None:
    """White space around a message is removed; white space inside it stays."""
    assert said('{"user_1": "  a \\n b\\n", "user_2": "c"}') == ("a \n b", "c")


def test_code_fences_inside_an_answer_survive() -> None:
    """Code fences inside an answer are part of it, even if the JSON itself is in a fence."""
    code = 'Try this:\n```python\nprint({"a": ["b", "c"]})\n```\nand look.'
    body = json.dumps({"assistant_1": code, "assistant_2": "Good."})
    assert said(f"```json\n{body}\n```", ANSWERED) == (code, "Good.")


USED = {
    "the last of several drafts": f"{DRAFT}\nBetter:\n{GOOD}",
    "a list in the prose after it": f'{GOOD}\nThe words are\n["x", "y"]',
    "other objects in the prose after it": f'{GOOD}\n{{"turns": 2}}',
    "a draft with a repeated key": f'{{"user_1": "a", "user_1": "b"}} becomes {GOOD}',
    "a thousand brackets before it": f"{'a[i] = {x} [1] ' * 1000}{GOOD}",
    "a thousand sets before it": '{"a", 1} ' * 1000 + GOOD,
    "a closing tag without an opening one": f"{DRAFT}\n</think>\n{GOOD}",
    "a byte order mark": f"\ufeff{GOOD}",
}


@pytest.mark.parametrize("text", USED.values(), ids=USED.keys())
def test_the_answer_is_found(text: str) -> None:
    """The answer is found among drafts, prose, other objects and unbalanced brackets."""
    assert said(text) == SAID


A = Reason
CUT = '{"user_1": "Hello?", "user_2": "And th'
REFUSED: list[tuple[str, tuple[str, ...], Reason, str]] = [
    ("I would rather not write this.", ASKED, A.NO_JSON, "no JSON object in 30 characters"),
    ("", ASKED, A.NO_JSON, "no JSON object in 0 characters"),
    (CUT, ASKED, A.NO_JSON, "no JSON object in 38 characters"),
    (f"<think>{DRAFT}</think> I cannot.", ASKED, A.NO_JSON, "no JSON object in 67 characters"),
    (f"<Think>{DRAFT}</Think> I cannot.", ASKED, A.NO_JSON, "no JSON object in 67 characters"),
    ('Use values["key"] or x["a"], x["b"].', ("user_1",), A.NO_JSON, "no JSON object in 36 characters"),
    ('{"user_1": "say "hi", ["a", "b"] or", "user_2": "c"}', ASKED, A.NO_JSON, "no JSON object in 52 characters"),
    ('{"messages": {"user_1": "a", "user_2": "b"}}', ASKED, A.WRONG_SHAPE, "an object without 'user_1'"),
    ('[{"role": "user", "content": "a"}]', ASKED, A.WRONG_SHAPE, "list instead of an object with 'user_1'"),
    ('{"error": "no"}', ASKED, A.WRONG_SHAPE, "an object without 'user_1'"),
    ("null", ASKED, A.WRONG_SHAPE, "NoneType instead of an object with 'user_1'"),
    ('"Hello?"', ASKED, A.WRONG_SHAPE, "str instead of an object with 'user_1'"),
    ('{"user_1": "a", "user_1": "b"}', ASKED, A.REPEATED_KEY, "a JSON object has the same key twice"),
    ('```json\n{"user_1": "a", "user_1": "b"}\n```', ASKED, A.REPEATED_KEY, "a JSON object has the same key twice"),
    ('{"user_1": "a"}', ASKED, A.WRONG_TURN_COUNT, "1 messages instead of 2"),
    ('{"user_1": "a", "user_2": "b", "user_3": "c"}', ASKED, A.WRONG_TURN_COUNT, "3 messages instead of 2"),
    ('["a", "b", "c"]', ASKED, A.WRONG_TURN_COUNT, "3 messages instead of 2"),
    ('{"user_1": "a", "user_3": "b"}', ASKED, A.WRONG_TURN_COUNT, "no 'user_2', but another key in its place"),
    ('{"user_1": "a", "user_2": " \\n"}', ASKED, A.EMPTY_MESSAGE, "'user_2' is empty"),
    ('{"user_1": 3, "user_2": "b"}', ASKED, A.NOT_TEXT, "'user_1' is of type int"),
    ('{"user_1": ["a"]}', ("user_1",), A.NOT_TEXT, "'user_1' is of type list"),
    ('{"user_1": null, "user_2": "b"}', ASKED, A.NOT_TEXT, "'user_1' is of type NoneType"),
    ('{"assistant_1": "a", "assistant_2": null}', ANSWERED, A.UNANSWERED, "'assistant_2' is null"),
    ('{"assistant_1": "a", "assistant_2": ""}', ANSWERED, A.UNANSWERED, "'assistant_2' is empty"),
    ('{"assistant_1": "a", "assistant_2": "\u200b\u2060"}', ANSWERED, A.UNANSWERED, "'assistant_2' is empty"),
    ('{"assistant_1": "a", "assistant_2": "N/A"}', ANSWERED, A.UNANSWERED, "'assistant_2' is empty"),
    ('{"assistant_1": "a", "assistant_2": "[]"}', ANSWERED, A.UNANSWERED, "'assistant_2' is empty"),
    ('{"user_1": "a", "user_2": "NULL"}', ASKED, A.EMPTY_MESSAGE, "'user_2' is empty"),
    ('{"assistant_1": "a"}', ANSWERED, A.UNANSWERED, "no 'assistant_2'"),
    ('{"user_1": "a\\u0000", "user_2": "b"}', ASKED, A.BAD_CHARACTER, "'user_1' has NUL or a lone surrogate"),
    ('{"user_1": "a\\ud83d", "user_2": "b"}', ASKED, A.BAD_CHARACTER, "'user_1' has NUL or a lone surrogate"),
    ('{"user_1": "é\\u0000", "user_2": "b"}', ASKED, A.BAD_CHARACTER, "'user_1' has NUL or a lone surrogate"),
]


@pytest.mark.parametrize(("text", "names", "reason", "detail"), REFUSED)
def test_a_bad_answer_is_refused_by_name(text: str, names: tuple[str, ...], reason: Reason, detail: str) -> None:
    """A bad answer is refused with its reason; the parser does not repair, shorten, pad or invent anything."""
    error = refusal(text, names)
    assert (error.reason, error.detail) == (reason, detail)
    assert str(error) == f"{reason.value}: {detail}"


def test_a_refusal_and_a_cut_are_the_providers_word() -> None:
    """A finish of "refusal" or "length" makes a response unusable even if its text looks complete."""
    assert refusal(GOOD, finish="refusal").reason is Reason.REFUSED
    assert refusal(GOOD, finish="length").reason is Reason.TRUNCATED
    assert messages(Response(GOOD, "eos"), ASKED) == SAID


def test_every_reason_is_reached() -> None:
    """The list of refused answers covers every reason of the parser.

    The checks, comparisons and the judge have other reasons.
    """
    of_the_judge = {Reason.NO_SCORE, Reason.LOW_SCORE, Reason.NO_PREFERENCE}
    of_the_user = {Reason.RULE, Reason.REJECTED, Reason.CONTAMINATED}
    of_others = {Reason.NEAR_DUPLICATE, *of_the_user, *of_the_judge, *map(Reason, CHECK_NAMES)}
    of_the_parser = set(Reason) - of_others
    assert {reason for _, _, reason, _ in REFUSED} | {Reason.REFUSED, Reason.TRUNCATED} == of_the_parser


def test_the_names_of_reasons_are_kept_in_ledgers() -> None:
    """The names of reasons do not change, because recipes and reports contain them."""
    values = "refused truncated no_json wrong_shape repeated_key wrong_turn_count empty_message not_text"
    values += " unanswered_question bad_character near_duplicate"
    values += " answers_itself leaks_prompt empty_courtesy broken_off mentions_list"
    values += " repeats mixed_roles wrong_language no_words garbled leftovers numbered loops placeholder foreign_script"
    values += " boilerplate leaks_reasoning swapped_roles no_score low_score grounded rule rejected"
    values += " contaminated no_preference"
    assert [reason.value for reason in Reason] == values.split()


PIECES = ["{", "}", "[", "]", '"', ":", ",", "\\", "\n", "```", "</think>", "<think>"]
PIECES += ["user_1", '"user_1":', "1e9", "null"]


@LAW
@given(st.text(st.characters(), max_size=40) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_messages_or_unusable(text: str) -> None:
    """Any text gives non-empty messages or raises Unusable, and never another exception."""
    try:
        found = said(text)
    except Unusable:
        return
    assert len(found) == 2
    assert all(isinstance(message, str) and message for message in found)


SIZE = 300_000
HOSTILE = ["{", "[", '{"a":', '{"a":1,', '["', '{"a":"', "[\n", '[["a"],\n']
HOSTILE += ['{"a":1}\n', "</think>", '</think>{"a":1}', "\\"]
HOSTILE += [GOOD, '{"user_1":"a"} ', "[" + "9" * 5000 + "]", '{"', "\n", " "]
NESTED = [f"{opening * 190}[{'0,' * (SIZE // 2)}" for opening in ('{"a":"', '{"a":', '[\n["a",', '{"a":["')]


@pytest.mark.parametrize("text", [*(h * (SIZE // len(h)) for h in HOSTILE), *NESTED], ids=lambda text: text[:12])
def test_hostile_text_costs_bounded_time(text: str) -> None:
    """A hostile text of 300 KB is parsed in tenths of a second; in quadratic time it would take minutes."""
    started = time.process_time()
    try:
        assert said(text) == SAID
    except Unusable as error:
        assert error.reason in (Reason.NO_JSON, Reason.WRONG_SHAPE, Reason.WRONG_TURN_COUNT)  # noqa: PT017
    assert time.process_time() - started < 3


EMPTY = [
    "\u200b" * 100,
    "\u3164\u2800",
    "\ufe0f\u200d",
    "null",
    " NULL. ",
    "N/A",
    "n.a.",
    "**N/A**",
    "[null]",
    "\uff2e\uff0f\uff21",
    "[]",
]
EMPTY += ["{ }", "...", "…", "-", "—", "___", "```\n```", '""', "." * 200, "?"]


@pytest.mark.parametrize("text", EMPTY)
def test_an_answer_that_shows_nothing_is_empty(text: str) -> None:
    """An answer is empty if it has only invisible characters, only punctuation, or a text such as "null" or "N/A"."""
    assert is_empty(text, "assistant_1")


@pytest.mark.parametrize(
    "text", ["42", "👍", "+", "é", "क", "null and void", "No.", "None.", "N/A for a reason", "x" * 100]
)
def test_an_answer_that_says_something_is_not_empty(text: str) -> None:
    """An answer with any content is not empty, even one of a single character."""
    assert not is_empty(text, "assistant_1")


@pytest.mark.parametrize(
    ("text", "empty"), [("?", False), ("...", False), ("none", False), ("null", True), ("\u200b", True)]
)
def test_users_may_write_marks_alone(text: str, empty: bool) -> None:
    """A user message may be punctuation only, as people write it, but not an invisible character or "null"."""
    assert is_empty(text, "user_1") is empty
