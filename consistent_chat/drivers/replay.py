"""Replays a dialogue until a response is missing, without event loop, thread or network.

Builds, batches, waves, estimates, reports and publishing all use `walk`. `PendingRequests` are the requests that the
dialogues of a plan still need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue, FailedDraw, OutOfDraws, Steps
from consistent_chat.drivers.deduplicate import Deduplicator
from consistent_chat.errors import UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.used import Used

Find = Callable[[Request], Response | None]
FindAll = Callable[[Request], list[Response]]
FindUsed = Callable[[str, str], Response | None]
"""Finds the response to the request with a key if the digest of its record begins with a text."""
Begin = Callable[[list[FailedDraw]], Steps]
"""Starts a dialogue, which appends its unusable responses to the list."""

REPLAY_DRAWS = 1
"""A replay reports only the first draw of a request as missing.

A later draw that is not recorded ends the spec, exactly where the recorded run gave it up.
"""
MAX_PATHS = 256
"""Maximum combinations of recorded responses that are tried for one dialogue."""


class Recordings(Protocol):
    """The interface that a walk reads from: a response store, or any object that finds responses like one."""

    def find(self, request: Request) -> Response | None:
        """Return the response to a request, or None."""

    def find_all(self, request: Request) -> list[Response]:
        """Return all responses to a request, starting with the one that `find` returns."""


class Progress(NamedTuple):
    """How much of a dialogue is recorded.

    `step` is the finished dialogue, or the first request without a response, from which `steps` continues. `used` has
    the recorded requests and responses of this path.
    """

    steps: Steps
    step: Dialogue | Request
    used: tuple[tuple[Request, Response], ...]


class UsedRecord(NamedTuple):
    """The record of a response that a dialogue used: the key of its request, and its digest, "" if it has none.

    `is_checked` tells whether this machine has checked it before.
    """

    key: str
    digest: str
    is_checked: bool


class NotingSteps(Generator[Request, Response, Dialogue]):
    """The steps of a dialogue, which note the responses that it used so far.

    Whoever finishes the dialogue, from a store or by calls, sends its responses here.
    """

    def __init__(self, steps: Steps) -> None:
        self.used: list[UsedRecord] = []
        self._steps = steps
        self._request: Request | None = None

    def send(self, response: Response | None) -> Request:
        """Note a response to the last request and return the next one."""
        if response is not None and self._request is not None:
            self.used.append(UsedRecord(self._request.key, response.record, response.checked))
        self._request = self._steps.send(response)  # type: ignore[arg-type]  # None starts a generator
        return self._request

    def throw(self, *given: Any) -> Request:
        """Raise an error in the dialogue and return the next request."""
        self._request = self._steps.throw(*given)
        return self._request


def used_by(steps: Steps) -> list[UsedRecord]:
    """Return the responses that noting steps used so far."""
    return steps.used if isinstance(steps, NotingSteps) else []


def walk(
    begin: Begin, store: Recordings, max_draws: int = REPLAY_DRAWS, failed: list[FailedDraw] | None = None
) -> Progress:
    """Replay a dialogue until a response is missing, after trying all recorded responses.

    A path that completes the dialogue always wins; if there is none, `max_draws` decides which request is reported as
    missing. `failed` has the draws of specs given up before; the unusable draws of the first path are appended. Raises
    UnfilledSlot if all substitutes failed.
    """
    failed = [] if failed is None else failed
    given_up = tuple(failed)
    try:
        first = _follow(begin(failed), store.find, max_draws)
        if isinstance(first.step, Dialogue) or not (first.used or store.find_all(first.step)):
            return first  # a dialogue without recorded responses has no other path
    except UnfilledSlot:
        other = find_complete_path(lambda: begin([*given_up]), store.find_all)
        if other is None:
            raise
        return other
    return find_complete_path(lambda: begin([*given_up]), store.find_all) or first


def walk_used(begin: Begin, used: Sequence[Used], find: FindUsed) -> Progress | None:
    """Replay a dialogue with the responses that it used before, whose keys are known. Return None if it needs others.

    Nothing is rendered. Unless each response is found, is usable, and is followed by the next one, `walk` must decide.
    """
    failed, found = list[FailedDraw](), list[tuple[Request, Response]]()
    steps = begin(failed)
    try:
        request = next(steps)
        for key, digest in used:
            request.known_as(key)
            if (response := find(key, digest)) is None:
                return None
            found.append((request, response))
            request = steps.send(response)
            if failed:
                return None
    except StopIteration as finished:
        return Progress(steps, finished.value, tuple(found)) if len(found) == len(used) and not failed else None
    except UnfilledSlot:
        pass
    return None


def find_complete_path(begin: Callable[[], Steps], find_all: FindAll, max_draws: int = REPLAY_DRAWS) -> Progress | None:
    """Return the first combination of recorded responses that completes the dialogue, or None.

    Combinations are tried in the order of the responses to each request; responses to the last request vary fastest.
    """
    path: list[int] = []
    for _ in range(MAX_PATHS):
        chosen = _Path(path, find_all)
        try:
            progress = _follow(begin(), chosen.find, max_draws)
            if isinstance(progress.step, Dialogue):
                return progress
        except UnfilledSlot:
            pass
        if not (path := chosen.following()):
            return None
    return None


def replay_until_missing(steps: Steps, response: Response | None, find: Find, max_draws: int) -> Dialogue | Request:
    """Send a response (None to start a dialogue), and continue with the recorded responses.

    Returns the finished dialogue, or the first unrecorded request whose draw is below `max_draws`. A later draw ends
    its spec, and the dialogue continues with the substitute.
    """
    try:
        request = steps.send(response)  # type: ignore[arg-type]  # None starts a generator
        while True:
            recorded = find(request)
            if recorded is not None:
                request = steps.send(recorded)
            elif request.draw < max_draws:
                return request
            else:
                request = steps.throw(OutOfDraws())
    except StopIteration as finished:
        dialogue: Dialogue = finished.value
        return dialogue


def _follow(steps: Steps, find: Find, max_draws: int) -> Progress:
    used: list[tuple[Request, Response]] = []

    def noted(request: Request) -> Response | None:
        response = find(request)
        if response is not None:
            used.append((request, response))
        return response

    return Progress(steps, replay_until_missing(steps, None, noted, max_draws), tuple(used))


class _Path:
    """Selects the responses whose numbers are in a path, and after its end the first response to each request."""

    def __init__(self, path: list[int], find_all: FindAll) -> None:
        self._path, self._find_all = path, find_all
        self._taken: list[tuple[int, int]] = []

    def find(self, request: Request) -> Response | None:
        """Return a response to the next request, or None."""
        responses = self._find_all(request)
        if not responses:
            return None
        number = self._path[len(self._taken)] if len(self._taken) < len(self._path) else 0
        self._taken.append((number, len(responses)))
        return responses[number]

    def following(self) -> list[int]:
        """Return the path after this one; an empty path after the last."""
        for at in reversed(range(len(self._taken))):
            number, count = self._taken[at]
            if number + 1 < count:
                return [*(taken for taken, _ in self._taken[:at]), number + 1]
        return []


class PlanSlice(NamedTuple):
    """Positions of a recipe's plan. `indices` can be iterated more than once."""

    recipe: Recipe
    indices: Iterable[int]


class PendingRequests:
    """Finds the requests that dialogues still need, by replaying what is recorded.

    `unusable` counts the unusable responses of the last pass; `last` is one of them, with its model. Truncated
    responses are not counted, because they are drawn again with a higher limit.
    """

    def __init__(self, parts: Sequence[PlanSlice], max_draws: int) -> None:
        self._parts, self._max_draws = parts, max_draws
        self.unusable = 0
        self.last: tuple[str, FailedDraw] | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the recipes call."""
        return tuple(dict.fromkeys(model for part in self._parts for model in part.recipe.models))

    def requests(self, store: ResponseStore) -> Iterator[Request]:
        """Yield the first request without a response of each incomplete dialogue, in plan order."""
        self.unusable = 0
        for recipe, indices in self._parts:
            begin = partial(self._begin, recipe, Plan(recipe), store)
            threshold = recipe.drop_near_duplicates
            distinct = Deduplicator(threshold, begin) if threshold else None
            for index in indices:
                try:
                    dialogue = begin(index)
                    if distinct is not None:  # goes on to a substitute, whose requests may be missing, too
                        distinct.next(deque([dialogue]))
                except _MissingRequest as missing:
                    yield missing.request

    def _begin(
        self,
        recipe: Recipe,
        plan: Plan,
        store: ResponseStore,
        index: int,
        substitute: int = 0,
        given_up: Sequence[FailedDraw] = (),
    ) -> Dialogue:
        failed = [*given_up]
        begin = partial(fill, recipe, plan, index, first=substitute)
        step = walk(begin, store, self._max_draws, failed).step
        self._count(recipe.model or "", failed[len(given_up) :])
        if isinstance(step, Dialogue):
            return step
        raise _MissingRequest(step)

    def _count(self, model: str, failed: Sequence[FailedDraw]) -> None:
        for draw in failed:
            if draw.reason is not Reason.TRUNCATED:
                self.unusable += 1
                self.last = model, draw


class _MissingRequest(Exception):
    """The store does not have a response that a dialogue needs."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request
