"""A dataset with seeds is published with its sources, and passes `verify` without the original data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.errors import RecipeError
from consistent_chat.publishing import layout, recipe_file
from consistent_chat.recipe import Recipe
from tests import published
from tests.hub import Hub
from tests.hub.machines import Machine

hub, user, name = published.hub, published.user, published.name

ROWS = [
    {"about": f"Lamp {number}", "text": f"Lamp {number} costs {number * 3} euros.", "by": ""} for number in range(40)
]
CHATS = [{"chat": [{"role": "user", "content": text} for text in ("Is it\r\nopen?", "And now?")]}, {"chat": ["Hello"]}]
FIELDS = {"topic": "about", "source": "text", "persona": "by"}
RECIPE = """
model: rehearsal
num_turns_per_dialog: 2
splits: {train: 3, test: 1}
seeds: {data: rows.jsonl, fields: {topic: about, source: text}}
"""


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("rows", "more"),
    [
        (ROWS, {"fields": FIELDS, "dialogs_per_seed": 3}),
        (ROWS, {"fields": FIELDS, "chunk": {"words": 2}}),
        (CHATS, {"fields": {"conversation": "chat"}}),
        (CHATS, {"fields": {"conversation": "chat"}, "extend": 2}),
    ],
)
def test_a_written_recipe_is_read_as_the_same(tmp_path: Path, rows: list[Any], more: dict[str, Any]) -> None:
    """A written recipe has the same fingerprint when it is read, without the original data.

    The file of sources next to it has only the columns that the recipe uses.
    """
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    recipe = Recipe("m", seeds={"data": str(data), **more})
    path = tmp_path / "out" / "mine.consistent_chat.yaml"
    path.parent.mkdir()
    recipe_file.write(recipe, path)
    data.unlink()
    assert fingerprint(Recipe.from_file(str(path))) == fingerprint(recipe)
    assert layout.paths(path.parent) == ["mine.consistent_chat.yaml", "seeds/mine.parquet"]
    assert all(map(layout.is_written, layout.paths(path.parent)))
    assert set(pq.read_schema(path.parent / "seeds" / "mine.parquet").names) == set(more["fields"])


def private(tmp_path: Path, rows: list[Any] = ROWS, **more: Any) -> Recipe:
    """Return a recipe whose sources must not be published."""
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fields = {"topic": "about", "source": "text"}
    seeds = {"data": str(tmp_path / "rows.jsonl"), "fields": fields, "publish": ["about"]}
    return Recipe("rehearsal", **{"seeds": seeds, **more})


@pytest.mark.slow
def test_a_private_column_is_in_no_written_file(tmp_path: Path) -> None:
    """A private column is in no written file. The recipe lists the withheld columns, and using it raises an error."""
    recipe = private(tmp_path, instructions={"users": "{{ text }}"})
    folder = tmp_path / "out"
    folder.mkdir()
    recipe_file.write(recipe, folder / "a.consistent_chat.yaml")
    assert pq.read_schema(folder / "seeds" / "a.parquet").names == ["topic"]
    assert recipe_file.withheld(folder / "a.consistent_chat.yaml") == ["source", "text"]
    assert "euros" not in (folder / "a.consistent_chat.yaml").read_text()
    with pytest.raises(RecipeError, match="seeds lack columns that their publisher has withheld: source, text"):
        Recipe.from_file(str(folder / "a.consistent_chat.yaml"))
    both = {"data": str(tmp_path / "rows.jsonl"), "fields": {"topic": "about", "source": "text"}}
    assert fingerprint(private(tmp_path)) == fingerprint(Recipe("rehearsal", seeds=both))


def test_what_stands_in_the_rows_cannot_be_private(tmp_path: Path) -> None:
    """A column whose values appear in the rows cannot be private.

    Examples are a topic, a column in the system prompt, and a source that replaces a missing topic.
    """
    with pytest.raises(RecipeError, match="must publish the column of 'text' as well: it is in the rows"):
        private(tmp_path, system_prompt="{{ text }}")
    with pytest.raises(RecipeError, match="must publish the column of 'source' as well: if a source has no topic"):
        private(tmp_path, [*ROWS, {"about": None, "text": "secret"}])
    seeds = {"data": str(tmp_path / "rows.jsonl"), "fields": {"topic": "about"}}
    with pytest.raises(RecipeError, match="must publish the column of 'topic' as well"):
        private(tmp_path, seeds={**seeds, "publish": []})
    with pytest.raises(RecipeError, match=r"not 'abuot'. Did you mean 'about'\?"):
        private(tmp_path, seeds={**seeds, "publish": ["abuot"]})


@pytest.mark.slow
def test_private_columns_are_published_nowhere(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """Neither private columns nor the responses, whose requests quote them, are published.

    `verify` says which part it cannot rebuild.
    """
    rows = [{"about": f"Lamp {number}", "text": f"The number of lamp {number} is ZX81."} for number in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = tmp_path / "lamps.consistent_chat.yaml"
    recipe.write_text(RECIPE.replace("splits: {train: 3, test: 1}\n", "").replace("text}", "text}, publish: [about]"))
    published.publish(user, name, "--serving", "rehearsal", "--licence", "cc0-1.0", recipe=str(recipe))
    files = hub.repos[name]
    assert {"seeds/lamps.parquet", "lamps.consistent_chat.yaml"} <= set(files)
    assert not [path for path in files if path.startswith("responses/packs")]
    done = user.run(published.command, "verify", name)
    assert done.code == 0, done.said
    assert "3 rows of train: not rebuilt, since the publisher has withheld source of the seeds" in done.said
    files["seeds/lamps.parquet"] += b"x"
    assert user.run(published.command, "verify", name).code == 1


@pytest.mark.slow
def test_what_is_published_is_proven_by_its_own_sources(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """A published dataset is verified with its published sources, and a changed source makes `verify` fail."""
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    recipe = tmp_path / "lamps.consistent_chat.yaml"
    recipe.write_text(RECIPE)
    assert "--licence" in published.refused(user, 2, str(recipe), name, "--serving", "rehearsal")
    published.publish(user, name, "--serving", "rehearsal", "--licence", "cc0-1.0", recipe=str(recipe))
    files = hub.repos[name]
    assert {"seeds/train.parquet", "seeds/test.parquet", "train.consistent_chat.yaml"} <= set(files)
    (tmp_path / "rows.jsonl").unlink()
    done = user.run(published.command, "verify", name)
    assert done.code == 0, done.said
    assert "all match the recipe and the responses" in done.said
    files["seeds/test.parquet"] = files["seeds/train.parquet"]
    assert user.run(published.command, "verify", name).code == 1
