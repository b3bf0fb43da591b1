"""Publishing to the Hub: what is there then, what a second time sends, and what is refused before anything is sent."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from huggingface_hub import HfApi

from consistent_chat.publishing import live
from tests import published
from tests.hub import READER, WRITER, Hub
from tests.hub.machines import Machine, machine
from tests.provider import Provider

COUNTER = itertools.count()
KNOWS_BUCKETS = hasattr(HfApi, "batch_bucket_files")
needs_buckets = pytest.mark.skipif(not KNOWS_BUCKETS, reason="this huggingface_hub knows no buckets")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A Hub for all tests."""
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def user(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose user may write."""
    made = machine(hub, tmp_path_factory.mktemp("user"))
    yield made
    made.pool.shutdown()


@pytest.fixture
def name(hub: Hub) -> str:
    """The name of a repo that is not there yet."""
    for seen in (hub.requests, hub.commits, hub.broken, hub.passing, hub.lost):
        seen.clear()
    return f"me/published-{next(COUNTER)}"


def publish(user: Machine, name: str, *options: str, recipe: str = "demo") -> str:
    """Publish and return what was said."""
    done = user.run(published.command, "publish", recipe, name, *options)
    assert done.code == 0, done.said
    return str(done.said)


def refused(user: Machine, code: int, *arguments: str) -> str:
    """Return what `publish` says when it ends with this code."""
    done = user.run(published.command, "publish", *arguments)
    assert done.code == code, done.said
    return str(done.said)


def test_everything_is_there_in_one_commit(hub: Hub, user: Machine, name: str) -> None:
    """Rows, failures, responses, recipe, card, and the manifest of them all."""
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


def test_it_is_read_with_nothing_of_ours(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """By plain `datasets`, in a process that cannot import this package: rows, failures, responses, a stream."""
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
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "{'train': 18} ['category', 'conversation', 'provenance']",
        "True",
        "[3, 39]",
    ], done.stderr


def test_our_package_does_not_take_over(user: Machine, name: str) -> None:
    """The rows are read from Parquet, although the repo has a file that a builder of ours would take."""
    publish(user, name)
    assert user.run(published.rows, name) == user.run(published.rows, "consistent_chat", "demo")
    assert len(user.run(published.rows, name, "failures")) == 3


def test_publishing_again_sends_nothing(hub: Hub, user: Machine, name: str) -> None:
    """A handful of requests, none of which writes."""
    publish(user, name)
    hub.requests.clear()
    assert "nothing has changed" in publish(user, name)
    assert not hub.writes()
    assert len(hub.requests) <= 8
    assert len(hub.commits) == 1


def test_a_grown_dataset_sends_what_is_new(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """And removes what is gone, in one commit."""
    store = f"--responses={tmp_path}"
    rehearsal = ["--intents", "simulation", "--num-turns-per-dialog", "1", "--serving", "rehearsal", store]
    for count in (1, 2):
        done = user.run(published.command, "publish", name, *rehearsal, f"--num-dialogs-per-intent={count}")
        assert done.code == 0, done.said
    _, second = hub.commits
    packs = [path for path in second.changed if "/packs/" in path]
    assert len(packs) == 2  # the one that takes the place of the other
    assert "failures/train.parquet" not in second.changed
    assert len([path for path in hub.repos[name] if "/packs/" in path]) == 1
    assert len(user.run(published.rows, name)) == 2


def test_failures_that_are_no_more_leave_no_trace(hub: Hub, user: Machine, name: str) -> None:
    """A config whose files are gone would keep all others from being loaded."""
    publish(user, name)
    publish(user, name, "--intents", "simulation")
    assert "config_name: failures" not in hub.repos[name]["README.md"].decode()
    assert len(user.run(published.rows, name)) == 2


def test_no_more_is_published_than_the_rows_are_made_of(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """What else lies in the store stays there."""
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


def test_it_goes_on_where_it_was_stopped(hub: Hub, name: str, tmp_path: Path) -> None:
    """The Hub fails when all files are sent, before the commit: nothing is half-published, and none is sent twice."""
    made = machine(hub, tmp_path, HF_HUB_DISABLE_XET="1")
    hub.broken["/commit/"] = 503
    assert "Run it again" in refused(made, 1, "demo", name, "--layout", "sharegpt")
    assert set(hub.repos[name]) == {".gitattributes"}
    assert [seen for seen in hub.requests if seen.method == "PUT"]
    hub.broken.clear()
    hub.requests.clear()
    publish(made, name, "--layout", "sharegpt")
    assert not [seen for seen in hub.requests if seen.method == "PUT"]
    assert len(hub.commits) == 1
    made.pool.shutdown()


@pytest.mark.parametrize("fault", ["passing", "lost"])
def test_a_stumble_of_the_hub_does_no_harm(hub: Hub, user: Machine, name: str, fault: str) -> None:
    """Be it before the commit or after: it is there once."""
    getattr(hub, fault)["/commit/"] = 502
    if fault == "passing":
        publish(user, name)
        assert len(hub.commits) == 1
    else:
        user.run(published.command, "publish", "demo", name)
        hub.lost.clear()
        assert "nothing has changed" in publish(user, name)
        assert len(hub.commits) == 1


def test_a_commit_of_somebody_else_in_between_is_kept(hub: Hub, user: Machine, name: str) -> None:
    """The commit is refused, what is there is looked at again, and only then is it changed."""
    publish(user, name)
    before = hub.repos[name]
    hub.repos[name] = {path: text for path, text in before.items() if not path.startswith("data/")}
    hub.passing["/commit/"] = 412
    publish(user, name)
    assert hub.repos[name] == before


def test_a_branch_is_made(hub: Hub, user: Machine, name: str) -> None:
    """And the main one is left alone."""
    publish(user, name)
    main = dict(hub.repos[name])
    publish(user, name, "--revision", "short", "--intents", "simulation")
    assert hub.repos[name] == main
    assert len(user.run(published.rows, name, revision="short")) == 2
    assert user.run(published.command, "verify", f"{name}@short").code == 0


def test_a_pull_request_is_made(hub: Hub, user: Machine, name: str) -> None:
    """What it would change can be loaded before it is merged."""
    publish(user, name)
    said = publish(user, name, "--create-pr", "--intents", "simulation")
    assert f"{hub.url}/datasets/{name}/discussions/1" in said
    assert len(user.run(published.rows, name)) == 18
    assert len(user.run(published.rows, name, revision="refs/pr/1")) == 2


def test_a_private_repo_is_made(hub: Hub, user: Machine, name: str) -> None:
    """It stays so, and a public one is not taken for one."""
    publish(user, name, "--private")
    assert hub.private[name] == WRITER
    assert "nothing has changed" in publish(user, name, "--private")
    publish(user, f"{name}-public")
    assert "is public already" in refused(user, 1, "demo", f"{name}-public", "--private")


@needs_buckets
def test_a_bucket_has_the_same(hub: Hub, user: Machine, name: str) -> None:
    """In a folder of it; the second time sends nothing, and a neighbour is left alone."""
    bucket = f"buckets/{name}/data"
    hub.buckets[name] = {"data-of-others/train.parquet": b"theirs"}
    publish(user, bucket)
    publish(user, name)
    files = {path: content for path, content in hub.repos[name].items() if path not in ("README.md", ".gitattributes")}
    assert {f"data/{path}": content for path, content in files.items()}.items() <= hub.buckets[name].items()
    if not datasets.__version__.startswith("3."):  # which loads nothing from buckets
        assert user.run(published.rows, bucket) == user.run(published.rows, name)
    hub.requests.clear()
    assert "nothing has changed" in publish(user, bucket)
    assert not [seen for seen in hub.writes() if "batch" in seen.path]
    assert user.run(published.command, "verify", bucket).code == 0
    assert hub.buckets[name]["data-of-others/train.parquet"] == b"theirs"


@needs_buckets
def test_a_bucket_shows_nothing_half_published(hub: Hub, user: Machine, name: str) -> None:
    """Where it stops in between, there is neither card nor manifest."""
    hub.broken[f"{name}/batch"] = 503
    refused(user, 1, "demo", f"buckets/{name}/data")
    assert hub.buckets[name] == {}


@needs_buckets
def test_a_bucket_goes_on_where_it_was_stopped(hub: Hub, user: Machine, name: str) -> None:
    """What has arrived is taken for what it is, though there is no manifest yet."""
    hub.lost[f"{name}/batch"] = 503
    refused(user, 1, "demo", f"buckets/{name}/data")
    assert "data/data/train-00000-of-00001.parquet" in hub.buckets[name]
    assert "data/consistent_chat.json" not in hub.buckets[name]
    hub.lost.clear()
    publish(user, f"buckets/{name}/data")
    assert user.run(published.command, "verify", f"buckets/{name}/data").code == 0


@pytest.mark.parametrize("told", ["", "hf_of_nobody", READER])
def test_who_may_not_write_hears_so_before_anything_is_sent(hub: Hub, name: str, tmp_path: Path, told: str) -> None:
    """No token, a wrong one, one that may only read."""
    made = machine(hub, tmp_path, HF_TOKEN=told)
    for there in (name, *([f"buckets/{name}/data"] if KNOWS_BUCKETS else [])):
        said = refused(made, 1, "demo", there)
        assert "token" in said
        assert told not in said or not told
    assert name not in hub.repos
    assert not hub.writes()
    made.pool.shutdown()


def test_somebody_elses_namespace_is_refused(hub: Hub, user: Machine, name: str) -> None:
    """For a repo that is there, and for one that is not."""
    hub.repos["you/there"] = {}
    for repo in ("you/there", "you/new", *(["buckets/you/new/data"] if KNOWS_BUCKETS else [])):
        assert "you" in refused(user, 1, "demo", repo)
    assert not hub.writes()


def test_a_repo_that_holds_something_else_is_refused(hub: Hub, user: Machine, name: str) -> None:
    """Unless one is told; then its other files stay."""
    theirs = {"data/train-00000-of-00009.parquet": b"theirs", "notes.txt": b"theirs", "README.md": b"# Mine\n"}
    hub.repos[name] = dict(theirs)
    said = refused(user, 1, "demo", name)
    assert "holds something else (data/train-00000-of-00009.parquet, notes.txt)" in said
    assert hub.repos[name] == theirs
    publish(user, name, "--overwrite")
    assert hub.repos[name]["notes.txt"] == b"theirs"
    assert len(user.run(published.rows, name)) == 18


def test_the_response_store_of_a_repo_stays_whole(hub: Hub, user: Machine, name: str) -> None:
    """A build had its store in the repo that its dataset goes to: what others have paid for is not removed."""
    hub.repos[name] = {}
    user.run(published.rehearse, f"hf://datasets/{name}/responses")
    user.run(published.rehearse, f"hf://datasets/{name}/responses", seed=1)
    before = dict(hub.repos[name])
    rehearsal = ["--model", "rehearsal", "--num-dialogs-per-intent=1", "--num-turns-per-dialog=2"]
    publish(
        user, name, *rehearsal, "--responses", f"hf://datasets/{name}/responses", "--intents", "simulation",
        recipe="default",
    )  # fmt: skip
    assert before.items() <= hub.repos[name].items()
    assert user.run(published.command, "verify", name).code == 0


@pytest.mark.parametrize(
    "repo",
    ["nothing", "a/b/c", "me/two words", "me/..", "me-/x", "me/x.git", "buckets/me", "buckets/me/b/../c", "me/x@"],
)
def test_what_is_no_name_of_a_repo_is_wrong_usage(hub: Hub, user: Machine, name: str, repo: str) -> None:
    """Before anybody is asked."""
    assert "Write " in refused(user, 2, "demo", repo)
    assert not hub.requests


def test_misses_are_listed(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """The first of them, their number, and what the nearest differs in; nothing was written."""
    user.run(published.rehearse, str(tmp_path))
    given = [
        "--model",
        "rehearsal",
        "--num-turns-per-dialog=2",
        "--responses",
        str(tmp_path),
        "--intents",
        "simulation",
    ]
    said = refused(user, 1, name, *given, "--num-dialogs-per-intent", "20")
    assert "19 of 20 dialogues lack a response (train 1, train 2, " in said
    assert "train 8, ...)" in said
    assert "The nearest recorded request differs in" in said
    assert not hub.writes()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--live"], "pass --serving"),
        (["--flavor", "cpu-basic"], "pass --on-hub"),
        (["--create-pr"], "There is no repo"),
        (["--num-dialogs-per-intent", "0"], "num_dialogs_per_intent must be"),
    ],
)
def test_what_does_not_go_together_is_said(hub: Hub, user: Machine, name: str, options: list[str], says: str) -> None:
    """Before anything is sent."""
    assert says in user.run(published.command, "publish", "demo", name, *options).said
    assert not hub.writes()


def test_with_a_serving_what_is_missing_is_asked_for(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """And a second time nothing is, nor sent."""
    given = ["--serving", "rehearsal", "--responses", str(tmp_path), "--num-dialogs-per-intent", "1"]
    publish(user, name, *given, recipe="default")
    assert "nothing has changed" in publish(user, name, *given, recipe="default")
    assert len(user.run(published.rows, name)) == 9


def test_progress_is_shown_and_gone_at_the_end(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """The first thing that is there is a card that says so; a person's own text stays where it is."""
    hub.repos[name] = {"README.md": b"---\nlicense: mit\n---\n\nMy own words.\n"}
    given = ["--serving", "rehearsal", "--responses", str(tmp_path), "--live"]
    publish(user, name, *given, recipe="default")
    first = hub.files(name, hub.commits[0].id)["README.md"].decode()
    assert first.startswith(f"---\nlicense: mit\n---\n\n{live.BEGIN}\n**This dataset is being made.**")
    assert first.endswith("My own words.\n")
    assert hub.commits[0].changed == ("README.md",)
    assert live.BEGIN not in hub.repos[name]["README.md"].decode()


def test_progress_that_cannot_be_shown_does_not_hurt(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """The build goes on and is published."""
    hub.passing["/commit/"] = 500
    publish(user, name, "--serving", "rehearsal", "--responses", str(tmp_path), "--live", recipe="default")
    assert len(user.run(published.rows, name)) == 180


def test_what_a_function_publishes_is_the_same(hub: Hub, user: Machine, name: str) -> None:
    """`consistent_chat.publish(...)`."""
    made = user.run(published.call, "demo", name)
    assert made.rows == {"train": 18}
    assert f"/datasets/{name}/commit/" in made.sent.where


def test_no_key_gets_out(hub: Hub, name: str, tmp_path: Path) -> None:
    """The provider's key and the Hub's token are in no file."""
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
