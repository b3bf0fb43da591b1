"""Test that the user's changes to a card are kept: text around the generated part, keys of the header, a licence."""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub import DatasetCard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consistent_chat.card import card
from consistent_chat.card.readme import BEGIN, END
from consistent_chat.errors import ConsistentChatError
from tests.card.cards import CONFIGS, HOSTILE, about, dialogue, seen, values


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.text() | st.sampled_from(HOSTILE), st.text() | st.sampled_from(HOSTILE))
def test_text_written_around_it_stays(above: str, below: str) -> None:
    """Text around the generated part is kept to the letter, and only that part is replaced."""
    old = card(about(), seen(dialogue(0)))
    begin, end = old.index(BEGIN), old.index(END) + len(END) + 1
    assume("consistent_chat:" not in above)  # a marker in the user's text makes all of the card theirs
    written = f"{old[:begin]}{above}\n{old[begin:end]}{below}"
    new = card(about(), seen(), written)
    assert new.startswith(f"{old[:begin]}{above}\n{BEGIN}\n")
    assert new.endswith(f"\n{END}\n{below}")
    assert "\n<p>2 dialogues" in new
    assert "\n<p>1 dialogues" not in new
    assert card(about(), seen(), new) == new


@pytest.mark.parametrize(
    "text",
    [
        "# My data\n\nI wrote this, without a line break at its end",
        f"# My data\n\n{BEGIN}\nthe end is lost\n",
        f"# My data\n\n{END}\nthe begin is lost\n",
        f"{END}\n{BEGIN}\n",
        "---\nlicense: mit\n---\nonly a header and this\n",
        "\ufeff# A mark of byte order\n",
        "# Lines\r\nthat end\r\nas on Windows\r\n",
    ],
)
def test_a_card_without_its_markers_is_kept_whole(text: str) -> None:
    """A card without valid markers is kept completely and the generated part is appended.

    The next update replaces only that part.
    """
    own = DatasetCard(text.removeprefix("\ufeff")).text
    first = card(about(), seen(dialogue(0)), text)
    assert f"---\n{own}" in first
    then = card(about(), seen(), first)
    assert f"---\n{own}" in then
    assert "\n<p>2 dialogues" in then
    assert "\n<p>1 dialogues" not in then


def test_keys_that_a_user_sets_in_the_header_stay() -> None:
    """Keys that a user sets in the header are kept with their comments. Keys that depend on the build are set again."""
    mine = (
        "# about me\nlicense: cc0-1.0   # mine\nlanguage: [fr]\npretty_name: My data\ntags:\n- mine\n"
        "# a table of mine\nconfigs:\n- config_name: mine\n  data_files: mine.csv\n- config_name: default\n"
        "  data_files: old.csv\n# at last\nextra: {a: [1, 2]}\n"
    )
    text = card(about(), seen(), f"---\n{mine}---\nText\n")
    head = values(text)
    assert (head["license"], head["pretty_name"], head["tags"]) == ("cc0-1.0", "My data", ["mine"])
    assert (head["extra"], head["language"]) == ({"a": [1, 2]}, ["en"])
    assert head["configs"] == [*CONFIGS, {"config_name": "mine", "data_files": "mine.csv"}]
    assert head["size_categories"] == ["n<1K"]
    assert "# about me\nlicense: cc0-1.0   # mine\n" in text
    assert "# at last\nextra: {a: [1, 2]}\n" in text
    assert card(about(), seen(), text) == text
    assert values(card(about(licence="mit"), seen(), text))["license"] == "mit"


def test_a_licence_that_is_there_is_not_said_to_lack() -> None:
    """No missing licence is reported if one is given now, was given for an earlier card, or was written by the user."""
    assert "No licence was given" in card(about(), seen())
    for previous, licence in (
        ("", "mit"),
        ("---\nlicense: mit\n---\n", None),
        (card(about(licence="mit"), seen()), None),
    ):
        assert "No licence was given" not in card(about(licence=licence), seen(), previous)


def test_what_the_header_says_of_files_that_are_no_more_goes() -> None:
    """The entry of `dataset_info` for replaced files is removed.

    `push_to_hub` writes the numbers of rows there, and `load_dataset` checks them.
    """
    info = [{"config_name": "default", "splits": [{"name": "train", "num_examples": 1}]}, {"config_name": "mine"}]
    for noted, left in ((info, [{"config_name": "mine"}]), (info[0], None), ({"features": []}, None)):
        before = yaml.safe_dump({"dataset_info": noted})
        assert values(card(about(), seen(), f"---\n{before}---\n")).get("dataset_info") == left


@pytest.mark.parametrize(
    "head",
    [
        "{license: mit, tags: [a]}",
        "license: mit\nlicense: mit",
        "a: &x [1]\nlicense: mit\nb: *x",
        "a: '\u2028\u2028\u2028\x85'\nlicense: mit",
        "a: |\n  # none\n  b: 1\nlicense: mit",
    ],
)
def test_a_header_in_another_form_keeps_its_values(head: str) -> None:
    """A header in another YAML form keeps its values, even if its lines cannot be kept."""
    text = card(about(), seen(), f"---\n{head}\n---\n")
    assert values(text)["license"] == "mit"
    assert {**values(text), **yaml.safe_load(head)} == values(text)
    assert card(about(), seen(), text) == text


@pytest.mark.parametrize("head", ["license: [mit", "- a\n- b", "just text", "a: b: c"])
def test_a_header_that_cannot_be_read_is_said(head: str) -> None:
    """An unreadable header is an error before any of it is lost."""
    with pytest.raises(ConsistentChatError, match=r"top of README.md cannot be read: .* Correct it"):
        card(about(), seen(), f"---\n{head}\n---\nText\n")
