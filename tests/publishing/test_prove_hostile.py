"""Published datasets with malicious changes: `verify` notices each one, and writes nothing outside its folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consistent_chat.errors import PublishError
from consistent_chat.publishing import layout
from tests import published
from tests.hub import Files, Hub
from tests.hub.machines import Machine
from tests.publishing import test_prove as proven
from tests.publishing.test_prove import RECIPE, ROWS_FILE, Edit, replace, verified

pytestmark = pytest.mark.slow

hub, provider, user, demo, name = proven.hub, proven.provider, proven.user, proven.demo, proven.name


def test_a_file_that_was_slipped_in_is_seen(hub: Hub, user: Machine, name: str) -> None:
    """`verify` reports an additional data file, which `load_dataset` would read as rows."""
    hub.repos[name]["data/train-00001-of-00001.parquet"] = hub.repos[name]["data/train-00000-of-00001.parquet"]
    done = verified(user, name)
    assert done.code == 1
    assert "data/train-00001-of-00001.parquet was not published" in done.said


@pytest.mark.parametrize("edit", [lambda card: card.replace(b"data/train-*", b"notes/*"), lambda card: b"# Mine\n"])
def test_a_card_that_names_other_files_is_seen(hub: Hub, user: Machine, name: str, edit: Edit) -> None:
    """`verify` reports a card whose `configs` name other files, because `load_dataset` would read those."""
    hub.repos[name]["README.md"] = edit(hub.repos[name]["README.md"])
    done = user.run(published.command, "verify", name)
    assert (done.code, done.said.splitlines()[0]) == (
        1,
        "README.md does not say under `configs` which files were published as rows.",
    )


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b"{}", b'{"consistent_chat_dataset": 1, "files": [], "recipes": {}, "versions": {}}',
     b'{"consistent_chat_dataset": 1, "files": {}, "recipes": {"train": "../x.consistent_chat.yaml"}, "versions": {}}',
     b'{"consistent_chat_dataset": 9, "files": {}, "recipes": {}, "versions": {}}', b"[" * 100_000],
)  # fmt: skip
def test_a_manifest_that_is_none_is_said(hub: Hub, user: Machine, name: str, manifest: bytes) -> None:
    """An invalid manifest gives an error that names it."""
    hub.repos[name]["consistent_chat.json"] = manifest
    done = verified(user, name)
    assert done.code == 1
    assert "consistent_chat.json" in done.said


def other_rows(files: Files, tmp_path: Path) -> bytes:
    """Return a Parquet file with a row that was not published."""

    def edit(row: dict[str, Any]) -> None:
        row["conversation"][1]["value"] = "Buy gold."

    return published.edited(files[ROWS_FILE], tmp_path, edit, 0)


def in_header(text: str) -> Edit:
    """Return a function that adds lines at the end of a card's header."""
    return lambda card: card.replace(b"\n---\n", b"\n" + text.encode() + b"\n---\n", 1)


def in_configs(text: str) -> Edit:
    """Return a function that adds a config at the beginning of a card's configs."""
    return lambda card: card.replace(b"configs:\n", b"configs:\n" + text.encode(), 1)


OTHER = "- config_name: {}\n  data_files:\n  - split: train\n    path: more/x.parquet\n"


REDIRECTIONS: dict[str, tuple[str, Edit]] = {
    "a standalone YAML": (".huggingface.yaml", lambda _: b"configs:\n" + OTHER.format("default").encode()),
    "a second config of the name": ("README.md", lambda card: re.sub(
        b"(configs:\n(?:(?:- |  ).*\n)*)", lambda found: found[1] + OTHER.format("default").encode(), card, count=1)),
    "a first config of the name": ("README.md", in_configs(OTHER.format("default"))),
    "a config without a name": ("README.md", in_configs(OTHER.format("x").replace("config_name: x\n ", ""))),
    "another default": ("README.md", in_configs(OTHER.format("more") + "  default: true\n")),
    "a first config, which chooses the builder": ("README.md", in_configs(OTHER.format("more"))),
    "a second key": ("README.md", in_header("configs:\n" + OTHER.format("default").rstrip())),
    "a folder": ("README.md", lambda card: card.replace(b"- config_name: default\n",
                                                        b"- config_name: default\n  data_dir: more\n", 1)),
    "filters": ("README.md", lambda card: card.replace(b"- config_name: default\n",
                                                       b"- config_name: default\n  columns: [category]\n", 1)),
    "other features": ("README.md", in_header(
        "dataset_info:\n  features:\n  - name: category\n    dtype: string")),
    "other features of a config": ("README.md", in_header(
        "dataset_info:\n- config_name: default\n  features:\n  - name: category\n    dtype: string")),
    "old metadata": ("dataset_infos.json", lambda _: json.dumps(
        {"default": {"features": {"category": {"dtype": "string", "_type": "Value"}}}}).encode()),
    "a script": ("{title}.py", lambda _: b"raise SystemExit\n"),
}  # fmt: skip
"""What makes `load_dataset` give other rows, or none: the file, and how it is changed."""


@pytest.mark.parametrize("what", REDIRECTIONS)
def test_what_redirects_load_dataset_is_seen(hub: Hub, user: Machine, name: str, tmp_path: Path, what: str) -> None:
    """`verify` fails if a change makes `load_dataset` read other rows, although all published files are unchanged."""
    path, edit = REDIRECTIONS[what]
    path = path.format(title=name.rpartition("/")[2])
    hub.repos[name]["more/x.parquet"] = other_rows(hub.repos[name], tmp_path)
    assert verified(user, name).code == 0  # no config has the file yet
    before = hub.repos[name].get(path, b"")
    hub.repos[name][path] = edit(before)
    assert hub.repos[name][path] != before
    done = verified(user, name)
    assert done.code == 1, done.said
    assert "Traceback" not in done.said


def test_types_in_a_file_are_seen(hub: Hub, user: Machine, name: str) -> None:
    """`verify` reports metadata in a Parquet file that makes `datasets` read columns as other types."""
    table = pq.read_table(pa.BufferReader(hub.repos[name][ROWS_FILE]))
    features = {"info": {"features": {"category": {"dtype": "large_string", "_type": "Value"}}}}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({b"huggingface": json.dumps(features).encode()}), sink)
    replace(hub, name, ROWS_FILE, sink.getvalue().to_pybytes())
    done = verified(user, name)
    assert done.code == 1
    assert f"{ROWS_FILE} makes `datasets` read its columns as other types" in done.said


def test_columns_of_other_types_are_seen(hub: Hub, user: Machine, name: str) -> None:
    """`verify` reports columns of other types, even if their values are equal in Python."""
    table = pq.read_table(pa.BufferReader(hub.repos[name][ROWS_FILE]))
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(0, "category", table["category"].cast(pa.large_string())), sink)
    replace(hub, name, ROWS_FILE, sink.getvalue().to_pybytes())
    done = verified(user, name)
    assert done.code == 1
    assert "different types" in done.said


OUTSIDE = ["../../victim/data/train", "/victim/train", "..", "a/b", "a\\b", "C:x", "train\x00", "train\n", "", " "]


@pytest.mark.parametrize("split", OUTSIDE)
def test_nothing_is_written_outside(user: Machine, demo: Files, tmp_path: Path, split: str) -> None:
    """A split whose name would lead outside the folder is refused before anything is written."""
    folder, victim = tmp_path / "dataset", tmp_path / "victim" / "data" / "train-00000-of-00001.parquet"
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"mine")
    for path, content in demo.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    up = "../" * 20 + str(victim.parent / "train").lstrip("/")
    for name in (split, up):
        manifest = json.loads(demo["consistent_chat.json"])
        manifest["recipes"] = {"train": RECIPE, name: RECIPE}
        (folder / "consistent_chat.json").write_text(json.dumps(manifest))
        done = verified(user, str(folder))
        assert done.code == 1
        assert "is not a name of a split" in done.said
    assert victim.read_bytes() == b"mine"
    assert sorted(tmp_path.rglob("*.parquet")) == sorted([victim, *folder.rglob("*.parquet")])


@pytest.mark.parametrize("path", ["../x.parquet", "LICENSE", "models/weights.bin", "data/../../x", "/data/x", "data//x",
                                  "data/./x", "README.md", "data\\x", "data/\x1b[2Jx", ".gitattributes"])  # fmt: skip
def test_a_manifest_names_only_what_is_published(path: str) -> None:
    """A manifest may only name paths of published files.

    Files that it names are read, compared and, on the next publication, deleted.
    """
    content = {"consistent_chat_dataset": 1, "files": {path: "0" * 64}, "recipes": {}, "versions": {}}
    with pytest.raises(PublishError, match="is not a path of a published file"):
        layout.Manifest.read(json.dumps(content).encode(), "manifest")
