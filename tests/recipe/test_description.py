"""Each field has a single description; the documentation, the recipe, the config and the schema agree with it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import datasets
import pytest

from consistent_chat import duplicates
from consistent_chat.builder.config import DRIVERS, ConsistentChatConfig
from consistent_chat.drivers import Limits
from consistent_chat.recipe import FIELDS, Recipe
from consistent_chat.recipe.description import (
    LEAST_SIMILARITY,
    OPERATIONAL,
    RECIPE,
    SIMILARITY,
    Field,
    json_schema,
    table,
)
from consistent_chat.store import Mode
from tests import ROOT

PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")


@pytest.mark.parametrize("described", [RECIPE, OPERATIONAL], ids=["recipe", "operational"])
def test_the_documentation_shows_the_descriptions(described: tuple[Field, ...]) -> None:
    """The tables in docs/recipes.md are exactly those rendered from the descriptions."""
    assert table(described) in PAGE


def test_the_recipe_has_the_described_fields_and_defaults() -> None:
    """The recipe has the described fields and defaults, in the same order."""
    fields = {field.name: field.default for field in dataclasses.fields(Recipe) if field.name != "origin"}
    assert fields == {described.name: described.default for described in RECIPE}
    assert list(fields) == list(FIELDS)


def test_the_config_has_the_described_fields_and_defaults() -> None:
    """The config has the described operational fields and defaults.

    The fields of a recipe default to None there, which means the value in the recipe file. `detach` applies to a run.
    """
    inherited = {field.name for field in dataclasses.fields(datasets.BuilderConfig)}
    own = [field for field in dataclasses.fields(ConsistentChatConfig) if field.name not in inherited]
    expected = dict.fromkeys(FIELDS) | {field.name: field.default for field in OPERATIONAL} | {"detach": False}
    del expected["storage_options"]  # an argument of load_dataset itself
    assert {field.name: field.default for field in own} == expected
    assert set(expected) | {"roles"} >= {field.name for field in dataclasses.fields(Limits)}


def test_names_and_thresholds_agree_with_their_owners() -> None:
    """Described names and thresholds equal those of other modules, which the description does not import."""
    allowed = {described.name: described.schema.get("enum") for described in OPERATIONAL}
    assert allowed["mode"] == [mode.value for mode in Mode]
    assert allowed["driver"] == list(DRIVERS)
    assert (LEAST_SIMILARITY, SIMILARITY) == (duplicates.LEAST, duplicates.THRESHOLD)


def test_the_schema_has_every_field_and_no_other() -> None:
    """The JSON schema has exactly the fields, so an editor marks what the package would refuse."""
    schema = json_schema()
    assert tuple(schema["properties"]) == FIELDS
    assert schema["additionalProperties"] is False


EDGES = [
    (described.name, edge, step)
    for described in RECIPE
    for edge, step in (("minimum", -1), ("maximum", 1))
    if edge in described.schema
]


@pytest.mark.parametrize(("name", "edge", "step"), EDGES)
def test_the_range_in_the_schema_is_the_one_that_is_checked(name: str, edge: str, step: int) -> None:
    """The limit in the schema is accepted, and the next number beyond it is refused."""
    value = json_schema()["properties"][name][edge]
    more: dict[str, Any] = {"judge_model": "judge"} if name in ("min_score", "num_answers") else {}
    assert getattr(Recipe(**more, **{name: value}), name) == value
    with pytest.raises(ValueError, match=re.escape(name)):
        Recipe(**more, **{name: value + step})
