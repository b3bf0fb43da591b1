"""Tests of response stores on the Hub, in dataset repos and in buckets: real clients with a Hub server on this machine.

Each machine is a separate process with its own HF_HOME, because the clients read the Hub's address when they are
imported. One machine uses Xet, the clients' default, and the other uses LFS.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi

from consistent_chat.errors import StoreError
from consistent_chat.store import compact
from tests.hub import READER, WRITER, Hub
from tests.hub.machines import Machine, Paid, There, begin, finish, keep, lacks, load, logged, machine, refused, repo

pytestmark = pytest.mark.slow

NUMBERS = (1, 2, 3)
STRANGER, TEAM = "hf_of_a_stranger", "hf_of_the_team"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """Yield one Hub server for all tests."""
    with Hub(tokens={WRITER: "write", READER: "read", TEAM: "write"}) as running:
        yield running


@pytest.fixture(scope="module")
def machines(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    """Yield two machines whose clients use the two ways to send large files."""
    one = machine(hub, tmp_path_factory.mktemp("one"))
    two = machine(hub, tmp_path_factory.mktemp("two"), HF_HUB_DISABLE_XET="1")
    with one.pool, two.pool:
        yield one, two


@pytest.fixture
def one(machines: tuple[Machine, Machine]) -> Machine:
    """Return the machine that uses Xet."""
    return machines[0]


@pytest.fixture
def two(machines: tuple[Machine, Machine]) -> Machine:
    """Return the machine that uses LFS."""
    return machines[1]


@pytest.fixture(params=["datasets", "buckets"])
def there(hub: Hub, request: pytest.FixtureRequest) -> There:
    """Return an empty dataset repo or an empty bucket."""
    if request.param == "buckets" and not hasattr(HfApi, "batch_bucket_files"):
        pytest.skip("this version of huggingface_hub has no buckets")
    return repo(hub, request.param)


@pytest.fixture
def repository(hub: Hub) -> There:
    """Return an empty dataset repo."""
    return repo(hub, "datasets")


def test_what_one_machine_keeps_another_replays(there: There, one: Machine, two: Machine) -> None:
    """Responses sent with Xet are read without Xet, and responses sent with LFS are read with Xet."""
    one.run(keep, there.url, NUMBERS)
    assert two.run(lacks, there.url, NUMBERS) == []
    two.run(keep, there.url, [4])
    assert one.run(lacks, there.url, [*NUMBERS, 4]) == []
    assert sorted(there.files) == [*there.packs(), "responses/store.json"]
    assert len(there.packs()) == 2


def test_batches_are_written_down_in_few_commits(there: There, one: Machine, tmp_path: Path) -> None:
    """Logging a batch takes at most three commits; the first adds the requests and the last removes them."""
    assert one.run(logged, there.url, str(tmp_path)) == [None, "msgbatch_1", "all answered"]
    assert [path for path in there.files if "/batches/" in path] == ["responses/batches/00000001.json"]
    assert len(there.hub.commits) <= 3


def test_a_dataset_is_made_on_one_machine_and_replayed_on_another(there: There, one: Machine, two: Machine) -> None:
    """`load_dataset` replays a dataset of all nine intents from a store on the Hub that another machine has filled."""
    made = one.run(load, there.url, serving="rehearsal")
    assert len(made) == 9
    assert two.run(load, there.url, mode="replay") == made


def test_a_thousand_responses_cost_few_write_requests(there: There, one: Machine, two: Machine) -> None:
    """Sending 1,000 responses takes at most ten write requests, with Xet and with LFS.

    The Hub counts write requests, and commits per hour.
    """
    for number, each in enumerate((one, two)):
        there.hub.requests.clear()
        each.run(keep, there.url, range(1000 * number, 1000 * number + 1000))
        assert 0 < len(there.hub.writes()) <= 10
    assert one.run(lacks, there.url, range(2000)) == []


def test_each_flush_is_one_commit_at_most(repository: There, one: Machine) -> None:
    """Each flush makes at most one commit.

    The first may need one more for the marker file, and a run without new responses makes none.
    """
    one.run(keep, repository.url, NUMBERS)
    assert len(repository.hub.commits) <= 2
    repository.hub.commits.clear()
    one.run(keep, repository.url, [4])
    one.run(keep, repository.url, [])
    assert len(repository.hub.commits) == 1
    repository.hub.commits.clear()
    one.run(keep, repository.url, range(10, 35), every=10)
    assert 1 <= len(repository.hub.commits) <= 3


def test_a_store_on_a_branch_stays_there(repository: There, one: Machine, two: Machine) -> None:
    """A URL of the form `hf://datasets/me/store@branch/...` reads and writes only that branch."""
    repository.hub.branches[repository.name] = {"drafts": {}}
    url = repository.url.replace(repository.name, f"{repository.name}@drafts")
    one.run(keep, url, NUMBERS)
    assert two.run(lacks, url, NUMBERS) == []
    assert two.run(lacks, repository.url, NUMBERS) == list(NUMBERS)
    assert repository.files == {}


def test_a_store_that_is_opened_again_sees_what_came_since(there: There, one: Machine, two: Machine) -> None:
    """A store that is reopened in the same process sees new packs, although the clients cache their listings."""
    one.run(keep, there.url, [1])
    assert two.run(lacks, there.url, NUMBERS) == [2, 3]
    one.run(keep, there.url, [2])
    assert two.run(lacks, there.url, NUMBERS) == [3]
    two.run(keep, there.url, [3])
    assert one.run(lacks, there.url, NUMBERS) == []


def test_a_repo_that_was_made_after_the_first_look_is_seen(there: There, two: Machine) -> None:
    """A repo or bucket that is created after a failed access is found, although the clients cache missing repos."""
    if there.kind == "buckets" and huggingface_hub.__version__ < "2":
        pytest.skip("this client forgets a missing bucket only with its process")
    files = there.files
    there.vanish()
    assert there.url in two.run(refused, keep, there.url, NUMBERS)
    (there.hub.repos if there.kind == "datasets" else there.hub.buckets)[there.name] = files
    two.run(keep, there.url, NUMBERS)
    assert two.run(lacks, there.url, NUMBERS) == []


def test_packs_are_put_together(there: There, one: Machine, two: Machine) -> None:
    """A machine compacts another machine's packs in at most two commits, and both machines find all responses."""
    for number in NUMBERS:
        one.run(keep, there.url, [number])
    there.hub.commits.clear()
    two.run(compact, there.url)
    assert len(there.packs()) == 1
    assert len(there.hub.commits) <= 2
    for each in (one, two):
        assert each.run(lacks, there.url, NUMBERS) == []


def test_each_pack_is_fetched_once_per_machine(there: There, one: Machine, two: Machine) -> None:
    """A machine fetches each pack once, and the machine that has made a pack does not fetch it."""
    for number in NUMBERS:
        one.run(keep, there.url, [number])
    for _ in range(2):
        assert two.run(lacks, there.url, NUMBERS) == []
    fetched = [seen.path for seen in there.hub.requests if "/resolve/" in seen.path and seen.path.endswith(".parquet")]
    assert len(fetched) == len(set(fetched)) == 3


def test_machines_that_write_at_the_same_time_lose_nothing(there: There, one: Machine, two: Machine) -> None:
    """Two machines that write at the same time lose no response, because each sends its own packs."""
    for number in range(0, 6, 2):
        running = [each.pool.submit(keep, there.url, [number + at]) for at, each in enumerate((one, two))]
        assert [each.result(timeout=300) for each in running] == [None, None]
    for each in (one, two):
        assert each.run(lacks, there.url, range(6)) == []


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_a_fault_that_passes_is_not_seen(there: There, one: Machine, two: Machine, status: int) -> None:
    """After a temporary fault, the next attempt succeeds and everything is sent once.

    Concurrent commits also lock each other out.
    """
    one.run(begin, there.url)
    there.hub.passing[there.sending] = status
    one.run(finish, there.url, NUMBERS)
    assert there.hub.passing == {}
    assert two.run(lacks, there.url, NUMBERS) == []
    assert len(there.packs()) == 1


@pytest.mark.parametrize("status", [403, 500, 503])
def test_what_cannot_be_sent_is_kept_here_and_sent_next_time(
    there: There, one: Machine, two: Machine, status: int
) -> None:
    """If responses cannot be sent, one error says so, and the machine itself still finds them.

    The machine's next run sends them, even if it keeps nothing new.
    """
    one.run(begin, there.url)
    there.hub.broken[there.sending] = status
    with pytest.raises(StoreError, match=r"(?s)kept on this machine.*next run") as caught:
        one.run(finish, there.url, NUMBERS)
    assert there.url in str(caught.value)
    assert there.packs() == []
    there.hub.broken.clear()
    assert one.run(lacks, there.url, NUMBERS) == []
    one.run(keep, there.url, [])
    assert two.run(lacks, there.url, NUMBERS) == []


def test_what_was_sent_but_not_acknowledged_is_sent_once(there: There, one: Machine, two: Machine) -> None:
    """A commit that the Hub has made but answered with status 500, as happens now and then, leaves only one pack."""
    one.run(begin, there.url)
    there.hub.lost[there.sending] = 500
    one.run(refused, finish, there.url, NUMBERS)  # may also succeed: a retry may find that the commit exists
    there.hub.lost.clear()
    one.run(keep, there.url, [])
    assert two.run(lacks, there.url, NUMBERS) == []
    assert len(there.packs()) == 1


@pytest.mark.parametrize("case", ["reads only", "unknown", "no token", "missing", "out of order"])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
def test_a_store_that_cannot_be_written_is_said_before_anything_is_paid(
    there: There, one: Machine, two: Machine, case: str, begun: bool
) -> None:
    """A store that cannot be written, whether new or in use, raises an error with its URL before any paid call."""
    if begun:
        one.run(keep, there.url, NUMBERS)
    if case == "missing":
        there.vanish()
    if case == "out of order":
        there.hub.broken[there.name] = 503
    token = {"reads only": READER, "unknown": STRANGER, "no token": False}.get(case, WRITER)
    with pytest.raises(StoreError) as caught:
        two.run(load, there.url, storage_options={"token": token}, serving=Paid())
    assert there.url in str(caught.value)


@pytest.mark.parametrize("case", ["missing", "private"])
def test_a_place_that_cannot_be_seen_is_no_empty_store(
    there: There, one: Machine, two: Machine, tmp_path: Path, case: str
) -> None:
    """A store that is missing or private is an error, both alone and as the second location.

    If it counted as empty, a user with a mistyped name or without a token would pay for everything again.
    """
    one.run(keep, there.url, NUMBERS)
    if case == "missing":
        there.vanish()
    there.hub.private[there.private] = "hf_of_another"
    for places in (there.url, [str(tmp_path / "own"), there.url]):
        with pytest.raises(StoreError) as caught:
            two.run(lacks, places, NUMBERS, token=STRANGER)
        assert there.url in str(caught.value)


def test_a_fault_while_reading_is_no_empty_store(there: There, one: Machine, two: Machine) -> None:
    """A listing that fails permanently is an error; the store does not count as empty."""
    one.run(keep, there.url, NUMBERS)
    there.hub.broken["/tree"] = 503
    with pytest.raises(StoreError):
        two.run(lacks, there.url, NUMBERS)


@pytest.mark.parametrize("token", [WRITER, TEAM], ids=["from the environment", "given"])
def test_a_private_store_takes_its_token(there: There, one: Machine, two: Machine, token: str) -> None:
    """A private store uses the token from `storage_options=`, which takes precedence, or from the environment."""
    there.hub.private[there.private] = token
    few = {"intents": ["simulation"], **({"storage_options": {"token": token}} if token == TEAM else {})}
    made = one.run(load, there.url, serving="rehearsal", **few)
    assert two.run(load, there.url, mode="replay", **few) == made
    assert there.packs()


def test_what_is_recorded_can_be_read_without_the_right_to_write(there: There, one: Machine, two: Machine) -> None:
    """With a read-only token, a replay works, and so does a run that finds all its responses; nothing is sent."""
    few = {"intents": ["simulation"]}
    made = one.run(load, there.url, serving="rehearsal", **few)
    there.hub.requests.clear()
    reader = {"storage_options": {"token": READER}}
    assert two.run(load, there.url, mode="replay", **few, **reader) == made
    assert two.run(load, there.url, serving="rehearsal", **few, **reader) == made
    assert f"Bearer {READER}" in {seen.authorization for seen in there.hub.requests}
    assert there.hub.writes() == []


def test_the_token_is_written_nowhere(there: There, two: Machine) -> None:
    """The token appears in no message and in no file: neither in the spool, the packs, the dataset nor its cache."""
    options = {"storage_options": {"token": WRITER}}
    two.run(load, there.url, intents=["simulation"], serving="rehearsal", **options)
    two.run(begin, there.url, token=WRITER)
    there.hub.broken[there.sending] = 500
    message = two.run(refused, finish, there.url, NUMBERS)
    assert there.url in message
    here = [path for path in two.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".jsonl" for path in here)
    contents = [*(path.read_bytes() for path in here), *there.files.values()]
    texts = [message, *map(str, here), *there.files]
    assert not [text for text in (*contents, *(text.encode() for text in texts)) if WRITER.encode() in text]
