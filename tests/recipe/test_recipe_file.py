"""A recipe that is written to a file contains every field, and is read as the same recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.errors import RecipeError
from consistent_chat.publishing import recipe_file
from consistent_chat.recipe import Recipe

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(str.strip)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    str.strip
)
NAME = TEXT.map(lambda text: " ".join(text.split())).filter(bool)
WORDS = st.sampled_from(
    [
        "yes",
        "no",
        "null",
        "~",
        "1",
        "1e3",
        "0x1f",
        "2026-01-01",
        "1:30",
        "- a",
        "# b",
        "a: b",
        "&c",
        "*d",
        "!e",
        "'",
        '"',
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    model=LINE | WORDS,
    personas=st.lists(TEXT | WORDS, min_size=1, max_size=4),
    manners=st.dictionaries(NAME | WORDS, TEXT | WORDS, min_size=1, max_size=4),
    categories=st.dictionaries(NAME | WORDS, st.lists(TEXT | WORDS, min_size=1, max_size=3), min_size=1, max_size=3),
    temperature=st.floats(0, 2),
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_what_is_written_is_read_as_the_same(
    tmp_path: Path, model: str, personas: list[str], manners: dict[str, str], categories: dict[str, list[str]],
    temperature: float, seed: int,
) -> None:  # fmt: skip
    """A written recipe has the same fingerprint when it is read, and writing it again gives the same bytes.

    This also holds for texts that look like numbers, dates or YAML syntax.
    """
    intent = {"title": "T", "purpose": "P", "flows": ["time_sequence"], "categories": categories}
    taxonomy = {"intents": {"own": intent}, "personas": personas, "manners": manners}
    try:
        recipe = Recipe(model=model, taxonomy=taxonomy, temperature=temperature, seed=seed)
    except RecipeError:  # for example a repeated text
        return
    path = tmp_path / "x.consistent_chat.yaml"
    recipe_file.write(recipe, path)
    assert fingerprint(Recipe.from_file(str(path))) == fingerprint(recipe)
    first = path.read_bytes()
    recipe_file.write(Recipe.from_file(str(path)), path)
    assert path.read_bytes() == first


@pytest.mark.slow
def test_it_says_everything(tmp_path: Path) -> None:
    """The file has all fields, and all nine intents even if one is chosen, so another intent can be chosen later."""
    path = tmp_path / "x.consistent_chat.yaml"
    recipe_file.write(Recipe(model="m", intents=("simulation",), layout="messages", provenance=False), path)
    again = Recipe.from_file(str(path))
    assert (again.model, again.intents, again.layout, again.provenance) == ("m", ("simulation",), "messages", False)
    assert len(again.full_taxonomy.intents) == 9
    assert len(Recipe.from_file(str(path), intents=["educational"]).chosen_taxonomy.intents) == 1
