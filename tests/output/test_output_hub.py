"""Test output to a repo and a bucket of the Hub, with the real clients against a Hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import HfApi

from consistent_chat.commands.build import build
from consistent_chat.errors import ConsistentChatError
from tests import published
from tests.hub import READER, Hub
from tests.hub.machines import Machine, There, machine, repo

pytestmark = pytest.mark.slow

hub = published.hub
NAME = "made/a b/50% #1.jsonl"


@pytest.fixture(scope="module")
def user(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Start a process that uses this Hub."""
    made = machine(hub, tmp_path_factory.mktemp("home"), HF_HUB_DISABLE_XET="1")
    with made.pool:
        yield made


@pytest.fixture(params=["datasets", "buckets"])
def there(hub: Hub, request: pytest.FixtureRequest) -> There:
    """Create an empty repo or an empty bucket."""
    if request.param == "buckets" and not hasattr(HfApi, "batch_bucket_files"):
        pytest.skip("this version of huggingface_hub has no buckets")
    return repo(hub, request.param)


def made(output: str, **options: Any) -> str:
    """Build the demo and return its summary or its error message."""
    try:
        return build("demo", output, **options)
    except ConsistentChatError as error:
        return str(error)


def test_rows_on_the_hub(there: There, user: Machine) -> None:
    """A build writes a file or a folder to the Hub, with one commit for each file and none for the check."""
    url = f"hf://{there.kind}/{there.name}"
    said = user.run(made, f"{url}/{NAME}")
    assert said.startswith(f"{url}/{NAME}: 18 rows of train"), said
    assert user.run(made, f"{url}/data", failures=f"{url}/failures.jsonl").startswith(f"{url}/data: 18 rows")
    assert sorted(there.files) == ["data/train.parquet", "failures.jsonl", NAME]
    if there.kind == "datasets":
        assert len(there.hub.commits) == 3


def test_what_the_hub_refuses_is_said_before_anything_is_built(there: There, user: Machine) -> None:
    """A missing right to write and a missing repo are errors before anything is built."""
    url = f"hf://{there.kind}/{there.name}/data"
    said = user.run(made, url, storage_options={"hf": {"token": READER}})
    assert said.startswith(f"--output {url}/train.parquet cannot be written: "), said
    there.vanish()
    said = user.run(made, url)
    assert said.startswith(f"--output {url}"), said
    assert "cannot be written: " in said
    assert there.hub.commits == []
