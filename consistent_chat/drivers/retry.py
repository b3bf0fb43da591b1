"""The retry policy of calls to providers: how long to wait, when to stop, and when a refusal concerns one prompt.

It is separate from `consistent_chat/retry.py` because it obeys Retry-After and counts the faults of a whole run.

A refusal concerns one prompt if the request was refused several times while later requests of the same kind were
answered. Otherwise it concerns the account, the server or the form of all requests. If no others are in flight, a
harmless prompt of the same length and form is sent to find out.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from consistent_chat.dialogue.judge import COMPARISON, stage_of
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import ALTERNATIVE, ALTERNATIVE_REPEATS, JUDGE, Dialogue, FailedDraw
from consistent_chat.errors import RefusedAccess, RefusedRequest, ServingError, TransportError, UnfilledSlot
from consistent_chat.request import Request, Response

logger = logging.getLogger(__name__)

Passing = TransportError | RefusedRequest | RefusedAccess
"""Errors after which a call may be retried."""
MAX_TRIES = 10
"""Maximum number of tries of one call while the server answers others."""
MAX_TRIES_AT_FIRST = 5
"""Maximum number of tries of one call before the first answer: about ten seconds.

Then the address is probably wrong.
"""
MAX_TRIES_RETRIED = 3
"""Maximum number of tries if the serving itself retries calls: each of our tries takes DataFlow's half a minute."""
LONGEST_SILENCE = 300.0
"""Seconds without an answer after which a run gives up a server that is overloaded or has not answered yet."""
UNEXPLAINED_SILENCE = 90.0
"""Maximum seconds in which all calls are refused (429) without a mention of rates.

Servers count calls per minute, so if that lasts longer it is not a rate limit.
"""
LOADING_PAUSE = 5.0
"""Maximum seconds between tries of a server that is not ready yet."""
QUICK, QUICK_TRIES = 0.1, 3
"""Share of the usual pause after the first tries of a call, while the server answers others. Later pauses are the usual
ones, so that the tries of a call outlast a partial outage of some minutes, in which most calls fail.
"""
FEW_FAULTS = 3
"""Number of consecutive faults up to which the server still counts as answering others. In the last calls of a run two
faults may follow each other by chance."""
CLOSED = 3
"""Number of consecutive calls refused with too long a pause, after which a run stops."""
_CHECK_LIMITS = " Check the account's credit and limits; max_requests_per_minute= keeps a run within them."
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds. Longer pauses, which some servers request, are logged."""


class RetryPolicy:
    """Decides when a run stops retrying. `clock` returns seconds.

    The policy waits for a server that is loading, and up to `wait_for_server` seconds for one that cannot be reached,
    if that is longer than the retries take.
    """

    def __init__(self, clock: Callable[[], float], wait_for_server: float = 0.0) -> None:
        self._clock, self._wait = clock, wait_for_server
        self._logged = False
        self._heard = clock()
        self._answered = False
        self._in_vain = 0

    def answered(self) -> None:
        """Record that a call was answered."""
        self._heard, self._answered, self._in_vain = self._clock(), True, 0

    def test(self, tries: int, error: Passing) -> None:
        """Raise ServingError if a call has failed too often. `tries` counts its failures."""
        self._in_vain += 1
        waited = self._clock() - self._heard
        silent = self._in_vain > 1 and waited > LONGEST_SILENCE
        if not self._answered and self._is_waited_for(error, waited):
            return
        if isinstance(error, TransportError) and error.retried:
            enough = tries >= MAX_TRIES_RETRIED
        elif error.rate_limited:
            enough = silent or self._is_closed(error, waited)
        else:
            enough = tries >= MAX_TRIES if self._answered else tries >= MAX_TRIES_AT_FIRST or silent
        if enough:
            said, advice = str(error).rstrip("."), _CHECK_LIMITS if error.rate_limited else ""
            raise ServingError(
                f"{said}. Stopping after {tries} tries.{advice} All answers are kept; rerun to resume."
            ) from error

    def _is_closed(self, error: Passing, waited: float) -> bool:
        """Return whether a server will refuse calls for too long: because it says so, or gives no reason for a minute.

        An answer in between resets the counts.
        """
        if (error.retry_after or 0.0) > LONGEST_SILENCE:
            return self._in_vain >= CLOSED
        unexplained = isinstance(error, TransportError) and error.unexplained
        return unexplained and self._in_vain > 1 and waited > UNEXPLAINED_SILENCE

    def pause(self, tries: int, error: Passing) -> float:
        """Return the seconds to wait. Pauses are short if the server is not ready yet, or while it answers others."""
        if self._answered and tries <= QUICK_TRIES and self._in_vain <= FEW_FAULTS:
            return backoff(tries, error, QUICK)
        seconds = backoff(tries, error)
        return seconds if self._answered or error.retry_after else min(seconds, LOADING_PAUSE)

    def _is_waited_for(self, error: Passing, waited: float) -> bool:
        """Return whether to keep waiting for a server that has not answered yet; log the first wait."""
        if not isinstance(error, TransportError) or not (error.loading or error.unreachable):
            return False
        longest = max(self._wait, LONGEST_SILENCE) if error.loading else self._wait
        if waited > longest:
            return False
        if not self._logged:
            self._logged = True
            logger.warning("Waiting up to %.0f seconds for the server to become ready. %s", longest, error)
        return True


def backoff(tries: float, error: Passing, share: float = 1.0) -> float:
    """Return the seconds to wait after the given number of tries: a share of the usual pause.

    The pause grows exponentially, or is the server's if that is longer. Jitter is added, so that calls that failed
    together are not repeated together.
    """
    backoff: float = share * FIRST_PAUSE * 2 ** min(tries - 1, 10)
    return min(LONGEST_PAUSE, max(backoff, error.retry_after or 0.0)) * random.uniform(1.0, 1.25)


HOPELESS = 30
"""Number of consecutive unusable responses of one stage after which a run stops.

If one response in four is usable, a sequence of 30 unusable responses has a probability of 1 in 5,600.
"""
SHOWN = 200
"""Maximum characters of a response that the error shows."""


class CircuitBreaker:
    """Counts consecutive unusable responses by stage, so that usable skeletons do not hide unusable answers."""

    def __init__(self) -> None:
        self._in_vain: Counter[str] = Counter()
        self._unusable: set[str] = set()

    @property
    def in_doubt(self) -> bool:
        """Whether the last response to some stage was unusable, even if it was only truncated."""
        return bool(self._unusable)

    def test(
        self, request: Request, response: Response, failed: Sequence[FailedDraw], step: Dialogue | Request
    ) -> None:
        """Record a response; raise UnfilledSlot if too many consecutive ones were unusable.

        `failed` are the unusable responses of the dialogue, `step` is its next step. A truncated response that is drawn
        again with a higher limit does not count.
        """
        stage, fault = _fault(request, failed, step)
        (self._unusable.discard if fault is None else self._unusable.add)(stage)
        if fault is None:
            self._in_vain[stage] *= _is_undecided(step)
        elif fault.reason is not Reason.TRUNCATED or not _has_more_room(step, request):
            self._in_vain[stage] += 1
            if self._in_vain[stage] >= HOPELESS:
                raise UnfilledSlot(unusable_message(HOPELESS, request.model, fault))


def _fault(request: Request, failed: Sequence[FailedDraw], step: Dialogue | Request) -> tuple[str, FailedDraw | None]:
    """Return the stage that a response belongs to, and why it is unusable, or None.

    A comparison counts for the other answer of a pair: unless it finishes the dialogue, that answer was unusable.
    """
    fault = next((draw for draw in reversed(failed) if draw.key == request.key), None)
    if not _compares(request):
        return request.stage, fault
    is_over = fault is None and isinstance(step, Request) and not _compares(step)
    return ALTERNATIVE, failed[-1] if is_over and failed else fault


def _is_undecided(step: Dialogue | Request) -> bool:
    """Return whether later responses decide if this one was usable: other answers, or a comparison."""
    # the repeat of a substitute is below 0
    return isinstance(step, Request) and (step.repeat >= ALTERNATIVE_REPEATS // 2 or _compares(step))


def _compares(request: Request) -> bool:
    return request.stage == JUDGE and stage_of(request.schema) == COMPARISON


def _has_more_room(step: Dialogue | Request, request: Request) -> bool:
    return isinstance(step, Request) and step.max_tokens > request.max_tokens


def unusable_message(answers: int, model: str, fault: FailedDraw) -> str:
    """Return the message for consecutive unusable responses of a model; `fault` is the last."""
    text = fault.response.text
    shown = repr(text[:SHOWN]) if text else "no text"
    return (
        f"Stopping: {answers} consecutive responses were unusable. The last: {fault.reason.value} "
        f"({fault.detail}): {shown}. Look at what {model!r} answers; try another model. All answers are kept."
    )


TRIES = 3
"""Number of refusals after which a request is given up if others are answered."""
HARMLESS = "Write about the weather of an ordinary day in spring, and of a walk in the park. "
LONGEST = 4_000
"""Characters of the harmless prompt."""

Refusal = RefusedRequest | RefusedAccess
Kind = tuple[str, str]


class Refusals:
    """Records which kinds of requests (by model and stage) are answered.

    `ask` sends a request without storing the response. `make_up` returns the harmless request to compare with a refused
    one.
    """

    def __init__(
        self, ask: Callable[[Request], Awaitable[Response]], make_up: Callable[[Request], Request] | None = None
    ) -> None:
        self._ask, self._make_up = ask, make_up or harmless
        self._clock = itertools.count(1)
        self._latest: dict[Kind, int] = {}
        self._failed: dict[Kind, int] = {}  # the last harmless request that also failed
        self._asking: dict[Kind, asyncio.Lock] = {}
        self._in_vain: dict[Kind, int] = {}
        self._stopped: ServingError | None = None

    def sent(self) -> int:
        """Return the number of a request sent now."""
        return next(self._clock)

    def answered(self, request: Request, sent: int) -> None:
        """Record an answer to the request of this number."""
        kind = _kind(request)
        self._latest[kind] = max(self._latest.get(kind, 0), sent)
        self._in_vain[kind] = 0

    def has_answered(self, request: Request) -> bool:
        """Return whether a request of this kind was ever answered."""
        return _kind(request) in self._latest

    async def settle(self, request: Request, tries: int, first: int, error: Refusal) -> Response | None:
        """Return the refusal to record for this prompt, or None to retry it, or raise the error that stops the run.

        `first` is the number of the request when it was first refused.
        """
        kind = _kind(request)
        if kind not in self._latest:
            if isinstance(error, RefusedAccess) and not error.asks_others:
                raise _stopped(error, tries)
            await self._ask_harmless(request, tries, error, first)
            return None
        self._in_vain[kind] = self._in_vain.get(kind, 0) + 1
        if self._latest[kind] <= first and self._in_vain[kind] >= TRIES:
            await self._ask_harmless(request, tries, error, first)
        if tries < TRIES:
            return None
        return Response(error.words or str(error), "refusal") if self._latest.get(kind, 0) > first else None

    async def give_up(self, request: Request, sent: int, error: TransportError) -> Response | None:
        """Return the refusal to record for a request that has failed on every try, or None if others fail too.

        `sent` is the number of its last try; answers to earlier requests do not rule out an outage. Some filters and
        templates answer with a 500, which would otherwise stop every run at the same prompt.
        """
        if self._latest.get(_kind(request), 0) <= sent:
            await self._ask_harmless(request, 1, error, sent)
        is_alone = self._latest.get(_kind(request), 0) > sent
        return Response(str(error), "refusal") if is_alone else None

    async def _ask_harmless(self, request: Request, tries: int, error: ServingError, first: int) -> None:
        """Send one harmless request for all tasks that wait for its result; raise the refusal if it is refused, too."""
        async with self._asking.setdefault(_kind(request), asyncio.Lock()):
            if self._latest.get(_kind(request), 0) > first:
                return
            if isinstance(error, TransportError) and self._failed.get(_kind(request), 0) > first:
                return
            if self._stopped is not None:
                raise self._stopped
            sent = self.sent()
            try:
                await self._ask(self._make_up(request))
            except TransportError:
                self._failed[_kind(request)] = sent
                return
            except ServingError as other:
                if isinstance(other, (RefusedRequest, RefusedAccess)):
                    self._stopped = _stopped(error, tries)
                    raise self._stopped from None
                raise
            self.answered(request, sent)


def harmless(request: Request) -> Request:
    """Return a request of the same kind and form, and of similar length, that no filter refuses."""
    length = min(LONGEST, sum(len(message["content"]) for message in request.messages))
    text = (HARMLESS * (length // len(HARMLESS) + 1))[: max(length, len(HARMLESS))]
    wanted = "Answer briefly." if request.schema is None else "Answer with the JSON that is asked for."
    system = wanted if request.system else ""
    return replace(request, system=system, messages=({"role": "user", "content": text},))


def _kind(request: Request) -> Kind:
    return request.model, request.stage


def _stopped(error: ServingError, tries: int) -> ServingError:
    """Return the error with which a refusal stops the run."""
    said = str(error) if tries == 1 else f"{str(error).rstrip('.')}. Stopping after {tries} tries."
    return ServingError(f"{said} All answers are kept; rerun to resume.")
