"""The real clients load recipes from a local Hub, and an untrusted repo cannot spend money or read files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from datasets import Dataset, IterableDataset, load_dataset

import consistent_chat
from consistent_chat.errors import MissingResponse, RecipeError
from tests import forked
from tests.hub import Files, Hub, commit
from tests.provider import Provider

RECIPE = b"num_dialogs_per_intent: 1\nintents: [simulation]\ntaxonomy: about/divers.yaml\n"
TAXONOMY = b"personas: [a diver]\n"
REPO = {"my.consistent_chat.yaml": RECIPE, "about/divers.yaml": TAXONOMY}
TOKEN = "hf_from_the_environment"
pytestmark = pytest.mark.slow  # each case loads in another user's process
HUGE = b"# much ado about nothing\n" * (32 * 2**20 // 25)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """Run a Hub whose repos each test adds."""
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def user(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """Run a process of a logged-in user of this Hub, because the clients read its address when they are imported."""
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "ANTHROPIC_API_KEY": "sk-ant-of-the-user",
    }
    given = {**os.environ, **environment}
    with ProcessPoolExecutor(1, forked.Context(*forked.THIRD_PARTY), forked.adopt, (given,)) as pool:
        yield pool


@pytest.fixture
def load(hub: Hub, user: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that loads rows in that user's process."""
    hub.requests.clear()
    hub.sent = 0
    return lambda *args, **given: user.submit(rows, *args, **given).result(timeout=300)


def rows(*args: Any, **given: Any) -> Any:
    """Return the rows of a dataset, or of each of its splits."""
    assert consistent_chat
    made = load_dataset(*args, **given)
    single = isinstance(made, (Dataset, IterableDataset))
    return list(made) if single else {split: list(made[split]) for split in made}


def personas(made: list[dict[str, Any]]) -> set[str]:
    """Return the personas of the rows, which show the taxonomy that was used."""
    return {row["provenance"]["persona"] for row in made}


def test_a_repo_with_a_recipe_is_a_dataset(hub: Hub, load: Any) -> None:
    """`load_dataset("me/demo", serving=...)` builds the recipe in the repo with the taxonomy that the recipe names."""
    hub.repos["me/demo"] = REPO
    made = load("me/demo", serving="rehearsal", split="train")
    assert personas(made) == {"a diver"}
    assert load("me/demo", serving="rehearsal", split="train", streaming=True) == made
    assert load("me/demo", num_dialogs_per_intent=3, serving="rehearsal", split="train", num_proc=2)[:1] == made


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_recipe_on_the_hub_by_its_address(hub: Hub, load: Any, revision: str) -> None:
    """`data_files="hf://datasets/..."` loads a recipe from the Hub, with or without a revision."""
    hub.repos["me/address"] = REPO
    url = f"hf://datasets/me/address{revision}/my.consistent_chat.yaml"
    assert personas(load("consistent_chat", data_files=url, serving="rehearsal", split="train")) == {"a diver"}


def test_a_recipe_on_the_hub_by_its_web_address(hub: Hub, load: Any) -> None:
    """The URL of the Hub's download button works as `data_files=`."""
    hub.repos["me/web"] = REPO
    url = f"{hub.url}/datasets/me/web/resolve/main/my.consistent_chat.yaml"
    assert personas(load("consistent_chat", data_files=url, serving="rehearsal", split="train")) == {"a diver"}


def test_recipe_and_taxonomy_are_of_one_commit(hub: Hub, load: Any) -> None:
    """The recipe and its taxonomy are read at the same commit, even if someone pushes in between."""
    hub.repos["me/commit"] = REPO
    load("me/commit", serving="rehearsal", split="train")
    read = [seen.path for seen in hub.requests if seen.path.endswith(("divers.yaml", "consistent_chat.yaml"))]
    assert {path.split("/")[5] for path in read} == {commit(REPO)}


def test_two_recipes_in_a_repo_are_two_splits(hub: Hub, load: Any) -> None:
    """File names or the README's `data_files` define the splits, and the README may also set recipe fields."""
    recipes = {f"{split}.consistent_chat.yaml": RECIPE for split in ("train", "test")}
    hub.repos["me/splits"] = {**recipes, "about/divers.yaml": TAXONOMY}
    made = load("me/splits", serving="rehearsal")
    assert {split: len(rows) for split, rows in made.items()} == {"train": 1, "test": 1}
    listed = "[{split: a, path: train.*}, {split: b, path: test.*}]"
    readme = f"---\nconfigs:\n- config_name: both\n  data_files: {listed}\n  num_dialogs_per_intent: 2\n---\n"
    hub.repos["me/listed"] = {**hub.repos["me/splits"], "README.md": readme.encode()}
    made = load("me/listed", "both", serving="rehearsal")
    assert {split: len(rows) for split, rows in made.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize("path", ["me/private", "consistent_chat"])
def test_a_private_repo_gets_its_token_and_no_other_server_does(hub: Hub, load: Any, path: str) -> None:
    """The recipe and its taxonomy are read with `token=`, but the storage that the Hub redirects to gets no token."""
    hub.repos["me/private"], hub.private["me/private"] = REPO, "hf_given"
    hub.large |= {("me/private", name) for name in REPO}
    files = {} if path == "me/private" else {"data_files": "hf://datasets/me/private/my.consistent_chat.yaml"}
    with pytest.raises(FileNotFoundError):
        load(path, **files, serving="rehearsal", split="train")
    made = load(path, **files, token="hf_given", serving="rehearsal", split="train")
    assert personas(made) == {"a diver"}
    stored = [seen for seen in hub.requests if seen.path.startswith("/storage/")]
    assert {seen.path.rpartition("/")[2] for seen in stored} >= {"my.consistent_chat.yaml", "divers.yaml"}
    assert {seen.authorization for seen in stored} == {None}


def test_the_token_goes_to_no_other_server(hub: Hub, load: Any) -> None:
    """A recipe on another website is read without the user's token, from `token=` or from the environment."""
    hub.repos["me/website"] = REPO
    url = f"{hub.url.replace('127.0.0.1', 'localhost')}/datasets/me/website/resolve/main/my.consistent_chat.yaml"
    for token in ({}, {"token": "hf_given"}):
        load("consistent_chat", data_files=url, serving="rehearsal", split="train", **token)
    assert len(hub.requests) >= 4
    assert {seen.authorization for seen in hub.requests} == {None}


def test_without_a_serving_a_repo_makes_no_calls(hub: Hub, load: Any) -> None:
    """A repo without `serving=` raises `MissingResponse`, even if an API key is in the environment."""
    hub.repos["me/quiet"] = {**REPO, "my.consistent_chat.yaml": b"model: m\n" + RECIPE}
    with pytest.raises(MissingResponse, match="Pass serving="):
        load("me/quiet", split="train")


@pytest.mark.parametrize("name", ["serving", "base_url", "api_key", "responses", "mode", "max_calls"])
def test_a_recipe_of_a_stranger_cannot_name_who_answers(hub: Hub, load: Any, name: str) -> None:
    """A recipe file with an operational field, such as `serving` or `api_key`, raises an error that names its line."""
    hub.repos[f"me/{name}"] = {"my.consistent_chat.yaml": f"model: m\n{name}: anthropic\n".encode()}
    with pytest.raises(RecipeError, match=rf"my\.consistent_chat\.yaml, line 2 .*has no field '{name}'"):
        load(f"me/{name}", split="train")


def readme(**params: Any) -> bytes:
    """Return a README whose only config has these parameters, which `datasets` passes to the builder."""
    lines = "".join(f"  {name}: {value}\n" for name, value in params.items())
    return f"---\nconfigs:\n- config_name: default\n  data_files: '*.consistent_chat.yaml'\n{lines}---\n".encode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("serving", "anthropic"), ("base_url", "http://example.org"), ("api_key", "k"), ("responses", "/tmp/r"),
        ("mode", "refresh"), ("max_concurrency", 1000), ("taxonomy", "/etc/hostname"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("given", [{}, {"serving": "rehearsal"}], ids=["alone", "serving"])
def test_a_readme_of_a_stranger_cannot_either(
    hub: Hub, load: Any, name: str, value: Any, given: dict[str, str]
) -> None:
    """A README that sets operational fields or a taxonomy raises an error, so it cannot redirect the user's key."""
    recipe = b"model: m\nnum_dialogs_per_intent: 1\n"
    hub.repos[f"me/readme-{name}"] = {"my.consistent_chat.yaml": recipe, "README.md": readme(**{name: value})}
    with pytest.raises(RecipeError, match=f"README.* sets {name!r}"):
        load(f"me/readme-{name}", split="train", **given)


def test_a_readme_that_wants_to_spend_spends_nothing(hub: Hub, load: Any) -> None:
    """A README with `serving` and a working address raises an error, and no request is sent although a key is set."""
    with Provider() as provider:
        spend = readme(serving="anthropic", base_url=provider.url)
        hub.repos["me/spend"] = {"my.consistent_chat.yaml": b"model: m\n", "README.md": spend}
        with pytest.raises(RecipeError, match="README"):
            load("me/spend", split="train")
        with pytest.raises(RecipeError, match="README"):
            load("me/spend", split="train", serving="anthropic")
        assert provider.requests == []


OUTSIDE = [
    "/etc/hostname", "../secret.yaml", "about/../../secret.yaml", "~/secret.yaml", "http://127.0.0.1/secret.yaml",
    "hf://datasets/me/secret/secret.yaml", "file:///etc/hostname", "..\\secret.yaml", "x::file", "C:/secret.yaml",
]  # fmt: skip


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_taxonomy_outside_the_repo_is_refused(hub: Hub, load: Any, name: str) -> None:
    """A taxonomy path outside the repo raises an error before any request for that file."""
    hub.repos["me/secret"] = {"secret.yaml": TAXONOMY}
    repo: Files = {"my.consistent_chat.yaml": f"taxonomy: '{name}'\n".encode()}
    hub.repos[f"me/outside-{commit(repo)[:8]}"] = repo
    with pytest.raises(RecipeError, match=r"yaml, line 1 \(taxonomy\): .* within the recipe's own folder"):
        load(f"me/outside-{commit(repo)[:8]}", serving="rehearsal", split="train")
    assert not [seen for seen in hub.requests if "secret" in seen.path]


@pytest.mark.parametrize("name", list(REPO))
def test_a_huge_file_is_refused_before_it_is_read_whole(hub: Hub, load: Any, name: str) -> None:
    """A file of 32 MiB raises an error after less than 16 MiB were sent."""
    hub.repos[f"me/huge-{len(name)}"] = {**REPO, name: HUGE}
    with pytest.raises(RecipeError, match="larger than 4 MiB"):
        load(f"me/huge-{len(name)}", serving="rehearsal", split="train")
    assert hub.sent < 16 * 2**20
