"""The commands that prepare a first build create recipe files, show the prompts and convert taxonomies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import consistent_chat
from consistent_chat.cli import main
from consistent_chat.commands.preview import requests
from consistent_chat.commands.recipe_files import SCHEMA, convert, count, init
from consistent_chat.errors import RecipeError
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.description import RECIPE

TABLE = (
    'intent,category,topic,needs\nproblem solving,Orchards,an old pear tree,\nBoats,Damage,"a scratch, or two",adult\n'
)


def test_a_new_recipe_is_one_and_lists_every_field(tmp_path: Path) -> None:
    """The new recipe lists every field with its default, and names the schema in the same folder."""
    recipe, taxonomy, schema = init("support", tmp_path)
    made = Recipe.from_file(str(recipe))
    assert made == Recipe(model=made.model, taxonomy=str(taxonomy))
    text = recipe.read_text("utf-8")
    assert all(f"{field.name}:" in text for field in RECIPE)
    assert "--num" not in text
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA}\n")
    assert set(json.loads(schema.read_text("utf-8"))["properties"]) == {field.name for field in RECIPE}


def test_every_field_can_be_used_by_taking_the_comment_away(tmp_path: Path) -> None:
    """Every field can be used by removing its comment sign; fields without a value are null, as if absent."""
    recipe, *_ = init("x", tmp_path)
    head, others = recipe.read_text("utf-8").split("# All other fields")
    lines = [
        line[2:] if line.startswith("# ") and ":" in line.split(" ", 2)[1] else line for line in others.splitlines()
    ]
    values = yaml.safe_load("\n".join(line for line in lines[1:] if not line.startswith("#")))
    assert {*values, *yaml.safe_load(head)} == {field.name for field in RECIPE}


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x" * 101, "a\nb"])
def test_a_name_that_no_file_has_is_refused(tmp_path: Path, name: str) -> None:
    """An invalid name raises an error, and no file is written."""
    with pytest.raises(RecipeError, match="must be a name"):
        init(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_persons_own_is_overwritten(tmp_path: Path) -> None:
    """Existing files are not overwritten."""
    init("x", tmp_path)
    with pytest.raises(RecipeError, match="exists already"):
        init("x", tmp_path)


def test_the_requests_are_those_that_are_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """The shown requests are those of both stages of each dialogue, and the command prints the same."""
    shown = list(requests(Recipe("m", language="German", num_dialogs_per_intent=1), 2))
    assert [(each.index, each.request.stage) for each in shown] == [
        (0, "skeleton"), (0, "answers"), (1, "skeleton"), (1, "answers"),
    ]  # fmt: skip
    assert main(["prompts", "demo", "-n", "1"]) == 0
    (first, _) = requests(
        Recipe.from_file(str(Path(consistent_chat.__file__).with_name("demo") / "demo.consistent_chat.yaml")), 1
    )
    assert str(first) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({"layout": "preference", "judge_model": "j", "min_score": 5}, 3),
        ({"rules": {"none": {"forbidden": ["the", "this"]}}}, 2),
        ({"answers": "turn_by_turn"}, 3),
        ({"users": "turn_by_turn", "answers": "turn_by_turn", "user_model": "u"}, 4),
        ({"reasoning": True}, 2),
    ],
)
def test_whatever_a_recipe_refuses_its_requests_are_shown_once(given: dict[str, Any], number: int) -> None:
    """For each recipe, the requests of one dialogue of two turns are shown once, without repeated draws."""
    assert len(list(requests(Recipe("m", num_turns_per_dialog=2, **given), 1))) == number


def test_a_table_becomes_a_taxonomy(tmp_path: Path) -> None:
    """A table extends a built-in intent and adds a new one, and a recipe can use the resulting file."""
    table, output = tmp_path / "t.csv", tmp_path / "t.yaml"
    table.write_text(TABLE, "utf-8-sig")
    built_in = count().intents["problem_solving"]
    made = convert(table, output)
    assert made.intents["problem_solving"] == (built_in[0] + 1, built_in[1] + 1)
    assert made.intents["boats"] == (1, 1)
    assert str(count(output)) == str(made)
    assert list(Recipe("m", taxonomy=output, intents="Boats").chosen_taxonomy.intents) == ["boats"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no column 'intent'"),
        (b"intent,category,topic\n", "no rows"),
        (b"intent,category,topc\na,b,c\n", "unknown column 'topc'.* 'topic'"),
        (b"intent,category\na,b\n", "no column 'topic'"),
        (b"intent,category,topic,topic\na,b,c,d\n", "twice"),
        (b"intent,category,topic\na,,c\n", "line 2 .* no category"),
        (b"intent,category,topic\na,b,c\na,b,c\n", "repeated"),
        (b"intent,category,topic,needs\na,b,c,NO!\n", "NO!"),
        (b"intent,category,topic\na,b,\xff\n", "UTF-8"),
        (b'intent,category,topic\na,b,"c\n', "Correct the CSV"),
        (b"intent,category,topic\n" + b"a,b,c\n" * 1_000_000, "larger than"),
    ],
)
def test_a_wrong_table_is_refused_by_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    """An invalid table raises an error, and no file is written."""
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    with pytest.raises(RecipeError, match=told):
        convert(table, tmp_path / "t.yaml")
    assert not (tmp_path / "t.yaml").exists()


def test_python_has_what_the_commands_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The package's functions do what the commands do."""
    options = {"num_dialogs_per_intent": 1, "intents": "simulation", "num_turns_per_dialog": 1}
    options["responses"] = str(folder / "responses")
    before = consistent_chat.estimate(model="rehearsal", **options)["train"]
    assert (before.dialogues, before.calls) == (1, 2)
    assert consistent_chat.preview(number=1, serving="rehearsal", **options).calls == 2
    assert "1 of 1" in capsys.readouterr().out
    assert consistent_chat.estimate(model="rehearsal", **options)["train"].calls == 0
    consistent_chat.build(None, folder / "x.jsonl", model="rehearsal", **options)
    assert len((folder / "x.jsonl").read_text("utf-8").splitlines()) == 1
    assert consistent_chat.report(str(folder / "x.jsonl")).total.dialogues == 1
    assert not consistent_chat.verify(options["responses"]).faults
