"""A cluster of two nodes, and response stores that both nodes can reach."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.ray import WAIT, Store
from tests.stored import until

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

COUNTER = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Run two nodes with one CPU each. One of them is this process's node."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1)
    made.connect()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def other_node(cluster: Cluster) -> Iterator[Any]:
    """Return the node that is not this process's. If the test removes it, add a new one afterwards."""
    import ray

    yield next(iter(cluster.worker_nodes))
    if not cluster.worker_nodes:
        cluster.add_node(num_cpus=1)
    until(lambda: ray.cluster_resources().get("CPU") == 2, WAIT)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """Return a store in a folder that both nodes see."""
    return {"responses": str(tmp_path / "responses")}


@pytest.fixture
def bucket() -> Iterator[Store]:
    """Return a store in a bucket."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import s3fs

    from tests.s3 import S3

    with S3() as s3:
        options = {"endpoint_url": s3.url, "key": "any", "secret": "any"}
        name = f"bucket-{next(COUNTER)}"  # buckets outlive their server
        s3fs.S3FileSystem(**options).mkdir(name)
        yield {"responses": f"s3://{name}/responses", "storage_options": options}


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest) -> Store:
    """Run the test with a store in a folder and with one in a bucket."""
    made: Store = request.getfixturevalue(request.param)
    return made
