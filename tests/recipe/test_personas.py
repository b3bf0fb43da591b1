"""Personas and manners as fields of a recipe, without a taxonomy file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.cli import main
from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe, taxonomy
from consistent_chat.recipe.taxonomy import Manner, Persona

WHO = ["a lighthouse keeper", "a student of law"]
HOW = {"terse": "says little", "florid": "says much, with flourishes"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty working directory."""
    monkeypatch.chdir(tmp_path)


def people(*rows: Any, **more: Any) -> dict[str, Any]:
    """Write rows to a file, and return the field that names the file."""
    Path("people.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"data": "people.jsonl", "fields": {"persona": "who"}, **more}


def test_they_may_lie_in_a_file(caplog: pytest.LogCaptureFixture) -> None:
    """Personas in a file equal personas in a list. A warning counts the rows that are left out."""
    own = people(*({"who": who, "age": 3} for who in (*WHO, " ", "a  student\nof law")))
    assert fingerprint(Recipe(personas=own)) == fingerprint(Recipe(personas=WHO))
    assert [record.getMessage() for record in caplog.records] == [
        "people.jsonl: 2 of 4 rows are left out: 1 have no text in 'who', the others repeat an earlier row."
    ]
    Path("a.consistent_chat.yaml").write_text("personas: {data: people.jsonl, fields: {persona: who}}\n")
    assert Recipe.from_file("a.consistent_chat.yaml") == Recipe(personas=WHO)


WRONG_DATA: list[tuple[Any, str]] = [
    (people, "people.jsonl has no column 'who'. Did you mean 'whom'?"),
    ({"data": "people.jsonl"}, "personas must have fields: they must be a mapping such as {persona: description}"),
    ({"data": "none.csv", "fields": {"persona": "who"}}, "The personas in none.csv cannot be read"),
    ({"data": "a.csv", "fields": {"persona": "who"}, "chunk": 3}, "personas must not have 'chunk'"),
    ({"data": "http://169.254.169.254/a.csv", "fields": {"persona": "who"}}, "personas must be in a file on this"),
    ({"data": "hf://datasets/a/b@0123abc/../a.csv", "fields": {"persona": "a"}}, "personas must have an address"),
]


@pytest.mark.parametrize(("given", "message"), WRONG_DATA)
def test_wrong_data_is_told(given: Any, message: str) -> None:
    """A wrong `personas` field raises an error with the reason, and with the nearest name for a mistyped column."""
    with pytest.raises(RecipeError) as raised:
        Recipe(personas=given({"whom": "a nurse"}) if callable(given) else given)
    assert message in str(raised.value)


def test_a_long_persona_is_told_by_its_row() -> None:
    """A persona of more than 500 characters raises an error with its row, and so does a file without personas."""
    with pytest.raises(RecipeError, match=r"people.jsonl, row 2: 'who' has 501 characters; the maximum is 500"):
        Recipe(personas=people({"who": "a"}, {"who": "b" * 501}))
    with pytest.raises(RecipeError, match=r"people.jsonl has no row with text in 'who'"):
        Recipe(personas=people({"who": None}))


@pytest.mark.parametrize("named", ["../people.jsonl", "/etc/passwd", "~/a.csv", "http://127.0.0.1/a.csv"])
def test_a_strangers_recipe_names_no_other_personas(named: str) -> None:
    """A recipe file cannot read personas from another folder or from an address."""
    text = json.dumps({"personas": {"data": named, "fields": {"persona": "who"}}})
    Path("a.consistent_chat.yaml").write_text(text)
    with pytest.raises(
        RecipeError, match=r"^a.consistent_chat.yaml, line 1 \(personas.data\): .* must be a relative path"
    ):
        Recipe.from_file("a.consistent_chat.yaml")


def test_the_readme_of_a_folder_names_no_personas(tmp_path: Path) -> None:
    """A dataset's README cannot set `personas`, although `datasets` reads config fields from there."""
    (tmp_path / "a.consistent_chat.yaml").write_text("model: rehearsal\nnum_dialogs_per_intent: 1\n")
    config = {"config_name": "default", "data_files": "*.yaml", "personas": people({"who": "a nurse"})}
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps([config])}\n---\n")
    with pytest.raises(RecipeError, match="README of this dataset sets 'personas'"):
        load_dataset(str(tmp_path), serving="rehearsal")


def test_they_take_the_place_of_the_taxonomys() -> None:
    """Own personas and manners replace the taxonomy's. Topics and their order stay the same."""
    own, plain = Plan(Recipe(personas=WHO, manners=HOW)), Plan(Recipe())
    assert {spec.persona for spec in own} == set(WHO)
    assert {spec.manner for spec in own} == set(HOW.items())
    assert [spec.topic for spec in own] == [spec.topic for spec in plain]
    assert {spec.manner[0] for spec in Plan(Recipe(personas=WHO))} == {one.name for one in taxonomy.builtin().manners}


def test_they_win_over_a_taxonomys_own() -> None:
    """Personas in a recipe override those of the recipe's taxonomy; its manners stay."""
    whole = Recipe(taxonomy={"personas": ["a pilot"], "manners": {"gruff": "is gruff"}}, personas=WHO).full_taxonomy
    assert whole.personas == tuple(map(Persona, WHO))
    assert whole.manners == (Manner("gruff", "is gruff"),)


def test_where_they_are_said_is_of_no_meaning() -> None:
    """The same personas and manners, given by keyword or in a taxonomy, give the same fingerprint."""
    by_keyword = Recipe("m", personas=tuple(WHO), manners=HOW)
    assert fingerprint(by_keyword) == fingerprint(Recipe("m", taxonomy={"personas": WHO, "manners": HOW}))
    assert fingerprint(by_keyword) != fingerprint(Recipe("m"))


WRONG: dict[str, tuple[Any, str, str]] = {
    "personas: a nurse": ("a nurse", "2 (personas)", " must be a list, not str."),
    "personas: []": ([], "2 (personas)", " is empty. Give at least one entry, or leave it out."),
    "personas: [a, a]": (["a", "a"], "2 (personas.1)", ": 'a' is repeated. Remove one."),
    "personas:\n  - a nurse\n  - 5": (["a nurse", 5], "4 (personas.1)", " must be text, not 5. Put it in quotes."),
    "manners: [terse]": (["terse"], "2 (manners)", " must be a mapping, not list."),
    "manners:\n  a: b\n  c:": ({"a": "b", "c": None}, "4 (manners.c)", " must be text, not None. Put it in quotes."),
}
"""In a file -> (by keyword, line and place in the file, what is wrong)."""


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_are_named_as_in_a_taxonomy(text: str) -> None:
    """A mistake in a keyword is named with its place, and in a file also with its line."""
    value, place, message = WRONG[text]
    name, _, part = place.split("(")[1].rstrip(")").partition(".")
    with pytest.raises(RecipeError) as caught:
        Recipe(**{name: value})
    assert str(caught.value) == (f"{name} ({part}){message}" if part else f"{name}{message}")
    Path("own.consistent_chat.yaml").write_text(f"seed: 1\n{text}\n")
    with pytest.raises(RecipeError) as caught:
        Recipe.from_file("own.consistent_chat.yaml")
    assert str(caught.value) == f"own.consistent_chat.yaml, line {place}{message}"


def test_a_file_may_leave_them_empty() -> None:
    """Empty fields in a file mean the defaults."""
    Path("own.consistent_chat.yaml").write_text("personas:\nmanners:\nsystem_prompt:\nsplits:\n")
    assert Recipe.from_file("own.consistent_chat.yaml") == Recipe()


def test_the_command_line_takes_them_too(tmp_path: Path) -> None:
    """The command line takes personas, and manners as name=description. A recipe file gives the same rows."""
    options = ["--serving", "rehearsal", "--num-dialogs-per-intent", "2", "--num-turns-per-dialog", "1"]
    own = ["--personas", *WHO, "--manners", *(f"{name}={text}" for name, text in HOW.items())]
    assert main(["build", *options, *own, "--responses", "responses", "--output", "made.jsonl"]) == 0
    rows = [json.loads(line) for line in Path("made.jsonl").read_text().splitlines()]
    assert {row["provenance"]["persona"] for row in rows} == set(WHO)
    assert {row["provenance"]["manner"] for row in rows} == set(HOW)
    Path("own.consistent_chat.yaml").write_text(
        "model: rehearsal\nnum_dialogs_per_intent: 2\nnum_turns_per_dialog: 1\n"
        f"personas: {json.dumps(WHO)}\nmanners: {json.dumps(HOW)}\n"
    )
    given = {"data_files": "own.consistent_chat.yaml", "responses": "responses", "cache_dir": str(tmp_path / "cache")}
    assert list(load_dataset("consistent_chat", split="train", **given)) == rows
