"""A dataset with seeds is published with its sources, and proves itself without the data that it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from consistent_chat.builder.fingerprint import fingerprint
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
    ],
)
def test_a_written_recipe_is_read_as_the_same(tmp_path: Path, rows: list[Any], more: dict[str, Any]) -> None:
    """With its sources beside it: those that are used, and no other column."""
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


@pytest.mark.slow
def test_what_is_published_is_proven_by_its_own_sources(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """No source is in two splits, and a changed source is seen."""
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
