"""Seeds from datasets on the Hub are read at a commit, with the token only where it belongs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consistent_chat.recipe import Recipe
from tests import published
from tests.hub import WRITER, Hub, commit
from tests.hub.machines import Machine

pytestmark = pytest.mark.slow

hub, user, name = published.hub, published.user, published.name
ROWS = "\n".join(json.dumps({"about": f"Lamp {number}", "text": f"It costs {number} euros."}) for number in range(3))
REPO = {"data/rows.jsonl": ROWS.encode()}


def opened(data: str) -> Any:
    """Return the topics of the sources of seeds, or the message of the error."""
    try:
        recipe = Recipe("m", seeds={"data": data, "fields": {"topic": "about", "source": "text"}})
    except ValueError as error:
        return str(error)
    assert recipe.loaded_seeds is not None
    return sorted(source.topic for source in recipe.loaded_seeds.sources)


def read(url: str) -> Any:
    """Return the number of sources of a recipe file, or the message of the error."""
    try:
        seeds = Recipe.from_file(url).loaded_seeds
    except ValueError as error:
        return str(error)
    assert seeds is not None
    return len(seeds)


def test_rows_are_read_at_a_commit(hub: Hub, user: Machine) -> None:
    """An address without a commit can change, so the error names the address with the commit."""
    hub.repos["me/rows"] = REPO
    full = commit(hub.repos["me/rows"])
    address = f"hf://datasets/me/rows@{full}/data/rows.jsonl"
    assert user.run(opened, address) == ["Lamp 0", "Lamp 1", "Lamp 2"]
    for without in ("hf://datasets/me/rows/data/rows.jsonl", "hf://datasets/me/rows@main/data/rows.jsonl"):
        assert user.run(opened, without) == (
            f"seeds must name the commit of a dataset on the Hub: {without} can change. Write {address}."
        )
    assert "cannot be read" in user.run(opened, f"hf://datasets/me/rows@{full}/data/none.jsonl")
    assert "Write hf://datasets/me/none@<commit>/a.csv" in user.run(opened, "hf://datasets/me/none/a.csv")


def test_a_recipe_on_the_hub_has_its_rows_beside_it(hub: Hub, user: Machine) -> None:
    """A recipe on the Hub reads the rows next to it in its repo."""
    recipe = b"model: m\nseeds: {data: data/rows.jsonl, fields: {topic: about}}\n"
    hub.repos["me/with-rows"] = {**REPO, "a.consistent_chat.yaml": recipe}
    assert user.run(read, "hf://datasets/me/with-rows/a.consistent_chat.yaml") == 3


def test_a_strangers_recipe_gets_no_token_for_the_users_rows(hub: Hub, user: Machine) -> None:
    """A stranger's recipe on the Hub reads the user's rows without the token, and the user's own recipe with it."""
    hub.repos["me/rows"] = REPO
    data = f"hf://datasets/me/rows@{commit(REPO)}/data/rows.jsonl"
    recipe = f"model: m\nseeds: {{data: '{data}', fields: {{topic: about}}}}\n".encode()
    hub.repos["stranger/recipe"] = hub.repos["me/recipe"] = {"a.consistent_chat.yaml": recipe}
    for owner, has_token in (("stranger", False), ("me", True)):
        hub.requests.clear()
        user.run(read, f"hf://datasets/{owner}/recipe/a.consistent_chat.yaml")
        sent = {seen.authorization for seen in hub.requests if "/me/rows/" in seen.path}
        assert sent == ({f"Bearer {WRITER}"} if has_token else {None})
