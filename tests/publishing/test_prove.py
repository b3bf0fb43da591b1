"""A published dataset passes `verify`, fails it with one changed byte, and can be rebuilt on any machine."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.files import file_digest
from tests import published
from tests.hub import Files, Hub
from tests.hub.machines import Machine, machine
from tests.provider import Call, Provider, Reply

pytestmark = pytest.mark.slow

COUNTER = itertools.count()
RECIPE = "demo.consistent_chat.yaml"
ROWS_FILE = "data/train-00000-of-00001.parquet"
Edit = Callable[[bytes], bytes]

hub = published.hub


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """Run one provider for all tests of the module."""
    with Provider() as running:
        yield running


@pytest.fixture(scope="module")
def user(hub: Hub, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Provide a machine without stored responses, whose user has a key."""
    home = tmp_path_factory.mktemp("user")
    made = machine(hub, home, ANTHROPIC_API_KEY="a-key", ANTHROPIC_BASE_URL=provider.url)
    yield made
    made.pool.shutdown()


@pytest.fixture(scope="module")
def demo(hub: Hub, user: Machine) -> Files:
    """Publish the demo, and return its files."""
    done = user.run(published.command, "publish", "demo", "me/demo")
    assert done.code == 0, done.said
    return hub.repos["me/demo"]


@pytest.fixture
def name(hub: Hub, demo: Files) -> str:
    """Return the name of a repository with a copy of the demo, which a test may damage."""
    made = f"me/proof-{next(COUNTER)}"
    hub.repos[made] = dict(demo)
    hub.requests.clear()
    return made


def flipped(at: float) -> Edit:
    """Return a function that changes one byte at this fraction of a file."""

    def edit(content: bytes) -> bytes:
        place = int(at * len(content))
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return edit


def verified(user: Machine, where: str) -> Any:
    """Run `verify`, and return its exit code and output."""
    return user.run(published.command, "verify", where)


@pytest.mark.parametrize("form", ["{}", "hf://datasets/{}", "{}@main", "hf://datasets/{}@main"])
def test_what_is_published_is_proven(hub: Hub, user: Machine, name: str, form: str) -> None:
    """`verify` accepts a published dataset by name or URL, and writes nothing to the Hub."""
    done = verified(user, form.format(name))
    assert done == (
        0,
        f"consistent-chat: {form.format(name)}: 18 rows of train: all match the recipe and the responses.\n",
    )
    assert not hub.writes()


def test_a_folder_of_that_layout_is_proven_too(user: Machine, demo: Files, tmp_path: Path) -> None:
    """`verify` accepts a local copy of the repository, and reports a missing data file."""
    for path, content in demo.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert verified(user, str(tmp_path)).code == 0
    (tmp_path / "data" / "train-00000-of-00001.parquet").unlink()
    done = verified(user, str(tmp_path))
    assert done.code == 1
    assert "train, row 0 is not published" in done.said


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.9, 0.99999])
@pytest.mark.parametrize("file", ["data/train-00000-of-00001.parquet", "failures/train.parquet", ".parquet", RECIPE])
def test_one_byte_is_seen(hub: Hub, user: Machine, name: str, file: str, at: float) -> None:
    """One changed byte at any position makes `verify` fail and name the file."""
    paths = [path for path in hub.repos[name] if path.endswith(file)]
    path = next((path for path in paths if "packs" in path), paths[0])
    hub.repos[name][path] = flipped(at)(hub.repos[name][path])
    done = verified(user, name)
    assert done.code == 1
    assert path in done.said


def test_the_first_row_that_differs_is_named(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """`verify` names the split, index, column and texts of the first changed row.

    It does so even if the manifest was changed too.
    """
    file = "data/train-00000-of-00001.parquet"

    def edit(row: dict[str, Any]) -> None:
        row["conversation"][1]["value"] += " And buy gold."

    changed = published.edited(hub.repos[name][file], tmp_path, edit, 7)
    hub.repos[name][file] = changed
    manifest = json.loads(hub.repos[name]["consistent_chat.json"])
    manifest["files"][file] = file_digest(tmp_path / "edited.parquet")
    hub.repos[name]["consistent_chat.json"] = json.dumps(manifest).encode()
    done = verified(user, name)
    assert done.code == 1
    (fault, _) = done.said.splitlines()
    assert fault.startswith("train, row 7, column 'conversation' differs: ")
    assert "And buy gold." in fault


def test_other_bytes_of_the_same_rows_are_no_fault(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """A file of equal rows passes even if its bytes differ from those of a rebuild.

    Another version of pyarrow writes other bytes; the message says so.
    """
    file = "data/train-00000-of-00001.parquet"
    hub.repos[name][file] = published.edited(hub.repos[name][file], tmp_path, lambda row: None, 0)
    manifest = json.loads(hub.repos[name]["consistent_chat.json"])
    manifest["files"][file] = file_digest(tmp_path / "edited.parquet")
    manifest["versions"]["pyarrow"] = "1.0"
    hub.repos[name]["consistent_chat.json"] = json.dumps(manifest).encode()
    done = verified(user, name)
    assert done.code == 0
    assert "different bytes, but the same rows. Written with pyarrow 1.0" in done.said


def test_another_recipe_makes_other_rows(hub: Hub, user: Machine, name: str) -> None:
    """A changed recipe makes `verify` fail, and the message names the field that differs from the stored requests."""
    hub.repos[name][RECIPE] = hub.repos[name][RECIPE].replace(b"temperature: 0.9", b"temperature: 0.8")
    done = verified(user, name)
    assert done.code == 1
    assert "temperature: 0.9 is recorded, 0.8 is requested" in done.said


def test_the_card_may_be_changed(hub: Hub, user: Machine, name: str) -> None:
    """A user may change the text of the card, and `verify` still succeeds."""
    hub.repos[name]["README.md"] += b"\nMore words.\n"
    assert verified(user, name).code == 0


@pytest.mark.parametrize(
    ("where", "says"), [("me/not-there", "cannot be read"), ("me/bare", "is not a published dataset")]
)
def test_what_is_no_published_dataset_is_said(hub: Hub, user: Machine, where: str, says: str) -> None:
    """`verify` reports a repository that does not exist and one without a manifest."""
    hub.repos["me/bare"] = {"README.md": b""}
    done = verified(user, where)
    assert done.code == 1
    assert says in done.said


def test_the_store_of_a_published_dataset_can_be_checked_by_itself(user: Machine, name: str) -> None:
    """`verify` also accepts the response store of a published dataset."""
    done = verified(user, f"hf://datasets/{name}/responses")
    assert done.code == 0
    assert "39 responses in 1 packs" in done.said


def test_anybody_rebuilds_it_without_a_key(hub: Hub, user: Machine, provider: Provider, name: str) -> None:
    """Any user can rebuild the dataset from its recipe without a key.

    The responses of the same commit are used, and no calls are made even with a serving.
    """
    url = f"hf://datasets/{name}/{RECIPE}"
    made = user.run(published.rows, "consistent_chat", data_files=url, mode="replay")
    assert made == user.run(published.rows, name)
    provider.requests.clear()
    assert made == user.run(published.rows, "consistent_chat", data_files=url, serving="anthropic")
    assert provider.requests == []
    revision = url.replace(name, f"{name}@main")
    assert made == user.run(published.rows, "consistent_chat", data_files=revision, mode="replay")
    assert not hub.writes()


def test_a_changed_field_asks_for_what_it_needs(user: Machine, provider: Provider, name: str, tmp_path: Path) -> None:
    """After a change from two to three dialogues per intent, only the new dialogue is requested."""
    made = user.run(
        published.rows, "consistent_chat", data_files=f"hf://datasets/{name}/{RECIPE}", num_dialogs_per_intent=3,
        intents=["simulation"], serving="anthropic", responses=str(tmp_path),
    )  # fmt: skip
    assert len(made) == 3
    assert len(provider.requests) == 2
    provider.requests.clear()


def test_a_private_dataset_takes_its_token(hub: Hub, user: Machine, name: str) -> None:
    """The token of a private dataset also gives access to its responses."""
    hub.private[name] = "hf_given"
    url = f"hf://datasets/{name}/{RECIPE}"
    made = user.run(published.rows, "consistent_chat", data_files=url, mode="replay", token="hf_given")
    assert len(made) == 18


def test_a_recipe_on_this_machine_finds_its_responses_too(user: Machine, demo: Files, tmp_path: Path) -> None:
    """A local folder with a recipe and responses can be rebuilt like a dataset on the Hub."""
    for path, content in demo.items():
        if path.startswith("responses/") or path == RECIPE:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    assert len(user.run(published.rows, "consistent_chat", data_files=str(tmp_path / RECIPE), mode="replay")) == 18
    assert len(user.run(published.rows, str(tmp_path), data_files="*.consistent_chat.yaml", mode="replay")) == 18


def test_a_rebuilt_dataset_can_be_published_elsewhere(hub: Hub, user: Machine, name: str) -> None:
    """Publishing from the URL of a published recipe gives the same files, except for the card."""
    done = user.run(published.command, "publish", f"hf://datasets/{name}/{RECIPE}", f"{name}-again")
    assert done.code == 0, done.said
    for path, content in hub.repos[name].items():
        assert path == "README.md" or hub.repos[f"{name}-again"][path] == content


@pytest.mark.parametrize("columns", ["messages", "sharegpt"])
def test_layouts_and_failures_of_none(hub: Hub, user: Machine, columns: str) -> None:
    """Other layouts pass `verify` without provenance.

    A dataset without failed draws has no config for them, because it could not be loaded.
    """
    name = f"me/{columns}"
    options = ["--layout", columns, "--no-provenance", "--intents", "simulation"]
    done = user.run(published.command, "publish", "demo", name, *options)
    assert done.code == 0, done.said
    assert verified(user, name).code == 0
    assert len(user.run(published.rows, name)[0]) == 2
    header = hub.repos[name]["README.md"].decode().split("---\n")[1]
    assert "failures" not in header
    assert not any(path.startswith("failures/") for path in hub.repos[name])


def thoughtful(call: Call) -> Reply:
    """Return an answer with its reasoning in a separate block. Half of the reasoning texts have a lone surrogate."""
    half = "\ud83d" * (call.number % 2)
    thought = {"type": "thinking", "thinking": f"I think{half} of {call.mark}.", "signature": "s"}
    content = [thought, {"type": "text", "text": json.dumps(call.texts)}]
    return Reply.body(200, json.dumps({"type": "message", "content": content, "stop_reason": "end_turn"}))


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["conversation", "messages"])
def test_rows_with_reasoning_are_proven(hub: Hub, user: Machine, tmp_path: Path, columns: str) -> None:
    """Reasoning is published, is readable with plain `datasets`, and is rebuilt without a key.

    A row with changed reasoning makes `verify` fail, even if the manifest was changed too.
    """
    name, store = f"me/thoughts-{columns}", str(tmp_path / "responses")
    options = ["--layout", columns, "--reasoning", "--intents", "simulation", "--num-turns-per-dialog", "2"]
    options += ["--model", "claude-sonnet-4-6", "--num-dialogs-per-intent", "3", "--responses", store]
    with Provider(thoughtful) as provider:
        options += ["--serving", "anthropic", "--base-url", provider.url]
        done = user.run(published.command, "publish", "demo", name, *options)
    assert done.code == 0, done.said
    assert verified(user, name).code == 0, verified(user, name).said
    made = user.run(published.rows, name)
    recipe = f"hf://datasets/{name}/{next(path for path in hub.repos[name] if path.endswith('.consistent_chat.yaml'))}"
    assert made == user.run(published.rows, "consistent_chat", data_files=recipe, mode="replay")
    assert all(re.fullmatch(r"I think(\\ud83d)? of [0-9a-f]{10}\.", row["reasoning"]) for row in made)
    if columns == "messages":
        assert [row["messages"][1]["reasoning_content"] for row in made] == [row["reasoning"] for row in made]

    def edit(row: dict[str, Any]) -> None:
        row["reasoning"] = "I think of gold."

    replace(hub, name, ROWS_FILE, published.edited(hub.repos[name][ROWS_FILE], tmp_path, edit, 1))
    assert "train, row 1, column 'reasoning' differs: " in verified(user, name).said


def replace(hub: Hub, name: str, path: str, content: bytes) -> None:
    """Replace a file and its digest in the manifest."""
    hub.repos[name][path] = content
    manifest = json.loads(hub.repos[name]["consistent_chat.json"])
    manifest["files"][path] = hashlib.sha256(content).hexdigest()
    hub.repos[name]["consistent_chat.json"] = json.dumps(manifest).encode()
