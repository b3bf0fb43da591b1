"""Recipes may have instructions, and templates in the instructions and in the system prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.at_once import fill
from consistent_chat.errors import RecipeError, UnfilledSlot
from consistent_chat.plan import Plan
from consistent_chat.publishing import recipe_file
from consistent_chat.recipe import Recipe, attributes
from consistent_chat.request import Request, Response

ROWS = [
    {"subject": "Late parcel", "body": "Parcel 771 is late.", "product": "Parcel+", "category": "Post", "price": 3},
    {"subject": "Broken lamp", "body": "Lamp X200 arrived broken.", "product": None, "category": "Light", "price": 4},
]
FIELDS = {"topic": "subject", "source": "body"}
PROMPT = (
    "You are the assistant of {{ product|default('the shop') }}, for {{ category }}. {{ topic }}: {{ price }} euros."
)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Write a JSON Lines file of rows and return its path."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return str(path)


def made(data: str | None = None, **given: Any) -> Recipe:
    """Return a recipe of one turn, with seeds if there is data."""
    seeds = {} if data is None else {"seeds": {"data": data, "fields": FIELDS}}
    return Recipe("m", num_turns_per_dialog=1, **{**seeds, **given})


def requests(recipe: Recipe, index: int = 0) -> tuple[Request, Request]:
    """Return the requests for the user's messages and for the answers."""
    steps = fill(recipe, Plan(recipe), index)
    return next(steps), steps.send(Response(json.dumps({"user_1": "When will it be here, please?"})))


def test_every_column_is_a_name_in_the_system_prompt(tmp_path: Path, data: str) -> None:
    """The system prompt can use every column of the rows, even one that `fields` does not map."""
    seeds = {"data": data, "fields": FIELDS}
    rows = load_dataset(
        "consistent_chat", serving="rehearsal", seeds=seeds, system_prompt=PROMPT, split="train",
        responses=str(tmp_path / "responses"), cache_dir=str(tmp_path / "cache"), layout="messages",
    )  # fmt: skip
    assert {row["messages"][0]["content"] for row in rows} == {
        "You are the assistant of Parcel+, for Post. Late parcel: 3 euros.",
        "You are the assistant of the shop, for Light. Broken lamp: 4 euros.",
    }


def test_instructions_come_after_ours() -> None:
    """Instructions follow our prompt in the system text of their own side, and facets are available without seeds."""
    told = {"users": "Mention the weather.", "answers": "Speak of {{ topic }} as {{ persona }} would. 100% $x"}
    plain, recipe = made(), made(instructions=told)
    spec = Plan(recipe)[0]
    for before, after, expected in zip(
        requests(plain), requests(recipe), (told["users"], f"Speak of {spec.topic} as {spec.persona} would. 100% $x")
    ):
        assert after.system.startswith(before.system)
        assert after.system.endswith(f"\n\nInstructions:\n{expected}")
        assert after.messages == before.messages
    assert fingerprint(plain) != fingerprint(recipe)


def test_instructions_for_one_side_leave_the_other() -> None:
    """Instructions for the answers leave the user-message request unchanged, so its response can be reused."""
    (users, answers), (same, other) = requests(made()), requests(made(instructions={"answers": "Be brief."}))
    assert same == users
    assert other != answers


def test_turn_by_turn_the_chat_has_them() -> None:
    """Turn by turn, the instructions are in the user messages' prompt and after the system prompt of the answers."""
    told = {"users": "Mention the weather.", "answers": "Be brief."}
    recipe = made(instructions=told, system_prompt="You are Ada.", answers="turn_by_turn", users="turn_by_turn")
    steps = fill(recipe, Plan(recipe), 0)
    assert next(steps).system.endswith("Instructions:\nMention the weather.")
    answer = steps.send(Response(json.dumps({"message": "Is it far to the old harbour?", "ends": True})))
    assert answer.system == "You are Ada.\n\nBe brief."


@pytest.mark.slow
def test_columns_that_templates_use_are_part_of_the_source(tmp_path: Path, data: str) -> None:
    """Only the columns that templates use are part of the sources, and a published recipe includes them."""
    recipe = made(data, system_prompt=PROMPT)
    rows = [{**row, "price": 5, "unused": 1} for row in ROWS]
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, rows)))
    other = made(str(tmp_path / "other.jsonl"), system_prompt=PROMPT)
    assert recipe.seeds != other.seeds
    assert made(data).seeds == made(str(tmp_path / "other.jsonl")).seeds
    folder = tmp_path / "out"
    folder.mkdir()
    recipe_file.write(recipe, folder / "a.consistent_chat.yaml")  # raises an error if it reads back differently


def test_a_name_that_fields_map_is_the_field(data: str) -> None:
    """A name that `fields` maps refers to the field, not to the column of that name; a column precedes a facet."""
    seeds = {"data": data, "fields": {"category": "subject", "source": "body", "topic": "category"}}
    prompt = "{{ category }}, {{ topic }}, {{ source }}, {{ subject }}"
    recipe = made(seeds=seeds, system_prompt=prompt)
    found = {spec.system_prompt(prompt) for spec in Plan(recipe)}
    assert found == {f"{row['subject']}, {row['category']}, {row['body']}, {row['subject']}" for row in ROWS}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"system_prompt": "{{ topc }}"}, "system_prompt must use known names: there is no 'topc'. Did you mean 'topic'?"),
    ({"instructions": {"users": "{{ topic }"}}, "instructions.users must be a valid template: line 1"),
    ({"instructions": {"user": "x"}}, "there is no 'user'. Did you mean 'users'?"),
    ({"instructions": {}}, "instructions must be a mapping of users and answers to texts"),
    ({"instructions": {"users": " "}}, "instructions.users must be valid text"),
    ({"system_prompt": "{% for i in range(99999) %}x{% endfor %}"}, "system_prompt cannot be rendered"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_wrong_templates_are_told_before_any_call(given: dict[str, Any], message: str) -> None:
    """An invalid template raises an error that names the field, and suggests the nearest name for a typo."""
    with pytest.raises(RecipeError) as raised:
        made(**given)
    assert message in str(raised.value)


def test_a_missing_column_is_told_before_any_call(tmp_path: Path, data: str) -> None:
    """An unknown column or a template that fails for one row raises an error, with the line in a recipe file."""
    with pytest.raises(RecipeError, match=r"rows.jsonl has no column 'prodct'. Did you mean 'product'?"):
        made(data, system_prompt="{{ prodct }}")
    recipe = tmp_path / "a.consistent_chat.yaml"
    recipe.write_text("seeds: {data: rows.jsonl, fields: {topic: subject}}\nsystem_prompt: '{{ prodct }}'\n")
    with pytest.raises(RecipeError, match=r"^a.consistent_chat.yaml, line 1 \(seeds\): rows.jsonl has no column 'prod"):
        Recipe.from_file(str(recipe))
    with pytest.raises(RecipeError, match="system_prompt cannot be rendered: division by zero"):
        made(data, system_prompt="{{ 1 / (price|int - 4) }}")


def test_a_source_without_a_rendering_is_given_up_by_name(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose template fails is given up without a request, and the error names the dialogue."""
    prompt = "{{ 1 / (price|int - 4) }}"
    with pytest.raises(RecipeError, match=r"division by zero. Correct it. The source was '"):
        made(data, system_prompt=prompt)
    monkeypatch.setattr(attributes, "TRIED", 0)
    recipe = made(data, system_prompt=prompt + " ")
    plan, refused = Plan(recipe), list[str]()
    for index in range(len(plan)):
        try:
            next(fill(recipe, plan, index))
        except UnfilledSlot as error:
            refused.append(str(error))
    assert len(refused) == 1
    assert "could not be made: system_prompt cannot be rendered: division by zero" in refused[0]
    assert refused[0].startswith("Dialogue ")
    assert refused[0].endswith("remove its row from the seeds.")


@pytest.mark.parametrize("driver", ["online", "batch"])
def test_templates_are_rendered_with_all_sources_before_any_call(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """A template that fails for one source stops an online or batch build before it writes any response."""
    monkeypatch.setattr(attributes, "TRIED", 0)
    seeds = {"data": data, "fields": FIELDS}
    more = {"system_prompt": "{{ 1 / (price|int - 3) }}", "responses": str(tmp_path / "responses")}
    builder = open_builder(None, serving="rehearsal", seeds=seeds, driver=driver, **more)
    with pytest.raises(RecipeError, match=r"division by zero. Correct it. The source was 'Late parcel'."):
        builder.fill({"train": [0, 1]})
    assert not [path for path in (tmp_path / "responses").rglob("*") if path.is_file()]


def test_a_template_that_fails_for_one_persona_gives_way_to_a_substitute() -> None:
    """A spec whose template fails is replaced before the first request, even if it is the answers' template."""
    persona = Plan(made())[0].persona
    recipe = made(instructions={"answers": f"{{{{ 1 // (persona|length - {len(persona)}) }}}}"})
    plan = Plan(recipe)
    assert next(fill(recipe, plan, 0)) == next(fill(recipe, plan, 0, first=1))
    assert next(fill(recipe, plan, 0)) != next(fill(made(), plan, 0))


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_columns_are_found_in_every_form(tmp_path: Path, data: str, ending: str) -> None:
    """CSV, TSV and Parquet files give the same sources as JSON Lines, including columns with the names of facets."""
    import pandas

    frame, path = pandas.DataFrame(ROWS), tmp_path / f"rows.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    assert made(str(path), system_prompt=PROMPT).seeds == made(data, system_prompt=PROMPT).seeds
