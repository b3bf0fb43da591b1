"""Publishing by a job on the Hub's machines: what the job is started with, and what it does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from consistent_chat.version import __version__
from tests import ROOT, forked, published
from tests.hub import WRITER, Hub
from tests.hub.machines import Machine, machine
from tests.provider import Provider

pytestmark = pytest.mark.slow

needs_jobs = pytest.mark.skipif(not hasattr(HfApi, "create_bucket"), reason="this huggingface_hub starts no such jobs")
KEY, OTHER = "sk-ant-planted-key-of-the-user", "planted-secret-of-the-user"


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Run a separate Hub for each test."""
    with Hub() as running:
        yield running


@pytest.fixture
def user(hub: Hub, provider: Provider, tmp_path: Path) -> Iterator[Machine]:
    """Provide a machine whose user has a key."""
    made = machine(hub, tmp_path / "user", ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=provider.url)
    yield made
    made.pool.shutdown()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Machine]]:
    """Run one Hub to which nothing is sent, and provide a machine whose user has a key, for all tests of the module."""
    with Hub() as hub, Provider() as provider:
        made = machine(hub, tmp_path_factory.mktemp("user"), ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=provider.url)
        yield hub, made
        made.pool.shutdown()


def start(user: Machine, *options: str) -> str:
    """Start a job that publishes three dialogues, and return the output."""
    given = ["--model", "claude-haiku-4-5", "--num-dialogs-per-intent", "3", "--serving", "anthropic", "--on-hub"]
    done = user.run(published.command, "publish", "simulation", "me/made", *given, *options)
    assert done.code == 0, done.said
    return str(done.said)


def work(hub: Hub, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the last job as a machine of the Hub would: with its files at /data, its variables and its secrets."""
    job = hub.jobs[-1]
    (volume,) = job["volumes"]
    prefix = volume["path"] + "/"
    for path, content in hub.buckets[volume["source"]].items():
        if path.startswith(prefix):
            (folder / "data").mkdir(parents=True, exist_ok=True)
            (folder / "data" / path.removeprefix(prefix)).write_bytes(content)
    assert job["command"][:2] == ["uv", "run"]
    command = [part.replace(volume["mountPath"], str(folder / "data")) for part in job["command"][2:]]
    of_job = {**job["environment"], **job["secrets"]}
    mine = {name: os.environ[name] for name in ("PATH",)}
    other = folder / "other"  # another package of the same name, which must not be imported
    other.mkdir()
    (other / "consistent_chat.py").write_text("raise SystemExit('the wrong package')")
    environment = {**mine, **of_job, "PYTHONPATH": str(other), "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home")}
    return forked.run([sys.executable, *command], environment)


@needs_jobs
def test_a_job_publishes(hub: Hub, user: Machine, provider: Provider, tmp_path: Path) -> None:
    """A job publishes a dataset that passes `verify`, and stores its responses in a bucket.

    The key is passed only as a secret of the job.
    """
    said = start(user, "--flavor", "cpu-upgrade", "--job-timeout", "2h", "--licence", "mit")
    assert "/jobs/me/1" in said
    assert all(line.startswith(("consistent-chat: ", "me/made: ")) for line in said.splitlines()), said
    assert "me/made" not in hub.repos
    (job,) = hub.jobs
    assert job["secrets"] == {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": provider.url, "HF_TOKEN": WRITER}
    assert KEY not in json.dumps({**job, "secrets": {}})
    assert WRITER not in json.dumps({**job, "secrets": {}})
    assert (job["flavor"], job["timeoutSeconds"]) == ("cpu-upgrade", 7200)
    done = work(hub, tmp_path / "job")
    assert done.returncode == 0, done.stderr
    assert len(provider.requests) == 6
    assert user.run(published.command, "verify", "me/made").code == 0
    assert {path.partition("/")[0] for path in hub.buckets["me/made-responses"]} == {"packs", "store.json"}
    assert not any(
        KEY.encode() in content
        for content in (*hub.repos["me/made"].values(), *hub.buckets["me/made-responses"].values())
    )


@needs_jobs
def test_a_job_that_was_stopped_goes_on(hub: Hub, user: Machine, provider: Provider, tmp_path: Path) -> None:
    """A second job on another machine continues with the responses that the first one left in the bucket."""
    start(user, "--max-calls", "2")
    assert work(hub, tmp_path / "one").returncode == 3
    assert len(provider.requests) == 2
    start(user)
    done = work(hub, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert len(provider.requests) == 6


@needs_jobs
def test_what_is_recorded_here_goes_along(hub: Hub, user: Machine, provider: Provider, tmp_path: Path) -> None:
    """A job gets the responses that are stored on this machine, so they are not paid for twice."""
    recorded = {"model": "claude-haiku-4-5", "serving": "anthropic", "num_dialogs_per_intent": 2}
    user.run(published.rows, "consistent_chat", "simulation", **recorded)
    provider.requests.clear()
    start(user)
    done = work(hub, tmp_path / "job")
    assert done.returncode == 0, done.stderr
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--responses", "here"], 2, "is on this machine"),
        (["--storage-options", '{"a": 1}'], 2, "are not passed on"),
        (["--secret", "NOT_SET"], 1, "The job needs NOT_SET, which is not set on this machine"),
        (["--secret", f"KEY={KEY}"], 2, "--secret must be the name of an environment variable"),
        (["--serving", "openai"], 1, "The job needs OPENAI_API_KEY"),
        (["--base-url", f"http://127.0.0.1/v1?api_key={OTHER}"], 2, "must not have a query"),
        (["--base-url", f"http://me:{OTHER}@127.0.0.1/v1"], 2, "must not have a user name or password"),
        (["--base-url", f"http://127.0.0.1/{KEY}/v1"], 2, "--base-url contains a key"),
        (["--responses", f"s3://me:{OTHER}@bucket/a"], 2, "--responses is an address with a user name"),
        (
            ["--responses", "hf://buckets/me/a", "--responses", f"https://h/a?sig={OTHER}"],
            2,
            "--responses is an address",
        ),
        (["--storage-options", json.dumps({"secret": OTHER})], 2, "are not passed on"),
        (["--licence", KEY], 2, "--licence contains a key"),
        (["--package", "consistent_chat==0.1.0"], 2, "can belong to anyone"),
        (["--package", "other"], 2, "can belong to anyone"),
        (["--package", f"git+https://me:{OTHER}@host/me/fork"], 2, "is an address with a user name"),
        (["--revision", "short", "--private", "--create-pr"], 1, "There is no repo"),
    ],
)
def test_what_a_job_could_not_do_is_said_here(
    refusing: tuple[Hub, Machine], options: list[str], code: int, says: str
) -> None:
    """Options with which a job could not succeed are refused on this machine before anything is sent."""
    hub, user = refusing
    given = ["--model", "m", "--serving", "anthropic", "--on-hub"]
    done = user.run(published.command, "publish", "simulation", "me/made", *given, *options)
    assert done.code == code, done.said
    assert says in done.said
    assert KEY not in done.said
    assert OTHER not in done.said
    assert not hub.writes()


@needs_jobs
def test_a_job_without_a_serving_lacks_nothing(hub: Hub, user: Machine) -> None:
    """A job without a serving is refused at once if responses are missing, instead of failing hours later."""
    done = user.run(published.command, "publish", "simulation", "me/made", "--model", "m", "--on-hub")
    assert done.code == 1
    assert "20 of 20 dialogues lack a response" in done.said
    assert hub.jobs == []


@needs_jobs
def test_a_job_brings_this_package_and_installs_what_it_requires(hub: Hub, user: Machine) -> None:
    """A job brings this package as a wheel, and installs the requirements of the package.

    It never asks an index for the name of the package.
    """
    start(user)
    sent = {path.rpartition("/")[2]: content for path, content in hub.buckets["me/jobs-artifacts"].items()}
    assert set(sent) == {
        "builder.py",
        "simulation.consistent_chat.yaml",
        f"consistent_chat-{__version__}-py3-none-any.whl",
    }
    (dependencies,) = re.findall("^# dependencies = (.*)$", sent["builder.py"].decode(), re.MULTILINE)
    assert "datasets>=3.6" in json.loads(dependencies)
    assert not [name for name in json.loads(dependencies) if name.startswith("consistent")]


@needs_jobs
def test_a_job_installs_another_package_by_its_address_alone(hub: Hub, user: Machine) -> None:
    """`--package` makes the job install the package from that address, with the extras that the recipe needs."""
    start(user, "--package", "git+https://host/me/fork@1234", "--drop-near-duplicates")
    sent = {path.rpartition("/")[2]: content for path, content in hub.buckets["me/jobs-artifacts"].items()}
    assert '["consistent_chat[quality] @ git+https://host/me/fork@1234"]' in sent["builder.py"].decode()
    assert not [name for name in sent if name.endswith(".whl")]


def test_the_script_publishes_and_builds(hub: Hub, tmp_path: Path) -> None:
    """`builder.py --recipe demo --publish me/made` publishes the demo on any machine."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "HF_TOKEN": WRITER,
        "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "builder.py"), "--recipe", "demo", "--publish", "me/made", "--private"]
    done = forked.run(command, environment)
    assert done.returncode == 0, done.stderr
    assert hub.private["me/made"] == WRITER
