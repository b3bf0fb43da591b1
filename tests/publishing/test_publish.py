"""Publishing to the Hub: the published files, and what a second publication sends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import datasets
import hypothesis
import pytest
from hypothesis import strategies as st

from consistent_chat.publishing import live
from tests import forked, published
from tests.hub import WRITER, Hub
from tests.hub.machines import Machine, machine
from tests.provider import Provider
from tests.published import needs_buckets, publish, refused

hub, user, name = published.hub, published.user, published.name


@pytest.mark.slow
def test_everything_is_there_in_one_commit(hub: Hub, user: Machine, name: str) -> None:
    """One commit has the rows, failed draws, responses, recipe, card and manifest."""
    assert "18 rows of train; " in publish(user, name)
    (commit,) = hub.commits
    assert set(commit.changed) == set(hub.repos[name]) - {".gitattributes"}
    folders = {path.partition("/")[0] for path in commit.changed}
    assert folders >= {
        "README.md",
        "consistent_chat.json",
        "data",
        "demo.consistent_chat.yaml",
        "failures",
        "responses",
    }


@pytest.mark.slow
def test_it_is_read_with_nothing_of_ours(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """Plain `datasets` reads rows, failed draws and responses, and streams the rows.

    The process cannot import this package.
    """
    publish(user, name)
    text = f"""
import sys
sys.modules["consistent_chat"] = None
from datasets import load_dataset
made = load_dataset({name!r})
print({{split: rows.num_rows for split, rows in made.items()}}, made["train"].column_names)
streamed = list(load_dataset({name!r}, split="train", streaming=True))
print(made["train"][3]["conversation"] == streamed[3]["conversation"])
print([load_dataset({name!r}, config, split="train").num_rows for config in ("failures", "responses")])
"""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = forked.run([sys.executable, "-c", text], environment, tmp_path)
    assert done.stdout.splitlines() == [
        "{'train': 18} ['category', 'conversation', 'provenance']",
        "True",
        "[3, 39]",
    ], done.stderr


@pytest.mark.slow
def test_our_package_does_not_take_over(user: Machine, name: str) -> None:
    """The rows are read from Parquet, although the repository has a recipe that this package's builder could read."""
    publish(user, name)
    assert user.run(published.rows, name) == user.run(published.rows, "consistent_chat", "demo")
    assert len(user.run(published.rows, name, "failures")) == 3


@pytest.mark.slow
def test_publishing_again_sends_nothing(hub: Hub, user: Machine, name: str) -> None:
    """Publishing again makes at most eight requests, and none of them writes."""
    publish(user, name)
    hub.requests.clear()
    assert "nothing has changed" in publish(user, name)
    assert not hub.writes()
    assert len(hub.requests) <= 8
    assert len(hub.commits) == 1


@pytest.mark.slow
def test_a_grown_dataset_sends_what_is_new(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """A larger dataset is published in one commit that adds the new files and removes the obsolete ones."""
    store = f"--responses={tmp_path}"
    rehearsal = ["--intents", "simulation", "--num-turns-per-dialog", "1", "--serving", "rehearsal", store]
    for count in (1, 2):
        done = user.run(published.command, "publish", name, *rehearsal, f"--num-dialogs-per-intent={count}")
        assert done.code == 0, done.said
    _, second = hub.commits
    packs = [path for path in second.changed if "/packs/" in path]
    assert len(packs) == 2  # the new one and the one that it replaces
    assert "failures/train.parquet" not in second.changed
    assert len([path for path in hub.repos[name] if "/packs/" in path]) == 1
    assert len(user.run(published.rows, name)) == 2


@pytest.mark.slow
def test_failures_that_are_no_more_leave_no_trace(hub: Hub, user: Machine, name: str) -> None:
    """Without failed draws the card has no config for them, because missing files would break `load_dataset`."""
    publish(user, name)
    publish(user, name, "--intents", "simulation")
    assert "config_name: failures" not in hub.repos[name]["README.md"].decode()
    assert len(user.run(published.rows, name)) == 2


@pytest.mark.slow
def test_no_more_is_published_than_the_rows_are_made_of(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """Only the responses of the published rows are published, and no other responses of the store."""
    user.run(published.rehearse, str(tmp_path))
    user.run(published.rehearse, str(tmp_path), seed=1)
    given = [
        "--model",
        "rehearsal",
        "--num-dialogs-per-intent=1",
        "--num-turns-per-dialog=2",
        "--responses",
        str(tmp_path),
    ]
    publish(user, name, *given, "--intents", "simulation", recipe="default")
    assert len(user.run(published.rows, name, "responses")) == 2


@pytest.mark.slow
def test_a_branch_is_made(hub: Hub, user: Machine, name: str) -> None:
    """Publishing to a revision creates the branch, and leaves the main branch unchanged."""
    publish(user, name)
    main = dict(hub.repos[name])
    publish(user, name, "--revision", "short", "--intents", "simulation")
    assert hub.repos[name] == main
    assert len(user.run(published.rows, name, revision="short")) == 2
    assert user.run(published.command, "verify", f"{name}@short").code == 0


@pytest.mark.slow
def test_a_branch_with_a_slash_proves_itself(hub: Hub, user: Machine, name: str) -> None:
    """`verify` accepts the name of a branch with a slash, both plain and percent-encoded in a URL."""
    publish(user, f"{name}@work/short")
    for written in (f"{name}@work/short", f"hf://datasets/{name}@work%2Fshort"):
        assert user.run(published.command, "verify", written).code == 0


@pytest.mark.slow
def test_a_pull_request_is_made(hub: Hub, user: Machine, name: str) -> None:
    """With `--create-pr`, the changes can be loaded from a pull request, and the main branch is unchanged."""
    publish(user, name)
    said = publish(user, name, "--create-pr", "--intents", "simulation")
    assert f"{hub.url}/datasets/{name}/discussions/1" in said
    assert len(user.run(published.rows, name)) == 18
    assert len(user.run(published.rows, name, revision="refs/pr/1")) == 2


@pytest.mark.slow
def test_a_private_repo_is_made(hub: Hub, user: Machine, name: str) -> None:
    """`--private` creates a private repository, which stays private. It is refused for a public repository."""
    publish(user, name, "--private")
    assert hub.private[name] == WRITER
    assert "nothing has changed" in publish(user, name, "--private")
    publish(user, f"{name}-public")
    assert "is already public" in refused(user, 1, "demo", f"{name}-public", "--private")


@pytest.mark.slow
@needs_buckets
def test_a_bucket_has_the_same(hub: Hub, user: Machine, name: str) -> None:
    """A folder of a bucket gets the same files as a repository.

    Publishing again sends nothing, and files outside the folder are unchanged.
    """
    bucket = f"buckets/{name}/data"
    hub.buckets[name] = {"data-of-others/train.parquet": b"theirs"}
    publish(user, bucket)
    publish(user, name)
    files = {path: content for path, content in hub.repos[name].items() if path not in ("README.md", ".gitattributes")}
    assert {f"data/{path}": content for path, content in files.items()}.items() <= hub.buckets[name].items()
    if not datasets.__version__.startswith("3."):  # datasets 3 cannot load from buckets
        assert user.run(published.rows, bucket) == user.run(published.rows, name)
    hub.requests.clear()
    assert "nothing has changed" in publish(user, bucket)
    assert not [seen for seen in hub.writes() if "batch" in seen.path]
    assert user.run(published.command, "verify", bucket).code == 0
    assert hub.buckets[name]["data-of-others/train.parquet"] == b"theirs"


@pytest.mark.slow
def test_with_a_serving_what_is_missing_is_asked_for(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """With a serving, missing responses are requested. Publishing again sends nothing."""
    given = ["--serving", "rehearsal", "--responses", str(tmp_path), "--num-dialogs-per-intent", "1"]
    publish(user, name, *given, recipe="default")
    assert "nothing has changed" in publish(user, name, *given, recipe="default")
    assert len(user.run(published.rows, name)) == 9


@pytest.mark.slow
def test_progress_is_shown_and_gone_at_the_end(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """The first commit is a card that says that the dataset is being made; the final card does not say so.

    The user's own text in the card stays in its place.
    """
    hub.repos[name] = {"README.md": b"---\nlicense: mit\n---\n\nMy own words.\n"}
    given = ["--serving", "rehearsal", "--responses", str(tmp_path), "--live"]
    publish(user, name, *given, recipe="default")
    first = hub.files(name, hub.commits[0].id)["README.md"].decode()
    assert first.startswith(f"---\nlicense: mit\n---\n\n{live.BEGIN}\n**This dataset is being made.**")
    assert first.endswith("My own words.\n")
    assert hub.commits[0].changed == ("README.md",)
    assert live.BEGIN not in hub.repos[name]["README.md"].decode()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["{}", pytest.param("buckets/{}/data", marks=needs_buckets)])
def test_progress_of_a_build_that_stops_is_taken_back(
    hub: Hub, user: Machine, name: str, tmp_path: Path, place: str
) -> None:
    """If the build stops, the progress is removed, and the user's card is exactly as before."""
    mine = b"---\nlicense: mit\n---\nMy own words.\n"
    files = {"README.md": mine} if place == "{}" else {"data/README.md": mine}
    (hub.repos if place == "{}" else hub.buckets)[name] = files
    given = ["--serving", "rehearsal", "--responses", str(tmp_path), "--live", "--max-calls", "2"]
    refused(user, 3, "default", place.format(name), *given)
    assert (hub.repos if place == "{}" else hub.buckets)[name] == files
    assert [seen for seen in hub.writes() if seen.path.endswith(("/commit/main", "/batch"))]


@hypothesis.given(st.text() | st.text().map("---\na: 1\n---\n{}".format))
def test_progress_leaves_every_card_as_it_was(readme: str) -> None:
    """Showing progress twice equals showing it once, and removing it gives the original card."""
    once = live.with_progress(readme, {}, {})
    assert live.with_progress(once, {}, {}) == once
    assert live.without(once) == readme


@pytest.mark.slow
def test_progress_that_cannot_be_shown_does_not_hurt(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """If the progress cannot be shown, the dataset is still built and published."""
    hub.passing["/commit/"] = 500
    publish(user, name, "--serving", "rehearsal", "--responses", str(tmp_path), "--live", recipe="default")
    assert len(user.run(published.rows, name)) == 180


@pytest.mark.slow
def test_what_a_function_publishes_is_the_same(hub: Hub, user: Machine, name: str) -> None:
    """`consistent_chat.publish(...)` publishes as the command does, and returns the rows and the commit."""
    made = user.run(published.call, "demo", name)
    assert made.rows == {"train": 18}
    assert f"/datasets/{name}/commit/" in made.sent.where


@pytest.mark.slow
def test_no_key_gets_out(hub: Hub, name: str, tmp_path: Path) -> None:
    """No published file contains the provider's key or the Hub's token."""
    key = "sk-ant-planted-key-of-the-user"
    with Provider() as provider:
        made = machine(hub, tmp_path, ANTHROPIC_API_KEY=key, ANTHROPIC_BASE_URL=provider.url)
        publish(
            made, name, "--serving", "anthropic", "--model", "claude-haiku-4-5", "--num-dialogs-per-intent", "1",
            recipe="simulation",
        )  # fmt: skip
        made.pool.shutdown()
    assert provider.requests
    for content in hub.repos[name].values():
        assert key.encode() not in content
        assert WRITER.encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--splits", "train=2", "test=1"], ["--drop-near-duplicates", "0.5"]])
def test_splits_and_stand_ins_prove_themselves(user: Machine, name: str, tmp_path: Path, options: list[str]) -> None:
    """Datasets with several splits or with substitutes for near-duplicates pass `verify`."""
    if "--drop-near-duplicates" in options:
        pytest.importorskip("datasketch")
        options = [*options, "--num-dialogs-per-intent", "2"]
    publish(user, name, "--serving", "rehearsal", "--responses", str(tmp_path), *options, recipe="default")
    assert user.run(published.command, "verify", name).code == 0
