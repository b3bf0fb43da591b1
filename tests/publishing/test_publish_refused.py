"""Publishing that is refused before anything is sent, is stopped, or conflicts with another user's commits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests import published
from tests.hub import READER, Hub
from tests.hub.content import Commit, commit
from tests.hub.machines import Machine, machine
from tests.published import KNOWS_BUCKETS, needs_buckets, publish, refused

pytestmark = pytest.mark.slow

hub, user, name = published.hub, published.user, published.name


def test_it_goes_on_where_it_was_stopped(hub: Hub, name: str, tmp_path: Path) -> None:
    """If the Hub fails at the commit, nothing is published.

    The next attempt makes the commit without uploading a file again.
    """
    made = machine(hub, tmp_path, HF_HUB_DISABLE_XET="1")
    hub.broken["/commit/"] = 503
    (said,) = refused(made, 1, "demo", name, "--layout", "sharegpt").splitlines()
    assert said.endswith("Rerun the command.")
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
    """An error of the Hub before or after the commit leaves exactly one commit."""
    getattr(hub, fault)["/commit/"] = 502
    if fault == "passing":
        publish(user, name)
        assert len(hub.commits) == 1
    else:
        user.run(published.command, "publish", "demo", name)
        hub.lost.clear()
        assert "nothing has changed" in publish(user, name)
        assert len(hub.commits) == 1


def test_a_commit_of_another_user_in_between_is_kept(hub: Hub, user: Machine, name: str) -> None:
    """If another commit came first, the Hub refuses the commit.

    Publishing then reads the files of the repository again, and commits what still differs.
    """
    publish(user, name)
    before = hub.repos[name]
    hub.repos[name] = {path: text for path, text in before.items() if not path.startswith("data/")}
    hub.passing["/commit/"] = 412
    publish(user, name)
    assert hub.repos[name] == before


@needs_buckets
def test_a_bucket_shows_nothing_half_published(hub: Hub, user: Machine, name: str) -> None:
    """A publication to a bucket that stops leaves neither a card nor a manifest."""
    hub.broken[f"{name}/batch"] = 503
    refused(user, 1, "demo", f"buckets/{name}/data")
    assert hub.buckets[name] == {}


@needs_buckets
def test_a_bucket_goes_on_where_it_was_stopped(hub: Hub, user: Machine, name: str) -> None:
    """Publishing to a bucket continues with the files that arrived earlier, although there is no manifest yet."""
    hub.lost[f"{name}/batch"] = 503
    refused(user, 1, "demo", f"buckets/{name}/data")
    assert "data/data/train-00000-of-00001.parquet" in hub.buckets[name]
    assert "data/consistent_chat.json" not in hub.buckets[name]
    hub.lost.clear()
    publish(user, f"buckets/{name}/data")
    assert user.run(published.command, "verify", f"buckets/{name}/data").code == 0


@pytest.mark.parametrize("told", ["", "hf_of_nobody", READER])
def test_who_may_not_write_hears_so_before_anything_is_sent(hub: Hub, name: str, tmp_path: Path, told: str) -> None:
    """A missing, unknown or read-only token is reported before anything is sent."""
    made = machine(hub, tmp_path, HF_TOKEN=told)
    for there in (name, *([f"buckets/{name}/data"] if KNOWS_BUCKETS else [])):
        said = refused(made, 1, "demo", there)
        assert "token" in said
        assert told not in said or not told
    assert name not in hub.repos
    assert not hub.writes()
    made.pool.shutdown()


def test_a_hub_that_does_not_tell_who_may_write_is_written_to(hub: Hub, user: Machine, name: str) -> None:
    """Publishing works on a Hub that lacks the requests about permissions.

    Not every server of the Hub's protocol has them, and the Hub itself still refuses what the token does not allow.
    """
    hub.broken.update({"/auth-check/": 404, "/whoami": 404})
    publish(user, name)
    assert "nothing has changed" in publish(user, name)
    assert "the token has no write access there" in refused(user, 1, "demo", "you/new")


def test_the_namespace_of_another_user_is_refused(hub: Hub, user: Machine, name: str) -> None:
    """Another user's namespace is refused, for existing and for new repositories."""
    hub.repos["you/there"] = {}
    for repo in ("you/there", "you/new", *(["buckets/you/new/data"] if KNOWS_BUCKETS else [])):
        assert "you" in refused(user, 1, "demo", repo)
    assert not hub.writes()


def test_a_repo_that_holds_something_else_is_refused(hub: Hub, user: Machine, name: str) -> None:
    """A repository with other files is refused without `--overwrite`. With it, unrelated files stay."""
    theirs = {"data/train-00000-of-00009.parquet": b"theirs", "notes.txt": b"theirs", "README.md": b"# Mine\n"}
    hub.repos[name] = dict(theirs)
    said = refused(user, 1, "demo", name)
    assert "already contains other files (data/train-00000-of-00009.parquet, notes.txt)" in said
    assert hub.repos[name] == theirs
    publish(user, name, "--overwrite")
    assert hub.repos[name]["notes.txt"] == b"theirs"
    assert len(user.run(published.rows, name)) == 18


def test_a_manifest_that_is_none_is_something_else(hub: Hub, user: Machine, name: str) -> None:
    """An invalid manifest counts as a foreign file, because it does not show who published the files."""
    publish(user, name)
    hub.repos[name] = {**hub.repos[name], "consistent_chat.json": b"{}"}
    assert "already contains other files (consistent_chat.json, data/" in refused(user, 1, "demo", name)
    publish(user, name, "--overwrite")
    assert user.run(published.command, "verify", name).code == 0


def test_the_response_store_of_a_repo_stays_whole(hub: Hub, user: Machine, name: str) -> None:
    """If the responses are in the repository of the dataset, publishing removes none of them.

    They may be needed by other builds that paid for them.
    """
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
    [
        "nothing",
        "a/b/c",
        "me/two words",
        "me/..",
        "me-/x",
        "me/x.git",
        "buckets/me",
        "buckets/me/b/../c",
        "me/x@",
        "/me/x",
        "me/x@a b",
    ],
)
def test_what_is_no_name_of_a_repo_is_wrong_usage(hub: Hub, user: Machine, name: str, repo: str) -> None:
    """An invalid name of a repository is a usage error before any request to the Hub."""
    assert "Write " in refused(user, 2, "demo", repo)
    assert not hub.requests


def test_misses_are_listed(hub: Hub, user: Machine, name: str, tmp_path: Path) -> None:
    """Missing responses are counted, the first of them are listed, and nothing is written.

    The message also says in what the nearest stored request differs.
    """
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
        (["--live"], "Pass --serving"),
        (["--flavor", "cpu-basic"], "Pass --on-hub"),
        (["--create-pr"], "There is no repo"),
        (["--num-dialogs-per-intent", "0"], "--num-dialogs-per-intent must be"),
    ],
)
def test_what_does_not_go_together_is_said(hub: Hub, user: Machine, name: str, options: list[str], says: str) -> None:
    """Wrong combinations of options are reported before anything is sent."""
    assert says in user.run(published.command, "publish", "demo", name, *options).said
    assert not hub.writes()


def planted(files: dict[str, bytes]) -> bytes:
    """Return a malicious manifest that names files with their correct digests, and a split."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    recipes = {"train": "demo.consistent_chat.yaml"}
    versions = {"consistent_chat": "0.1.0", "pyarrow": "20.0.0"}
    content = {"consistent_chat_dataset": 1, "files": digests, "recipes": recipes, "versions": versions}
    return json.dumps(content).encode()


MINE = {
    "data/train-00000-of-00009.parquet": b"mine",
    "data/mine.csv": b"mine",
    "failures/mine.parquet": b"mine",
    "plots/mine.svg": b"mine",
    "responses/packs/notes.txt": b"mine",
    f"responses/packs/{hashlib.sha256(b'mine').hexdigest()}.parquet": b"mine",
    "other.consistent_chat.yaml": b"mine",
}
"""Files at paths that a manifest may name, some of them as the publisher would name them."""
OUTSIDE = {"LICENSE": b"mine", "models/weights.bin": b"mine", "notes.md": b"mine"}


@pytest.mark.parametrize("claims", [MINE, {}, {**MINE, **OUTSIDE}], ids=["its folders", "nothing", "all"])
def test_a_strangers_manifest_removes_nothing(hub: Hub, user: Machine, name: str, claims: dict[str, bytes]) -> None:
    """A manifest that a stranger committed removes no files, even if it names existing files with their digests.

    Publishing is refused. With `--overwrite`, only the files of rows and failed draws are replaced.
    """
    hub.repos[name] = {**MINE, **OUTSIDE, "consistent_chat.json": planted(claims)}
    before = dict(hub.repos[name])
    hub.commits.append(Commit(name, "main", "Publish dialogues", "", tuple(before), commit(before), "stranger"))
    assert "already contains other files" in refused(user, 1, "demo", name)
    assert hub.repos[name] == before
    publish(user, name, "--overwrite")
    rows = {path for path in MINE if path.startswith(("data/", "failures/"))}
    assert not rows & hub.repos[name].keys()
    assert {path: before[path] for path in {*MINE, *OUTSIDE} - rows}.items() <= hub.repos[name].items()


def test_a_strangers_manifest_beside_a_published_dataset_removes_nothing(hub: Hub, user: Machine, name: str) -> None:
    """A stranger's manifest next to a published dataset makes publishing remove only files that it published before.

    These must also be unchanged. All other files stay.
    """
    publish(user, name)
    published = hub.repos[name].items()
    old = {path: content for path, content in published if "/packs/" in path or path.startswith("failures/")}
    mine = {**MINE, **OUTSIDE}
    for path in [path for path in mine if path.startswith(("data/", "failures/"))]:
        del mine[path]
    hub.repos[name] = {**hub.repos[name], **mine, "consistent_chat.json": planted({**old, **MINE})}
    publish(user, name, "--intents", "simulation")
    assert mine.items() <= hub.repos[name].items()
    assert not old.keys() & hub.repos[name].keys()
    hub.repos[name] = {**hub.repos[name], "data/train-00000-of-00001.parquet": b"mine", "data/mine.csv": b"mine"}
    said = refused(user, 1, "demo", name)
    assert "(data/train-00000-of-00001.parquet, data/mine.csv)" in said


@needs_buckets
def test_a_manifest_in_a_bucket_removes_only_what_it_states(hub: Hub, user: Machine, name: str) -> None:
    """In a bucket, which has no history, a file is only removed if its content matches the manifest."""
    publish(user, f"buckets/{name}/d")
    files = hub.buckets[name]
    (pack,) = [path for path in files if "/packs/" in path]
    (failures,) = [path for path in files if "/failures/" in path]
    mine = {f"d/{path}": content for path, content in {**MINE, **OUTSIDE}.items() if not path.startswith("data/")}
    del mine["d/failures/mine.parquet"]
    files.update(mine)
    claimed = {path.removeprefix("d/"): content for path, content in mine.items() if path.removeprefix("d/") in MINE}
    manifest = json.loads(files["d/consistent_chat.json"])
    manifest["files"].update(json.loads(planted(dict.fromkeys(claimed, b"other")))["files"])
    files["d/consistent_chat.json"] = json.dumps(manifest).encode()
    publish(user, f"buckets/{name}/d", "--intents", "simulation")
    assert mine.items() <= hub.buckets[name].items()
    assert not {pack, failures} & hub.buckets[name].keys()
