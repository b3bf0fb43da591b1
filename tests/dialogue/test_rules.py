"""Test rules: the user's own checks, as data or as an installed plugin, with limits as for untrusted data."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat import drivers
from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.cli import main
from consistent_chat.dialogue import checks
from consistent_chat.dialogue.check_identity import check_identity
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.errors import MissingResponse, RecipeError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe import rules as rules_of
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from tests.answers import Answers, good

SMALL: dict[str, Any] = {"model": "m", "num_dialogs_per_intent": 1, "num_turns_per_dialog": 2}
KEY = "Qz81LmT0aXc94RtYvB27"


def found(text: str, language: str = "English", **rule: Any) -> list[str]:
    """Return the findings of a rule in an answer, without the names of the message and of the rule."""
    given = rules_of.rules("rules", {"own": rule})
    breaks = checks.rule_findings(["Hello."], [text], given, language)
    return [one.detail.partition("breaks 'own': ")[2] for one in breaks if one.side == "answers"]


@pytest.mark.parametrize(
    ("rule", "text", "detail"),
    [
        ({"forbidden": "AI"}, "He said: wait.", None),
        ({"forbidden": ["x", "AI"]}, "Ask an ai.", "has 'AI'"),
        ({"forbidden": "don't  know"}, "I don\u2019t\nknow.", 'has "don\'t  know"'),
        ({"forbidden": "人工智能"}, "我是人工智能助手。", "has '人工智能'"),
        ({"forbidden": "straße"}, "Die STRASSE.", "has 'straße'"),
        ({"forbidden": "C++"}, "Use C++17.", "has 'C++'"),
        ({"forbidden_patterns": r"\$\d+"}, "It costs $12 now.", "has '$12'"),
        ({"forbidden_patterns": r"(?i)acme"}, "ACME", "has 'ACME'"),
        ({"required": ["Regards", "Best wishes"]}, "All the best wishes.", None),
        ({"required": "Regards"}, "Disregards.", "has none of the required phrases or patterns"),
        ({"required": "x", "required_patterns": r"\[\d\]"}, "So it is [1].", None),
        ({"max_words": 3}, "One two three four.", "has 4 words, more than 3"),
        ({"min_words": 5}, "One two three four.", "has 4 words, fewer than 5"),
        ({"min_characters": 5, "max_characters": 9}, "Four five", None),
        ({"max_characters": 8}, "Four five", "has 9 characters, more than 8"),
        ({"side": "users", "max_words": 1}, "One two.", None),
    ],
)
def test_a_rule_finds_what_it_says(rule: dict[str, Any], text: str, detail: str | None) -> None:
    """A rule finds phrases as whole words in any case, patterns exactly, and lengths of messages."""
    if "required" not in rule or "side" in rule:
        rule = {"side": "answers", **rule}
    assert found(text, **{"side": "answers", **rule}) == ([] if detail is None else [detail])


def test_a_rule_is_for_the_languages_that_it_names() -> None:
    """A rule applies only to the languages that it lists by their English names, in any case."""
    rule = {"forbidden": "gern geschehen", "languages": ["german", "Dutch"]}
    assert found("Gern geschehen!", "German", **rule)
    assert not found("Gern geschehen!", "English", **rule)


@pytest.mark.parametrize(
    "text",
    [
        "Write to ada.lovelace@mail.co.uk today.", "Mail jörg@müller.de.", "Call +49 (0)30 1234567 now.",
        "My number is 415-873-2291.", "(212) 867 4432 is hers", "Ruf 0171 5558234 an.", "Tel. 030/8845120",
        f"export API_KEY={KEY}", f'password: "{KEY}"', "AKIAIOSFODNN7QWERTYU", "-----BEGIN RSA PRIVATE KEY-----",
        "ghp_" + "a1B2" * 9, "sk-proj-" + "Ab3d" * 8, "hf_" + "Zx9Y" * 8, f"the token is {KEY}",
    ],
)  # fmt: skip
def test_sensitive_data_is_found(text: str) -> None:
    """Email addresses, phone numbers and keys are found, and the finding does not show a key."""
    (detail,) = found(text, sensitive=True)
    assert KEY not in detail


@pytest.mark.parametrize(
    "text",
    [
        "Write to someone@example.com or to me@shop.example.", "Call 212-555-0142.", "Born on 04.05.1998 in 12345 Ulm.",
        "It is 2024-05-06, 10:30.", "Pi is 3.14159265358979.", "Ping 192.168.100.200 again.", "ISBN 978-3-16-148410-0",
        "The total is $1,234,567.89.", "password: your-password-here", "api_key = YOUR_API_KEY_1234567",
        "0.123456789012",
        "SHA 9f86d081884c7d659a2feaa0c55ad015", "Use @media and @import.", "The secret is patience, my friend.",
        "Years 1990 1991 1992 1993", "Order 4711-0815", "1 000 000 000 people", "def f(token=None): ...",
        "10 - 20 - 30 - 40", "Add 1/2, 3/4, 5/6 and 7/8.",
    ],
)  # fmt: skip
def test_what_looks_like_it_is_none(text: str) -> None:
    """Reserved domains and numbers, dates, decimals, IP addresses, amounts and placeholders are not sensitive data."""
    assert found(text, sensitive=True) == []


def test_kinds_of_sensitive_data_are_chosen() -> None:
    """A rule can search for one kind of sensitive data or for several."""
    assert not found("ada@lovelace.org", sensitive=["phones", "keys"])
    assert found("ada@lovelace.org", sensitive="emails") == ["has the e-mail address 'ada@lovelace.org'"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([], "rules must be a mapping of up to 100 names to rules, not []."),
        ({"a": {"max_words": 1}, "a ": {"max_words": 1}}, "rules must have names that differ"),
        ({"a": "x"}, "rules must be valid: a must be a mapping of side, "),
        ({"a": {"forbiden": "x"}}, "rules must be valid: a has no field 'forbiden'. Did you mean 'forbidden'?"),
        ({"a": {"side": "answers"}}, "rules must be valid: a checks nothing."),
        ({"a": {"side": "both", "max_words": 1}}, "rules must be valid: a.side must be one of users, answers"),
        (
            {"a": {"min_words": 3, "max_words": 2}},
            "rules must be valid: a has a min_words that is above its max_words. Correct one of them.",
        ),
        ({"a": {"forbidden": ""}}, "rules must be valid: a.forbidden must be one line of text"),
        ({"a": {"forbidden": ["x"] * 1001}}, "rules must be valid: a.forbidden must be a list of 1 to 1,000"),
        ({"a": {"forbidden": ["x"] * 600, "required": ["x"] * 600}}, "rules must have at most 1,000 phrases"),
        ({"a": {"forbidden_patterns": "("}}, "a.forbidden_patterns has the pattern '(', which RE2 refuses: 'missing )"),
        ({"a": {"forbidden_patterns": r"(a+)+\1"}}, "which RE2 refuses"),
        ({"a": {"forbidden_patterns": r"(?<!a)b"}}, "RE2 supports no lookarounds"),
        ({"a": {"forbidden_patterns": r"((a{100}){10}){10}"}}, "which RE2 refuses"),
        ({"a": {"forbidden_patterns": r"\pL{900}"}}, "which RE2 refuses"),
        ({"a": {"forbidden_patterns": "a*"}}, "which every message matches"),
        ({"a": {"required_patterns": "\ud800"}}, "which RE2 refuses"),
        ({"a": {"forbidden_patterns": "a" * 501}}, "must be a pattern of 1 to 500 characters"),
        ({"a": {"required_patterns": ["x{900}y"] * 30}}, "rules must have patterns of at most 20,000 instructions"),
        ({"a": {"required_patterns": ["x"] * 201}}, "rules must have at most 1,000 phrases and 200 patterns"),
        ({"a": {"sensitive": ["ibans"]}}, "a.sensitive must be one of emails, phones, keys"),
        ({"a": {"plugin": "none-such"}}, "a.plugin must name an installed check"),
        ({f"r{at}": {"max_words": 1} for at in range(101)}, "rules must be a mapping of up to 100"),
    ],
)
def test_a_hostile_or_mistaken_rule_is_one_message(rules: Any, message: str) -> None:
    """An invalid or hostile rule is refused with one short message when the recipe is read."""
    with pytest.raises(RecipeError) as caught:
        Recipe(model="m", rules=rules)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600


NAMES = st.sampled_from([*rules_of._FIELDS, "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=9,
)


@given(VALUES)
def test_any_value_is_rules_or_an_error(value: Any) -> None:
    """Any value is either refused with a RecipeError or gives rules that can be applied to any text."""
    try:
        accepted = rules_of.rules("rules", {"a": value})
    except RecipeError:
        return
    checks.rule_findings(["\0 Anything"], ["", "at all \ud800"], accepted, "English")


def test_a_rule_has_draws_asked_again(place: str) -> None:
    """A draw that breaks a rule is asked for again, and a replay gives the same rows.

    Responses that were checked before the rule existed are checked again.
    """

    def script(request: Request, _: int) -> Response | None:
        texts = dict.fromkeys(request.schema["properties"], f"Costs {request.draw + 7} euros in {request.key[7:15]}.")
        return Response(json.dumps(texts)) if request.stage == "answers" else None

    plain = Recipe(**SMALL, checks={"repeats": False})
    assert len(made(plain, place, Answers(script))) == 9
    recipe = Recipe(**SMALL, checks={"repeats": False}, rules={"no sevens": {"forbidden_patterns": r"\b7 euros"}})
    made(plain, place)  # the store notes that the responses are checked
    with pytest.raises(MissingResponse, match=r"breaks 'no sevens': has '7 euros'.*or leave the rule out"):
        made(recipe, place)
    again = made(recipe, place, Answers(script))
    assert {(draw.stage, draw.reason.value) for one in again for draw in one.failed} == {("answers", "rule")}
    assert all("8 euros" in text for one in again for text in one.answers)
    assert made(recipe, place) == again


def made(recipe: Recipe, place: str, answers: Answers | None = None) -> list[Any]:
    """Return the dialogues of a recipe."""
    opened = None if answers is None else lambda: answers
    return list(drivers.run(recipe, range(9), ResponseStore(place), opened, Limits(), RunStats()))


def test_rules_alone_are_checks_too(place: str) -> None:
    """Rules apply even if the package's own checks are off."""
    recipe = Recipe(**SMALL, checks=False, rules={"long": {"side": "users", "min_words": 50}})
    steps = drivers.run(recipe, range(9), ResponseStore(place), lambda: Answers(), Limits(), RunStats())
    with pytest.raises(Exception, match="rule"):
        list(steps)


def test_a_recipe_without_rules_is_what_it_was() -> None:
    """Rules change the fingerprint and the identity of the checks, but not the request keys.

    A recipe without rules has no such field.
    """
    plain, ruled = Recipe(**SMALL), Recipe(**SMALL, rules={"a": {"max_words": 9}})
    assert "rules" not in plain.values()
    assert fingerprint(ruled) != fingerprint(plain)
    assert check_identity(ruled) != check_identity(plain)
    assert fingerprint(Recipe(**SMALL, rules={" a": {"max_words": 9}})) == fingerprint(ruled)
    steps = [drivers.run.__globals__["fill"](one, Plan(one), 0) for one in (plain, ruled)]
    first, other = map(next, steps)
    assert first.key == other.key
    assert steps[0].send(good(first)).key == steps[1].send(good(other)).key


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with checks, in the form that pip would give it."""
    info = tmp_path / "house_style-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house-style\nVersion: 1.2\n")
    points = "\n".join(f"{name} = house_style:{name}" for name in ("shouts", "fails", "odd", "missing"))
    (info / "entry_points.txt").write_text(f"[consistent_chat.checks]\n{points}\n")
    (tmp_path / "house_style.py").write_text(
        "def shouts(messages, side, language):\n"
        "    return next(((at, f'{side} shout') for at, one in enumerate(messages, 1) if one.isupper()), None)\n"
        "def fails(messages, side, language):\n    return 1 / 0\n"
        "def odd(messages, side, language):\n    return (9, 'x')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rules_of._plugins.cache_clear()
    yield tmp_path
    rules_of._plugins.cache_clear()
    sys.modules.pop("house_style", None)


def test_a_plugin_is_code_that_is_installed(installed: Path) -> None:
    """A plugin gets all messages of a side, and its version is part of the fingerprint."""
    rule = {"plugin": "shouts"}
    assert found("WHAT?", **rule) == ["answers shout"]
    assert found("What?", **rule) == []
    recipe = Recipe(**SMALL, rules={"calm": rule})
    before = fingerprint(recipe), check_identity(recipe)
    assert rules_of.versions(recipe.rules) == {"shouts": "house-style 1.2"}
    (installed / "house_style-1.2.dist-info" / "METADATA").write_text("Name: house-style\nVersion: 1.3\n")
    rules_of._plugins.cache_clear()
    assert fingerprint(recipe) != before[0]
    assert check_identity(recipe) != before[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", r"The check 'fails' failed: ZeroDivisionError"),
        ("odd", r"The check 'odd' must return None or \(turn from 1, detail\), not \(9, 'x'\)"),
        ("missing", r"The check 'missing' cannot be loaded: AttributeError"),
    ],
)
def test_a_plugin_that_fails_is_named(installed: Path, name: str, message: str) -> None:
    """A plugin that fails or returns an invalid value causes an error with its name, not a finding."""
    with pytest.raises(RecipeError, match=message):
        found("What?", plugin=name)


def test_rules_are_for_any_chats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`consistent-chat check --rules` applies rules to any file of chats."""
    chats, output = tmp_path / "chats.jsonl", tmp_path / "found.jsonl"
    said = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Write to ada@lovelace.org."}]
    chats.write_text(json.dumps({"messages": said}))
    assert main(["check", str(chats), "--rules", '{"private": {"sensitive": true}}', "--output", str(output)]) == 0
    (reason,) = json.loads(output.read_text())["reasons"]
    assert (reason["reason"], reason["side"], reason["turn"]) == ("rule", "answers", 1)
    assert main(["check", str(chats), "--rules", '{"private": {"sensitve": true}}']) == 2
    assert "Did you mean 'sensitive'?" in capsys.readouterr().err


def test_a_recipe_file_names_the_line(tmp_path: Path) -> None:
    """The error about an invalid rule names the file and the line of the field `rules`."""
    file = tmp_path / "r.consistent_chat.yaml"
    file.write_text("model: m\nrules:\n  prices:\n    forbidden_patterns: '(?=x)'\n")
    with pytest.raises(RecipeError, match=r"r\.consistent_chat\.yaml, line 2 \(rules\): rules must be valid: prices"):
        Recipe.from_file(str(file))
