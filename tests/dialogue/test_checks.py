"""Test the message checks: good texts of many kinds have no findings, and bad texts are reported with their reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from consistent_chat import drivers
from consistent_chat.builder.config import DEMO
from consistent_chat.dialogue import checks
from consistent_chat.dialogue.checks import roles
from consistent_chat.dialogue.checks.language import _bare
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import Plan, Spec
from consistent_chat.recipe import Recipe, taxonomy
from consistent_chat.recipe.rules import DEFAULTS
from consistent_chat.store import ResponseStore

TEXTS = Path(__file__).parent / "texts"
GOOD: dict[str, dict[str, list[str]]] = yaml.safe_load((TEXTS / "good.yaml").read_text("utf-8"))
BAD: dict[str, dict[str, list[Any]]] = yaml.safe_load((TEXTS / "bad.yaml").read_text("utf-8"))
SPEC = replace(
    Plan(Recipe()).spec(0),
    topic="tyre sidewall codes on vans, tractors and touring bicycles",
    persona="a fishmonger who opens the stall before dawn",
    manner=("hesitant", "unsure, qualifies statements, asks whether a question is a silly one"),
)
LISTED = "Going through the list of questions you sent: yes, and to the fourth question, no."
ASKED = ("My machine stops halfway.", "What now?", "And then?")


def finding(side: str, messages: tuple[str, ...], recipe: Recipe, spec: Spec = SPEC) -> str:
    """Return the name of the check that fails for the messages of a side, or an empty string."""
    try:
        if side == "users":
            checks.users(messages, spec, recipe)
        else:
            checks.answers(messages, ASKED * (len(messages) // len(ASKED) + 1), recipe)
    except Unusable as error:
        return error.reason.value
    return ""


def good() -> Iterator[Any]:
    """Yield each good text with its side and language."""
    for language, sides in GOOD.items():
        for side, texts in sides.items():
            for number, text in enumerate(texts):
                yield pytest.param(side, text, language, id=f"{language}-{side}-{number}")


def bad() -> Iterator[Any]:
    """Yield each bad text with its expected reason, side and language.

    The group of a text in the file is its side or its language.
    """
    side_of = {"answers_itself": "users", "leaks_prompt": "users"}
    for reason, groups in BAD.items():
        for group, texts in groups.items():
            side = group if group in ("users", "answers") else side_of.get(reason, "answers")
            language = "English" if group == side else group
            for number, text in enumerate(texts):
                yield pytest.param(reason, side, text, language, id=f"{reason}-{group}-{number}")


@pytest.mark.parametrize(("side", "text", "language"), list(good()))
def test_a_good_text_gives_no_alarm(side: str, text: str, language: str) -> None:
    """No check fails on a good text: short and long ones, lists, code, verse, role play, quotations, other scripts."""
    assert finding(side, (text,), Recipe(language=language)) == ""


@pytest.mark.parametrize("language", [language for language in GOOD if len(GOOD[language]["users"]) > 1])
@pytest.mark.parametrize("side", ["users", "answers"])
def test_good_texts_together_give_no_alarm(side: str, language: str) -> None:
    """No check fails if all good texts of a language are the messages of one side."""
    assert finding(side, tuple(GOOD[language][side]), Recipe(language=language)) == ""


@pytest.mark.parametrize(("reason", "side", "text", "language"), list(bad()))
def test_a_bad_text_gives_its_reason(reason: str, side: str, text: Any, language: str) -> None:
    """A bad text is reported with its reason, also if that check is the only one.

    It has no finding if all checks are off.
    """
    messages = (text,) if isinstance(text, str) else tuple(text)
    assert finding(side, messages, Recipe(language=language)) == reason
    others = {name: False for name in DEFAULTS if name != reason}
    assert finding(side, messages, Recipe(language=language, checks=others)) == reason
    assert finding(side, messages, Recipe(language=language, checks=False)) == ""


def demo() -> list[Dialogue]:
    """Return the dialogues of the demo."""
    recipe = Recipe.from_file(str(DEMO / "demo.consistent_chat.yaml"))
    store = ResponseStore(str(DEMO / "responses"))
    return list(drivers.run(recipe, range(18), store, None, Limits(), RunStats()))


def test_the_demo_passes() -> None:
    """The checks find nothing in the 216 carefully written messages of the demo.

    The demo's failed draws have other reasons.
    """
    assert {draw.reason for made in demo() for draw in made.failed} <= {
        Reason.WRONG_TURN_COUNT,
        Reason.TRUNCATED,
        Reason.NO_JSON,
    }


@pytest.mark.parametrize("language", ["German", "French", "Chinese", "Russian", "Thai", "Brazilian Portuguese"])
def test_a_side_in_another_language_is_found(language: str) -> None:
    """English messages are reported as `wrong_language` if the recipe asks for another language."""
    for made in demo()[:4]:
        recipe = Recipe(language=language)
        assert finding("users", made.user_messages, recipe) == "wrong_language"
        with pytest.raises(Unusable, match="assistant messages in English instead of"):
            checks.answers(made.answers, made.user_messages, recipe)


@pytest.mark.parametrize("language", ["German", "Spanish", "French", "Chinese", "Japanese", "Norwegian", "Indonesian"])
@pytest.mark.parametrize("side", ["users", "answers"])
def test_other_languages_where_english_was_asked_for_are_found(side: str, language: str) -> None:
    """Messages in another language are reported in an English recipe if they have more than 60 characters in total."""
    messages = tuple(GOOD[language][side])
    recipe = Recipe(checks={name: name == "wrong_language" for name in DEFAULTS})
    assert finding(side, messages, recipe) == ("wrong_language" if len("".join(messages)) > 60 else "")


def test_who_asks_for_a_language_gets_it() -> None:
    """Answers in German are accepted if the user asks for German, and reported otherwise."""
    german, asked = tuple(GOOD["German"]["answers"]), ("Say it in German, please.",) * 5
    checks.answers(german, asked, Recipe())
    with pytest.raises(Unusable, match="German instead of English"):
        checks.answers(german, ("Say it, please.",) * 5, Recipe())


@pytest.mark.parametrize(
    "pair",
    [("Norwegian", "Danish"), ("Serbian", "Croatian"), ("Indonesian", "Malay"), ("Chinese", "Simplified Chinese")],
)
def test_near_kin_are_not_told_apart(pair: tuple[str, str]) -> None:
    """A text in a closely related language is not reported, because its language is uncertain."""
    written, named = pair
    for side in ("users", "answers"):
        assert finding(side, tuple(GOOD[written][side]), Recipe(language=named)) == ""


@pytest.mark.parametrize("language", ["German", "Spanish", "French", "Chinese", "Japanese", "Russian", "Norwegian"])
def test_one_answer_in_another_language_is_found(language: str) -> None:
    """One answer in another language is reported unless the user names that language or writes in it."""
    answers = (*GOOD["English"]["answers"][4:9], GOOD[language]["answers"][0])
    assert finding("answers", answers, Recipe()) == "wrong_language"
    for said in (f"How would she say that in {language}?", GOOD[language]["users"][0]):
        checks.answers(answers, (*ASKED, "Fine.", "Good.", said), Recipe())


def test_a_short_message_in_another_language_is_allowed() -> None:
    """A message too short for a reliable detection is accepted by itself.

    The threshold is the share of the side's whole text.
    """
    answers = (
        *GOOD["English"]["answers"][4:9],
        *(["Ja, das geht schon.", "Das ist gut so.", "Nein, nicht heute."] * 3),
    )
    recipe = Recipe(checks={"wrong_language": 0.9, "repeats": False})
    assert finding("answers", answers, recipe) == ""
    assert finding("answers", answers, Recipe(checks={"wrong_language": 0.1, "repeats": False})) == "wrong_language"


def test_numbers_make_a_difference() -> None:
    """Exercises that differ in their numbers are not reported as repetitions."""
    drill = tuple(f"What is {number} times {number + 1}, and how do I work that out in my head?" for number in range(6))
    assert finding("users", drill, Recipe()) == ""


def test_short_messages_may_come_again() -> None:
    """Short messages may be repeated, as in a game."""
    assert finding("users", ("Next one!", "Next one!", "Go on."), Recipe()) == ""
    assert finding("answers", ("Correct!", "Correct!"), Recipe()) == ""


def test_an_answer_that_is_the_users_message_is_found() -> None:
    """An answer that repeats the user's message word for word is reported as `mixed_roles`."""
    asked = ("My washing machine stops halfway and shows E18.",)
    with pytest.raises(Unusable, match="mixed_roles"):
        checks.answers(asked, asked, Recipe())


def test_questions_of_an_exam_have_numbers() -> None:
    """An answer may mention the number of a question if the user talks about a worksheet."""
    asked = ("I'm stuck on question 3 of the worksheet.",)
    checks.answers(("As for question 3, start with the units.",), asked, Recipe())


@pytest.mark.parametrize("intent", taxonomy.builtin().intents.values(), ids=lambda intent: intent.key)
def test_every_topic_word_for_word_is_a_leak(intent: Any) -> None:
    """A message that repeats a topic word for word is a leak.

    Four words of a topic, and shorter topics, are not, because people say them too.
    """
    plan = Plan(Recipe(intents=(intent.key,)))
    for spec in plan:
        words = spec.topic.split()
        if len(words) < DEFAULTS["leaks_prompt"]:
            continue
        assert finding("users", (f"I want to talk about {spec.topic}.",), Recipe(), spec) == "leaks_prompt"
        assert finding("users", (f"I want to talk about {' '.join(words[:4])}.",), Recipe(), spec) == ""


@pytest.mark.parametrize("asked", [(), ("Hello there?",)], ids=["no", "one"])
def test_a_chat_may_have_more_answers_than_user_messages(asked: tuple[str, ...]) -> None:
    """No check fails with an error on chats from elsewhere.

    They may begin with the assistant or have two answers in a row.
    """
    for case in bad():
        _, _, text, language = case.values
        texts = [text] if isinstance(text, str) else text
        checks.findings(asked, ["A first answer.", *texts], DEFAULTS, language)
    assert any(one.reason == "mentions_list" for one in checks.findings(asked, ["Fine.", LISTED], DEFAULTS, "English"))


def test_a_threshold_is_what_the_recipe_says() -> None:
    """Thresholds in the recipe make a check stricter or more lenient."""
    one, other = "Tell me about the night train to Lisbon.", "Tell me about the night train to Porto."
    assert finding("users", (one, other), Recipe()) == ""
    assert finding("users", (one, other), Recipe(checks={"repeats": 0.6})) == "repeats"
    assert finding("users", ("About tyre sidewall codes on vans then.",), Recipe(checks={"leaks_prompt": 5})) != ""


def test_the_field_has_one_form() -> None:
    """All spellings of the default checks give the same recipe; a check can be switched off by name."""
    every = [None, True, {}, {"repeats": 0.8}, {"repeats": None}, {"broken_off": True}]
    assert all(Recipe(checks=given) == Recipe() for given in every)
    assert Recipe(checks=False).checks == dict.fromkeys(DEFAULTS, False)
    assert Recipe(checks={"repeats": False}).checks == {**DEFAULTS, "repeats": False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("off", "checks must be true, false, or a mapping of checks to their thresholds, not 'off'."),
        ({"repeat": 1}, "checks must name checks: there is no 'repeat'. Did you mean 'repeats'?"),
        ({"repeats": 2}, "checks must be in range: repeats must be a number from 0.1 to 1, not 2."),
        ({"leaks_prompt": 2.5}, "checks must be in range: leaks_prompt must be a whole number from 3 to 50, not 2.5."),
        ({"broken_off": 1}, "checks must be in range: broken_off must be true or false, not 1."),
    ],
)
def test_a_wrong_threshold_is_refused_by_name(given: Any, message: str) -> None:
    """An invalid value of `checks` is refused with a message that names the check, before any call."""
    with pytest.raises(RecipeError) as caught:
        Recipe(checks=given)
    assert str(caught.value) == message


def test_one_long_word_costs_linear_time() -> None:
    """A text of a million characters without a space is processed in linear time."""
    assert _bare("x" * 1_000_000) == "x" * 1_000_000


@pytest.mark.parametrize(
    ("about", "piece", "asked"),
    [
        ("_ABOUT_MACHINES", "As an AI language model, I would. ", "Are you an AI?"),
        ("_ABOUT_USERS", "The user wants it. ", "My app has many users."),
        ("_ROLE_PLAY", "What would you recommend? ", "Pretend that you are a guest."),
    ],
)
def test_many_phrases_cost_linear_time(about: str, piece: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked before a message is examined once, and not again for each of the phrases in the message."""
    examined: list[str] = []
    search = getattr(roles, about)
    monkeypatch.setattr(roles, about, lambda text: examined.append(text) or search(text))
    limits = {**DEFAULTS, "loops": False, "repeats": False}
    assert checks.findings([asked], [piece * 50], limits, "English") == []
    assert examined == [asked.lower()]
