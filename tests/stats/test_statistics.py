"""Test statistics: a replay and its rows give the same ones, by definitions that a reader can check by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue, FailedDraw
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Response
from consistent_chat.row import failures, row
from consistent_chat.stats import PAPER, SAMPLE, DialogueSample, Distribution, Failure, Statistics, words

RECIPE = Recipe(model="m", num_dialogs_per_intent=2, num_turns_per_dialog=2)


def dialogue(index: int, substitute: int = 0, failed: tuple[tuple[int, str, Reason], ...] = ()) -> Dialogue:
    """Return a dialogue of two turns with these unusable answers, each given as substitute, stage and reason."""
    plan = Plan(RECIPE)
    draws = tuple(
        FailedDraw(plan.spec(index, of), stage, 0, "key", reason, "detail", Response("no"))
        for of, stage, reason in failed
    )
    own = sum(of == substitute for of, *_ in failed)
    spec = plan.spec(index, substitute)
    return Dialogue(spec, ("one two", "three"), ("a b c", "d"), ("x", "y"), 2 + own, 100 + index, 50, draws)


DIALOGUES = [
    dialogue(0),
    dialogue(1, 0, ((0, "skeleton", Reason.NO_JSON), (0, "answers", Reason.TRUNCATED))),
    dialogue(2, 1, ((0, "skeleton", Reason.REFUSED),)),
    dialogue(3, 2, ((0, "skeleton", Reason.REFUSED), (1, "answers", Reason.REFUSED), (2, "skeleton", Reason.NO_JSON))),
]


def talk(*messages: str, intent: str = "i", category: str = "c") -> DialogueSample:
    """Return a dialogue of these messages, in which user and assistant alternate."""
    return DialogueSample(intent, category, "t", messages[::2], messages[1::2])


@pytest.mark.parametrize("layout", ["conversation", "messages", "sharegpt"])
def test_a_row_counts_like_the_dialogue_it_was_made_of(layout: str) -> None:
    """A row of any layout gives the same statistics as its dialogue.

    Substitutes are counted from the list of failed draws.
    """
    recipe = replace(RECIPE, layout=layout)
    for made in DIALOGUES:
        of_row, of_dialogue = DialogueSample.of_row(row(made, recipe), failures(made)), DialogueSample.of(made)
        assert Statistics([of_row]).total == Statistics([of_dialogue]).total


def test_a_third_stage_is_no_redraw() -> None:
    """A third response is not counted as a redraw if the dialogue has three request keys."""
    made = row(DIALOGUES[0], RECIPE)
    made["provenance"].update(draws=3, request_keys=["x", "y", "z"])
    failed = failures(DIALOGUES[2])
    assert DialogueSample.of_row(made, failed).substitutes == 1


def test_without_provenance_what_is_said_is_counted_all_the_same() -> None:
    """Messages are counted without provenance too, under no intent. A system prompt is not counted as an utterance."""
    made = row(DIALOGUES[0], replace(RECIPE, provenance=False))
    made["conversation"].insert(0, {"role": "system", "value": "be kind"})
    total = Statistics([DialogueSample.of_row(made)]).total
    assert list(Statistics([DialogueSample.of_row(made)]).intents) == [""]
    assert (total.utterances.mean, total.query_words.mean, total.input_tokens.sum, total.draws) == (4, 1.5, 0, 0)


def test_a_row_without_messages_says_what_it_lacks() -> None:
    """A row without messages raises a KeyError that names the missing columns."""
    with pytest.raises(KeyError, match="no column conversation or messages or conversations"):
        DialogueSample.of_row({"text": "hello"})


def test_the_papers_table_is_that_of_each_intent_and_of_all() -> None:
    """Statistics are computed for each intent and for all dialogues.

    They are the mean and maximum of utterances and words, redraws, substitutes and tokens.
    """
    statistics = Statistics(map(DialogueSample.of, DIALOGUES))
    total = statistics.total
    assert list(statistics.intents) == list(RECIPE.chosen_taxonomy.intents)[:4]
    assert total.dialogues == sum(group.dialogues for group in statistics.intents.values()) == 4
    assert (total.utterances.mean, total.utterances.largest) == (4, 4)
    assert (total.query_words.mean, total.query_words.largest) == (1.5, 2)
    assert (total.response_words.mean, total.response_words.largest) == (2, 3)
    assert [turn.mean for turn in total.queries] == [2, 1]
    assert total.reasons == {"refused": 3, "no_json": 2, "truncated": 1}
    assert total.failed[Failure("answers", "refused")] == 1
    assert (total.substitutes, total.draws) == (3, 11)
    assert (total.input_tokens.sum, total.output_tokens.sum) == (406, 200)
    assert PAPER.dialogues == 14_461


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Well-known facts, don't you think?", 5),
        ("a dash — stands alone - twice", 5),
        ("Vraiment\u202f! « oui »", 2),
        ("snake_case 3.14 **bold**", 3),
        ("हिन्दी में लिखो", 3),
        ("한국어 문장입니다", 2),
        ("你好\uff0c世界。", 4),
        ("GPT模型 und ひらがなカタカナー", 13),
        ("ไทย 3 คำ", 6),
    ],
)
def test_words_are_counted_by_one_plain_rule(text: str, count: int) -> None:
    """A word is a part between white space with a letter or digit. Scripts without spaces are counted by letter."""
    assert len(words(text)) == count


@given(st.lists(st.text(max_size=8), max_size=6))
def test_words_of_two_texts_are_those_of_each(texts: list[str]) -> None:
    """The number of words of joined texts is the sum of their numbers."""
    assert sum(len(words(text)) for text in texts) == len(words(" ".join(texts)))


def test_a_dialogue_that_was_there_before_is_a_duplicate() -> None:
    """A dialogue with the same messages in the same places is a duplicate.

    It counts under the intent of the later one.
    """
    statistics = Statistics([talk("hi", "ho"), talk("hi", "ho", intent="j"), talk("ho", "hi"), talk("hi ho", "")])
    assert statistics.total.duplicates == 1
    assert {key: group.duplicates for key, group in statistics.intents.items()} == {"i": 0, "j": 1}


def test_texts_that_differ_in_a_foreign_letter_are_no_duplicates() -> None:
    """Texts that differ in a letter beyond ASCII are not duplicates, and a lone surrogate causes no error."""
    assert Statistics([talk("é", "a"), talk("è", "a"), talk("\ud800", "a")]).total.duplicates == 0


def test_diversity_by_hand() -> None:
    """The diversity of two dialogues equals values computed by hand.

    There are eight words, six of them different, and four pairs of words, three of them different; one of three is
    shared.
    """
    diversity = Statistics([talk("The cat sat.", "x"), talk("the cat ran", "Y!")]).total.diversity
    assert diversity == (2, 6 / 8, 3 / 4, 1 / 3)
    assert Statistics([talk("the cat sat", "x")]).total.diversity.self_similarity == 0
    assert Statistics().total.diversity == (0, 0, 0, 0)


def test_what_is_all_the_same_is_as_similar_as_can_be() -> None:
    """Equal dialogues have a self-similarity of 1. They are sampled individually, even if they are most of the data."""
    assert Statistics([talk("a b", "c d")] * 300).total.diversity.self_similarity == 1
    mixed = [talk("a b", "c d") if number % 2 else talk(f"x{number} y", f"z{number} y") for number in range(2000)]
    assert Statistics(mixed).total.diversity.self_similarity == pytest.approx(0.25, abs=0.12)


def test_memory_is_bounded_by_a_sample_that_is_the_same_each_time() -> None:
    """Diversity is computed from a sample of bounded size that is the same each time."""
    talks = [talk(f"question {number}", f"answer {number}", intent=str(number % 2)) for number in range(1000)]
    one, other = Statistics(talks), Statistics(talks)
    assert len(one.total.sample) == SAMPLE
    assert sorted(one.total.sample) == sorted(other.total.sample)
    assert one.total.diversity == other.total.diversity


@given(st.lists(st.integers(0, 50), min_size=1))
def test_a_distribution_is_that_of_its_numbers(values: list[int]) -> None:
    """The mean, maximum and quantiles of a distribution are those of its list of numbers."""
    seen = Distribution(values)
    assert seen.mean == pytest.approx(sum(values) / len(values))
    assert seen.largest == seen.quantile(1) == max(values)
    assert sum(value <= seen.quantile(0.5) for value in values) * 2 >= len(values)
    assert seen.quantile(0) == min(values)
